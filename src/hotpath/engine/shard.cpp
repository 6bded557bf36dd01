#include "engine/shard.h"

#include <cstring>

#include "core/hash.h"

namespace peregrine::engine {

using journal::ControlKind;
using journal::FeedState;
using journal::RecordType;

namespace {

template <class T>
bool read_head(const Input& in, T& out) {
  if (in.head.size() != sizeof(T)) return false;
  std::memcpy(&out, in.head.data(), sizeof(T));
  return true;
}

MarketConfig market_config(const ShardConfig& c) {
  MarketConfig m = c.market;
  const u32 n = static_cast<u32>(c.instruments.size());
  if (m.max_instruments < n) m.max_instruments = n;
  m.auto_instruments = false;  // the shard follows what it is configured for
  return m;
}

SymbolTable symbol_table(const ShardConfig& c) {
  SymbolTable t;
  for (InstrumentIx i = 0; i < c.instruments.size(); ++i) t.set(i, c.instruments[i].symbol);
  return t;
}

}  // namespace

Shard::Shard(const ShardConfig& config)
    : config_(config),
      symbols_(symbol_table(config)),
      market_(market_config(config)),
      features_(static_cast<u32>(config.instruments.size()), config.features),
      exposure_(config.gate.max_instruments),
      gate_(config.gate),
      breakers_(config.breakers),
      orders_(config.orders, symbols_, exposure_),
      session_(config.session, symbols_, orders_),
      items_(config.instruments.size()) {
  PRG_ASSERT(!config.instruments.empty() && config.instruments.size() <= config.gate.max_instruments);
  for (InstrumentIx i = 0; i < config.instruments.size(); ++i) {
    const InstrumentSpec& s = config.instruments[i];
    PRG_ASSERT(market_.add_instrument(s.symbol) == i);
    exposure_.set_contract(i, s.contract);
    if (s.start_position_lots != 0) exposure_.set_position(i, s.start_position_lots, s.start_cost_basis);
    gate_.set_restricted(i, s.restricted);
  }
  for (const RiskLimits& l : config.limits) PRG_ASSERT(gate_.set_limits(l));
  for (const u32 strategy : config.authorised_strategies) gate_.set_authorised(strategy, true);
  if (config.active_symbols < config.instruments.size()) gate_.set_active(config.active_symbols);
  gate_.set_journal_healthy(true);
  // Until a supervisor says otherwise a shard holds the part it was given on lease; alone on its account, the whole.
  Lease whole;
  whole.epoch = 1;
  whole.notional = config.lease_notional >= 0 ? config.lease_notional : gate_.account_limits().max_gross;
  for (InstrumentIx i = 0; i < config.instruments.size(); ++i) {
    const RiskLimits& l = gate_.limits(i);
    whole.qty_lots += l.max_long_lots > l.max_short_lots ? l.max_long_lots : l.max_short_lots;
  }
  PRG_ASSERT(gate_.grant(whole));
}

void Shard::step(const Input& in, u64 seq, ShardOutput& out) {
  out_ = &out;
  now_ns_ = in.now_ns;
  ++counters_.inputs;
  switch (in.type) {
    case RecordType::kFeed: on_feed(in); break;
    case RecordType::kSnapshot: on_snapshot(in); break;
    case RecordType::kFeedState: on_feed_state(in); break;
    case RecordType::kSession: on_session(in); break;
    case RecordType::kSessionState: {
      journal::SessionStateChange change;
      if (!read_head(in, change)) break;
      if (change.up != 0) ++counters_.connections;
      session_.on_state(change, now_ns_, *this);
      gate_.set_session_ready(session_.ready());
      break;
    }
    case RecordType::kCommand: on_command(in); break;
    case RecordType::kTimer: on_timer(in, seq); break;
    case RecordType::kControl: on_control(in); break;
    case RecordType::kSignal: on_signal(in); break;
    case RecordType::kDevice: on_device(in); break;
    case RecordType::kSendResult: {
      journal::SendResult result;
      if (!read_head(in, result)) break;
      session_.on_send_result(result, now_ns_, *this);
      gate_.set_session_ready(session_.ready());
      break;
    }
    case RecordType::kRecovered: on_recovered(in); break;
    default: break;  // not an input of this version
  }
  if (tripped_now_ != 0) act_on_breakers();
  // Asked for in the middle of a message: done when that message is fully booked.
  if (kill_wanted_) {
    kill_wanted_ = false;
    kill();
    gate_.set_session_ready(session_.ready());
  }
  out_ = nullptr;
}

void Shard::on_feed(const Input& in) {
  journal::FeedHead head;
  if (!read_head(in, head)) return;
  ++counters_.events;
  feed_seq_ = head.feed_seq;
  feed_ns_ = now_ns_;
  Event e;
  const Market::Outcome outcome = market_.on_message(in.body, head.feed_seq, now_ns_, e);
  mark(Stage::kBook);
  if (outcome == Market::Outcome::kMalformed) ++counters_.malformed;
  if (outcome != Market::Outcome::kApplied) return;
  after_event(e);
}

void Shard::after_event(const Event& e) {
  if (e.kind == EventKind::kSystem || e.instrument >= items_.size()) return;
  const InstrumentIx ix = e.instrument;
  PerInstrument& item = items_[ix];
  const Top top = market_.top(ix);
  features_.on_event(e, TopView{top.bid_ticks, top.bid_lots, top.ask_ticks, top.ask_lots});
  const bool top_moved = top.bid_ticks != item.top.bid_ticks || top.ask_ticks != item.top.ask_ticks;
  item.top = top;
  if (top_moved && market_.sound(ix)) {
    exposure_.mark(ix, top.bid_lots > 0 ? top.bid_ticks : 0, top.ask_lots > 0 ? top.ask_ticks : 0);
    check_breakers();
  }
  if (e.kind > EventKind::kCross || e.kind == EventKind::kNone) return;
  ++item.events;
  if (may_decide(ix)) decide(ix);
}

void Shard::on_snapshot(const Input& in) {
  journal::FeedHead head;
  if (!read_head(in, head)) return;
  if (head.feed_seq == 1) {
    ++counters_.snapshots;
    features_.reset();
  }
  Event e;
  market_.on_snapshot_message(in.body, head.feed_seq, now_ns_, e);
}

void Shard::accrue_stale(TimeNs now) {
  if (stale_since_ns_ != 0) counters_.stale_ns += static_cast<u64>(now - stale_since_ns_);
  stale_since_ns_ = feed_state_ == FeedState::kLive ? 0 : now;
}

void Shard::on_feed_state(const Input& in) {
  journal::FeedStateChange change;
  if (!read_head(in, change)) return;
  if (change.state > static_cast<u8>(FeedState::kEnded)) return;
  const FeedState before = feed_state_;
  feed_state_ = static_cast<FeedState>(change.state);
  accrue_stale(now_ns_);
  if (change.reason == 1 && feed_state_ != FeedState::kLive) ++counters_.gaps;
  if (feed_state_ == FeedState::kStale) {
    market_.set_all_sound(false);
    features_.reset();
  }
  // Whatever is not live may hide that our quotes are wrong: take them out.
  if (before == FeedState::kLive && feed_state_ != FeedState::kLive) cancel_all();
}

// What was true only of the process that died: its connection and feed, a decision that waited for a value, a drain
// under way, a failed journal. Kill, pause and flatten are orders of a person and stand until a person lifts them.
void Shard::on_recovered(const Input& in) {
  journal::Recovered recovered;
  if (!read_head(in, recovered)) return;
  session_.on_recovered(recovered, now_ns_, *this);
  gate_.set_session_ready(session_.ready());
  gate_.set_journal_healthy(true);
  draining_ = unsupervised_ = false;
  update_paused();
  pending_ = Pending{};
  for (Ask& ask : asks_) ask = Ask{};
  feed_state_ = FeedState::kDown;
  accrue_stale(now_ns_);
  // Nothing of the feed is carried over: books begin empty, as in a fresh process.
  market_.begin_snapshot();
  market_.end_snapshot();
  features_.reset();
  for (PerInstrument& item : items_) {
    item.top = Top{};
    item.asked = 0;
  }
}

void Shard::on_session(const Input& in) {
  session_.on_packet(in.body, now_ns_, *this);
  gate_.set_session_ready(session_.ready());
}

void Shard::kill() {
  ++counters_.kills;
  gate_.kill();
  session_.mass_cancel(Cause{}, now_ns_, *this);
}

void Shard::revive() {
  gate_.revive();
  lost_orders_ = lost_messages_ = 0;
}

void Shard::cancel(const Order& o, const Cause& cause) {
  OrderRequest r;
  r.instrument = o.instrument;
  r.kind = RequestKind::kCancel;
  r.side = o.side;
  const SendError error = session_.cancel(o.user_ref_num, 0, cause, now_ns_, *this);
  if (error == SendError::kSent) gate_.on_sent(r, now_ns_);  // not checked, but part of the message rate
  if (error == SendError::kSent || error == SendError::kHeld) ++counters_.cancels;
}

void Shard::on_timer(const Input& in, u64 seq) {
  journal::TimerDue due;
  if (!read_head(in, due)) return;
  if (due.timer == kTimerHousekeeping) {
    session_.on_timer(now_ns_, *this);
    gate_.set_session_ready(session_.ready());
    if (stale_since_ns_ != 0) accrue_stale(now_ns_);
    if (flattening_) flatten_step();
    if (const u32 cooled = breakers_.due(now_ns_); cooled != 0) rearm(cooled);
  } else if (due.timer == kTimerStateHash) {
    out_->state_hash(journal::StateHash{seq, state_hash(), order_hash_});
  }
}

// Reduce-only, at the touch, at most one order an instrument each housekeeping round until flat.
void Shard::flatten_step() {
  for (InstrumentIx ix = 0; ix < items_.size(); ++ix) {
    const QtyLots position = exposure_.of(ix).position_lots;
    if (position == 0 || exposure_.of(ix).working_orders[0] + exposure_.of(ix).working_orders[1] > 0) continue;
    const Top top = market_.top(ix);
    const Side side = position > 0 ? Side::kSell : Side::kBuy;
    const QtyLots there = side == Side::kSell ? top.bid_lots : top.ask_lots;
    if (there == 0) continue;
    const QtyLots want = position > 0 ? position : -position;
    const QtyLots most = gate_.limits(ix).max_order_lots;
    QtyLots qty = want < there ? want : there;
    if (qty > most) qty = most;
    ++decision_;
    decision_recorded_ = false;
    submit(ix, Op{OpKind::kEnter, side, true, 0, side == Side::kSell ? top.bid_ticks : top.ask_ticks, qty}, kNoAction);
  }
}

void Shard::on_control(const Input& in) {
  journal::ControlSeen seen;
  if (!read_head(in, seen)) return;
  switch (static_cast<ControlKind>(seen.kind)) {
    case ControlKind::kKillWord:
      if (seen.value == 0) {
        revive();
        break;
      }
      kill();
      if (seen.value >= 2) {  // flatten
        flattening_ = true;
        gate_.set_reduce_only(true);
      }
      break;
    case ControlKind::kSupervisorLost:
      on_supervisor(false);
      break;
    case ControlKind::kSupervisorBack: on_supervisor(true); break;
    case ControlKind::kLeaseChange: break;  // leases come as commands; this is what a supervisor announces
    case ControlKind::kJournalUnhealthy:
      gate_.set_journal_healthy(false);
      cancel_all();
      break;
    case ControlKind::kJournalHealthy: gate_.set_journal_healthy(true); break;
  }
}

void Shard::intent(const journal::IntentHead& head, Bytes message) {
  using journal::IntentKind;
  order_hash_ = hash_bytes(order_hash_, message.data(), message.size());
  switch (static_cast<IntentKind>(head.kind)) {
    case IntentKind::kEnter: ++counters_.orders; break;
    case IntentKind::kReplace: ++counters_.replaces; break;
    default: break;
  }
  const bool counted = head.kind <= static_cast<u8>(IntentKind::kCancel);
  if (counted && breakers_.count_message(now_ns_)) {
    tripped_now_ |= kMessageBreaker;
    gate_.set_breaker(true);  // from the next order of this very step on
  }
  out_->intent(head, message);
}

void Shard::on_order(const OrderEvent& e) {
  switch (e.kind) {
    case OrderEventKind::kAccepted:
      ++counters_.acks;
      if (e.order_ref != 0 && is_open(e.after)) market_.track_own(e.order_ref);
      break;
    case OrderEventKind::kReplaced:
      ++counters_.acks;
      if (e.old_order_ref != 0) market_.untrack_own(e.old_order_ref);
      if (e.order_ref != 0 && is_open(e.after)) market_.track_own(e.order_ref);
      if (e.instrument < items_.size()) {
        u32& quote = items_[e.instrument].quote_number[index(e.side)];
        if (quote == e.other_ref_num) quote = e.user_ref_num;
      }
      break;
    case OrderEventKind::kExecuted:
      ++counters_.fills;
      counters_.filled_lots += static_cast<u64>(e.lots);
      if (e.instrument < items_.size()) gate_.on_execution(e.instrument, e.side, now_ns_);
      check_breakers();
      break;
    case OrderEventKind::kRejected:
      ++counters_.rejects;
      ++counters_.reject_codes[e.reason < kRejectCodes ? e.reason : kRejectCodes - 1];
      if (breakers_.count_reject(now_ns_)) {
        tripped_now_ |= kRejectBreaker;
        gate_.set_breaker(true);
      }
      break;
    default: break;
  }
  if (is_terminal(e.after) && e.old_order_ref != 0) market_.untrack_own(e.old_order_ref);
}

void Shard::on_phase(SessionPhase) {}

void Shard::alarm(SessionAlarm code, u64 a, u64 b) {
  ++counters_.alarms;
  last_alarm_ = AlarmSeen{static_cast<u8>(code), a, b, now_ns_};
  // An execution of an order nobody here knows, orders whose end nobody will tell, messages that were never seen: the position may be another than we think.
  if (code == SessionAlarm::kUnknownNumber && b == 'E') kill_wanted_ = true;
  if (code == SessionAlarm::kSessionChanged) {
    lost_orders_ += a;
    kill_wanted_ = true;
  }
  if (code == SessionAlarm::kSequenceGap) {
    lost_messages_ += b - a;
    kill_wanted_ = true;
  }
}

u64 Shard::state_hash() const {
  u64 h = hash_fold(0, static_cast<u64>(now_ns_));
  if (config_.hash_books) h = hash_fold(h, market_.state_hash());
  h = hash_fold(h, features_.state_hash());
  h = hash_fold(h, policies_.state_hash());
  h = exposure_.state_hash(h);
  h = gate_.state_hash(h);
  h = breakers_.fold(h);
  h = orders_.state_hash(h);
  h = session_.state_hash(h);
  h = hash_fold(h, static_cast<u64>(feed_state_));
  h = hash_fold(h, feed_seq_);
  h = hash_fold(h, decision_);
  for (const PerInstrument& item : items_) {
    h = hash_fold(h, static_cast<u64>(item.quote_number[0]) << 32 | item.quote_number[1]);
    h = hash_fold(h, static_cast<u64>(item.decided_ns));
    h = hash_fold(h, static_cast<u64>(item.taken_ns));
  }
  if (config_.device.placement != DevicePlacement::kNone) {
    for (const PerInstrument& item : items_) h = hash_fold(hash_fold(h, item.events), item.asked);
    for (const Ask& ask : asks_) {
      h = hash_fold(hash_fold(h, ask.decision), ask.events);
      if (ask.decision != 0) h = hash_bytes(h, reinterpret_cast<const u8*>(ask.features), sizeof ask.features);
    }
  }
  const u32 flags = (draining_ ? 1u : 0u) | (flattening_ ? 2u : 0u) | (pending_.waiting ? 4u : 0u) | (paused_ ? 8u : 0u) |
                    (unsupervised_ ? 16u : 0u);
  return hash_fold(h, flags);
}

}  // namespace peregrine::engine
