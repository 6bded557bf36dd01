// The decision path of a shard: features, policies, tactic, gate, session.
#include <cstring>

#include "engine/shard.h"

namespace peregrine::engine {

using journal::FeedState;

bool Shard::may_trade(InstrumentIx ix) const {
  // Only states that last; momentary refusals are the gate's, which gives them a reason.
  if (feed_state_ != FeedState::kLive || !session_.ready() || draining_ || flattening_) return false;
  if (gate_.killed() || gate_.paused() || gate_.breaker() || gate_.symbol_paused(ix) || policies_.n_actions() == 0) return false;
  return market_.trading_state(ix) == TradingState::kTrading && market_.market_open();
}

bool Shard::may_decide(InstrumentIx ix) const {
  if (pending_.waiting || items_[ix].asked != 0 || !may_trade(ix)) return false;
  if (!gate_.active(ix) && !exposure_.of(ix).occupied()) return false;  // there is nothing it could reduce
  return items_[ix].decided_ns == 0 || now_ns_ - items_[ix].decided_ns >= config_.decision_interval_ns;
}

// Filled in place: a struct copied as soon as its fields are stored waits for the stores.
void Shard::read_quote(InstrumentIx ix, Side side, Quote& q) {
  u32& number = items_[ix].quote_number[index(side)];
  if (number == 0) return;
  const Order* o = orders_.find(number);
  if (o == nullptr || o->instrument != ix || !is_open(o->state)) {
    number = 0;
    return;
  }
  q.user_ref_num = number;
  q.pending = o->state != OrderState::kLive || o->cancel_asked || o->cancel_wanted;
  q.price_ticks = o->price_ticks;
  q.open_lots = o->leaves_lots();
  q.since_ns = o->sent_ns;
}

OwnState Shard::own_state(InstrumentIx ix) {
  const InstrumentExposure& x = exposure_.of(ix);
  OwnState own;
  own.position_lots = x.position_lots;
  own.working_buy_lots = x.open_lots[0] + x.unknown_lots[0];
  own.working_sell_lots = x.open_lots[1] + x.unknown_lots[1];
  for (int s = 0; s < 2; ++s) {
    const u32 number = items_[ix].quote_number[s];
    const Order* o = number != 0 ? orders_.find(number) : nullptr;
    i64& ahead = s == 0 ? own.queue_ahead_bid_lots : own.queue_ahead_ask_lots;
    if (o != nullptr && is_open(o->state) && o->order_ref != 0) ahead = market_.queue_ahead_lots(o->order_ref);
  }
  return own;
}

void Shard::decide(InstrumentIx ix) {
  items_[ix].decided_ns = now_ns_;
  ++decision_;
  ++counters_.decisions;
  decision_recorded_ = false;
  features_.compute(ix, now_ns_, market_, own_state(ix), features_now_);
  mark(Stage::kFeatures);
  if (config_.user_signal) {
    // The value is an input of its own: the step ends here and goes on when it is there.
    pending_ = Pending{true, ix, decision_};
    return;
  }
  judge(ix);
}

void Shard::on_signal(const Input& in) {
  journal::SignalValue value;
  if (in.head.size() != sizeof value) return;
  std::memcpy(&value, in.head.data(), sizeof value);
  if (!pending_.waiting || value.decision != pending_.decision) return;
  pending_.waiting = false;
  if (value.status != 0) {
    ++counters_.signal_raised;
    ++counters_.held;
    return;
  }
  features_now_[static_cast<int>(FeatureIx::kUserSignal)] = value.value;
  judge(pending_.instrument);
}

void Shard::judge(InstrumentIx ix) {
  if (config_.device.placement != DevicePlacement::kNone) {
    ask_device(ix);
    return;
  }
  policies_.decide(features_now_, decision_now_);
  conclude(ix);
}

void Shard::conclude(InstrumentIx ix) {
  mark(Stage::kPolicy);
  if (decision_now_.held) ++counters_.held;
  ++counters_.actions[decision_now_.action];
  const Top& top = items_[ix].top;
  if (tap_ != nullptr) {
    tap_->on_decision(ix, now_ns_, features_now_, decision_now_, top, exposure_.of(ix).position_lots);
  }
  const u32* quotes = items_[ix].quote_number;
  if (decision_now_.action == static_cast<u8>(Action::kHold) && (quotes[0] | quotes[1]) == 0) return;  // nothing to plan
  TacticInput in;
  in.action = static_cast<Action>(decision_now_.action);
  in.top = top;
  read_quote(ix, Side::kBuy, in.quote[0]);
  read_quote(ix, Side::kSell, in.quote[1]);
  in.position_lots = exposure_.of(ix).position_lots;
  in.last_take_ns = items_[ix].taken_ns;
  in.now_ns = now_ns_;
  Op ops[kMaxOps];
  const int n = plan(config_.instruments[ix].tactic, in, ops);
  for (int i = 0; i < n; ++i) submit(ix, ops[i], decision_now_.action);
}

MarketView Shard::market_view(InstrumentIx ix) const {
  const Top& top = items_[ix].top;
  MarketView v;
  v.bid_ticks = top.bid_ticks;
  v.ask_ticks = top.ask_ticks;
  v.bid_lots = top.bid_lots;
  v.ask_lots = top.ask_lots;
  v.reference_ticks = market_.last_trade_ticks(ix);
  v.quote_ts_ns = feed_ns_;
  v.feed_live = feed_state_ == FeedState::kLive;
  v.sound = market_.sound(ix);
  v.trading = market_.trading_state(ix) == TradingState::kTrading;
  v.market_open = market_.market_open();
  v.short_sale_restricted = market_.short_sale_restricted(ix);
  return v;
}

void Shard::record_decision(InstrumentIx ix, u8 action, const RiskVerdict& verdict) {
  if (decision_recorded_ && verdict.pass()) return;
  decision_recorded_ = true;
  journal::DecisionHead head{};
  head.decision = decision_;
  head.feed_seq = feed_seq_;
  head.policy_version = policies_.version();
  head.instrument = ix;
  head.action = action;
  head.risk_reason = static_cast<u8>(verdict.reason);
  head.n_features = FeatureEngine::kFeatures;
  const bool of_policy = action != kNoAction;
  head.n_logits = of_policy ? static_cast<u8>(decision_now_.n_policies * decision_now_.n_actions) : u8{0};
  head.risk_observed = verdict.observed;
  head.risk_limit = verdict.limit;
  out_->decision(head, features_now_, decision_now_.logits);
}

void Shard::submit(InstrumentIx ix, const Op& op, u8 action) {
  const Cause cause{decision_, policies_.version(), action};
  if (op.kind == OpKind::kCancel) {
    if (const Order* o = orders_.find(op.user_ref_num); o != nullptr) cancel(*o, cause);
    return;
  }

  OrderRequest r;
  QtyLots total_lots = op.qty_lots;
  if (op.kind == OpKind::kReplace) {
    const Order* o = orders_.find(op.user_ref_num);
    if (o == nullptr) return;
    total_lots = o->executed_lots + op.qty_lots;
    r = orders_.replace_request(*o, op.price_ticks, total_lots);
  } else {
    r.instrument = ix;
    r.kind = RequestKind::kEnter;
    r.side = op.side;
    r.strategy = config_.strategy;
    r.price_ticks = op.price_ticks;
    r.qty_lots = op.qty_lots;
    if (op.side == Side::kSell) {
      // Long only when the position covers this and every other sell that may still trade.
      const InstrumentExposure& x = exposure_.of(ix);
      const QtyLots free = x.position_lots - x.open_lots[1] - x.unknown_lots[1];
      r.mark = free >= op.qty_lots ? SellMark::kLong : SellMark::kShort;
    }
  }
  const RiskVerdict verdict = gate_.check(r, market_view(ix), exposure_, now_ns_);
  gate_.count(verdict);
  mark(Stage::kRisk);
  record_decision(ix, action, verdict);
  if (!verdict.pass()) {
    ++counters_.risk_rejects;
    // A resting sell whose mark is no longer true must not be at the venue at all.
    if (verdict.reason == RiskReason::kShortMark && op.kind == OpKind::kReplace) cancel(*orders_.find(op.user_ref_num), cause);
    return;
  }
  if (verdict.is_soft()) ++counters_.soft;

  OrderSession::Sent sent{};
  if (op.kind == OpKind::kReplace) {
    sent = session_.replace(op.user_ref_num, op.price_ticks, total_lots, cause, now_ns_, *this);
  } else {
    EnterRequest e;
    e.order.instrument = ix;
    e.order.side = op.side;
    e.order.mark = r.mark;
    e.order.tif = op.immediate ? ouch::kTifIoc : ouch::kTifDay;
    e.order.strategy = config_.strategy;
    e.order.price_ticks = op.price_ticks;
    e.order.qty_lots = op.qty_lots;
    e.order.decision = decision_;
    e.post_only = !op.immediate;
    e.action = action;
    e.policy_version = cause.policy_version;
    sent = session_.enter(e, now_ns_, *this);
  }
  if (sent.error != SendError::kSent) {
    ++counters_.session_refused;
    return;
  }
  mark(Stage::kEncode);
  gate_.on_sent(r, now_ns_, verdict);
  if (op.kind == OpKind::kEnter) {
    if (op.immediate) {
      items_[ix].taken_ns = now_ns_;
    } else {
      items_[ix].quote_number[index(op.side)] = sent.user_ref_num;
    }
  }
}

}  // namespace peregrine::engine
