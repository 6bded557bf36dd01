#include "venue/simulation_judge.h"

#include <algorithm>
#include <cstring>
#include <deque>

#include "core/hash.h"

namespace peregrine::venue {

using journal::IntentKind;
using journal::RecordType;

namespace {

std::string text(i64 v) { return std::to_string(v); }

// Order number of a request of ours: O, U (the new one), C carry their own.
u32 number_of(Bytes m) {
  if (m.empty()) return 0;
  const std::size_t at = m[0] == 'U' ? 5 : 1;
  return m.size() >= at + 4 ? load_be32(m.data() + at) : 0;
}

}  // namespace

// ---- while it runs

void Judge::observe(EngineProcess* engine, TimeNs now_ns) {
  const std::vector<RecordEntry>& record = venue_.exchange().record();
  for (; at_ < record.size(); ++at_) {
    if (record[at_].port == port_) take(record[at_]);
  }
  if (engine == nullptr) return;
  // An order that works at the venue was never told dead: the engine must count it, whatever it calls it.
  const engine::Shard& shard = engine->shard();
  for (const auto& [urn, w] : working_) {
    const Order* o = shard.orders().find(urn);
    if (o != nullptr && is_open(o->state)) continue;
    // A power cut may take the intent with it; until the port is reconciled nothing is entered either.
    if (o == nullptr && power_cut_ns_ >= 0 && !shard.session().ready()) continue;
    if (o == nullptr && journal_lost_ns_ >= 0 && now_ns <= replayed_ns_) continue;
    found("order " + text(urn) + " works at the venue with " + text(w.open) + " lots open, and the engine holds it " +
          (o == nullptr ? "unknown" : order_state_name(o->state)) + " at " + text(now_ns));
    return;
  }
}

void Judge::take(const RecordEntry& e) {
  fingerprint_ = hash_bytes(fingerprint_, reinterpret_cast<const u8*>(&e), sizeof e);
  switch (e.kind) {
    case RecordKind::kReplaced: working_.erase(e.orig_urn); [[fallthrough]];
    case RecordKind::kAccepted:
    case RecordKind::kCanceled:
    case RecordKind::kExecuted:
    case RecordKind::kPrevented:
    case RecordKind::kModified:
      if (e.kind == RecordKind::kExecuted) position_[e.symbol] += buys(e.side) ? i64{e.qty} : -i64{e.qty};
      if (e.open > 0) {
        working_[e.urn] = {e.symbol, e.side, e.open};
      } else {
        working_.erase(e.urn);
      }
      check_limits(e);
      break;
    default: break;
  }
}

void Judge::check_limits(const RecordEntry& e) {
  const RiskLimits& l = limits();
  i64 longs = position_[e.symbol], shorts = -position_[e.symbol], orders = 0, all = 0;
  for (const auto& [urn, w] : working_) {
    ++all;
    if (w.symbol != e.symbol) continue;
    ++orders;
    (buys(w.side) ? longs : shorts) += w.open;
  }
  const auto check = [&](const char* what, i64 v, i64 limit) {
    if (v > limit) found(std::string("the venue saw ") + what + " " + text(v) + ", the limit is " + text(limit));
  };
  check("long lots, working orders included,", longs, l.max_long_lots);
  check("short lots, working orders included,", shorts, l.max_short_lots);
  check("working orders", orders, l.max_working_orders);
  check("working orders of the account", all, l.max_account_orders);
  if (e.kind == RecordKind::kAccepted) check("an order of lots", e.open + i64{e.executed}, l.max_order_lots);
}

i64 Judge::position_lots() const {
  i64 sum = 0;
  for (const i64 p : position_) sum += p;
  return sum;
}

i64 Judge::worst_lots() const {
  i64 sum = 0;
  for (std::size_t s = 0; s < position_.size(); ++s) {
    i64 longs = position_[s], shorts = -position_[s];
    for (const auto& [urn, w] : working_) {
      if (w.symbol == s) (buys(w.side) ? longs : shorts) += w.open;
    }
    sum += std::max<i64>(0, std::max(longs, shorts));
  }
  return sum;
}

// ---- at the end

void Judge::final_state(EngineProcess& engine) {
  const engine::Shard& shard = engine.shard();
  const PortSummary s = venue_.exchange().summary(port_);
  const auto equal = [&](const char* what, i64 ours, i64 venues) {
    if (ours != venues) found(std::string(what) + ": the engine says " + text(ours) + ", the venue " + text(venues));
  };
  i64 cash = 0, fills = 0;
  for (InstrumentIx ix = 0; ix < position_.size(); ++ix) {
    const InstrumentExposure& x = shard.exposure().of(ix);
    equal("position lots", x.position_lots, position_[ix]);
    cash += x.realized - x.cost_basis;
    fills += static_cast<i64>(x.fills);
  }
  equal("fills", fills, static_cast<i64>(s.executed));
  equal("cash", cash, s.cash_ticks);
  equal("fees", shard.exposure().account().fees, s.fees_ticks);
  equal("orders open after the drain", static_cast<i64>(shard.working_orders()), static_cast<i64>(s.open_orders));
  if (s.open_orders != 0) found(text(s.open_orders) + " orders work at the venue after the drain");
  const AccountExposure& a = shard.exposure().account();
  equal("working orders in the limits", a.working_orders, 0);
  equal("unknown orders in the limits", a.unknown_orders, 0);
}

void Judge::journal(const std::string& dir, u64 final_hash) {
  journal::ReaderOptions options;
  options.ring = false;
  journal::JournalError error;
  const std::unique_ptr<journal::Reader> reader = journal::Reader::open(dir, options, error);
  if (reader == nullptr) return found("the journal cannot be read: " + error.text());
  const std::unique_ptr<engine::Shard> shard = make_shard(blueprint_);
  engine::Replay replay(*shard);

  const RiskLimits& l = limits();
  u8 feed = static_cast<u8>(journal::FeedState::kDown);
  bool healthy = true;
  std::vector<char> state(position_.size(), '?');
  std::map<u32, Sent> intents;
  u32 last_number = 0;
  std::deque<TimeNs> messages;
  journal::RecordView view;
  journal::ReadResult r;
  while ((r = reader->next(view)) == journal::ReadResult::kRecord) {
    ++records_;
    const RecordType type = static_cast<RecordType>(view.header.type);
    if (type != RecordType::kHeader) fingerprint_ = hash_bytes(fingerprint_, view.payload.data(), view.payload.size());
    replay.on_record(view.header, view.payload);
    const Bytes p = view.payload;
    const auto at_record = [&] { return " (record " + text(static_cast<i64>(view.header.seq)) + ")"; };
    switch (type) {
      case RecordType::kRecovered:
        feed = static_cast<u8>(journal::FeedState::kDown);
        healthy = true;
        std::fill(state.begin(), state.end(), '?');
        break;
      case RecordType::kFeedState: feed = p[0]; break;
      case RecordType::kControl:
        if (p[0] == static_cast<u8>(journal::ControlKind::kJournalUnhealthy)) healthy = false;
        if (p[0] == static_cast<u8>(journal::ControlKind::kJournalHealthy)) healthy = true;
        break;
      case RecordType::kFeed:
      case RecordType::kSnapshot: {
        const Bytes m = p.subspan(sizeof(journal::FeedHead));
        if (m.size() != 25 || m[0] != 'H') break;
        for (std::size_t i = 0; i < state.size(); ++i) {
          std::string name = blueprint_.shard.instruments[i].symbol;
          name.resize(8, ' ');
          if (std::memcmp(name.data(), m.data() + 11, 8) == 0) state[i] = static_cast<char>(m[19]);
        }
        break;
      }
      case RecordType::kIntent: {
        journal::IntentHead head;
        if (p.size() < sizeof head) {
          found("an intent too short to be one" + at_record());
          break;
        }
        std::memcpy(&head, p.data(), sizeof head);
        const Bytes m = p.subspan(sizeof head);
        const IntentKind kind = static_cast<IntentKind>(head.kind);
        const bool adds_risk = kind == IntentKind::kEnter || kind == IntentKind::kReplace;
        if (adds_risk || kind == IntentKind::kMassCancel) {
          if (head.user_ref_num <= last_number) found("order number " + text(head.user_ref_num) + " does not rise" + at_record());
          last_number = head.user_ref_num;
          intents[head.user_ref_num] = {{m.begin(), m.end()}, head.kind};
        }
        if (adds_risk && feed != static_cast<u8>(journal::FeedState::kLive)) {
          found("order " + text(head.user_ref_num) + " was made while the feed was not live" + at_record());
        }
        if (adds_risk && !healthy) found("order " + text(head.user_ref_num) + " was made on an unhealthy journal" + at_record());
        if (adds_risk && (head.instrument >= state.size() || state[head.instrument] != 'T')) {
          found("order " + text(head.user_ref_num) + " was made while its symbol was not trading" + at_record());
        }
        if (adds_risk || kind == IntentKind::kCancel) {
          messages.push_back(view.header.ts_ns);
          while (messages.front() + l.message_window_ns <= view.header.ts_ns) messages.pop_front();
          if (static_cast<i64>(messages.size()) > l.max_messages) {
            found(text(static_cast<i64>(messages.size())) + " order messages within the window, the limit is " +
                  text(l.max_messages) + at_record());
          }
        }
        break;
      }
      default: break;
    }
  }
  if (r == journal::ReadResult::kCorrupt) return found("the journal is damaged: " + reader->error().text());
  replay.finish(false);
  const engine::ReplayResult& result = replay.result();
  if (!result.identical) {
    found("the journal does not replay to what it recorded: record " + text(static_cast<i64>(result.first.record_seq)) + ": " +
          result.first.reason);
  } else if (final_hash != 0 && shard->state_hash() != final_hash) {
    found("the replay of the whole journal ends in another state than the engine did");
  }
  check_arrivals(intents);
}

// Every request that came to the venue stands in the journal with the same bytes, and came once.
void Judge::check_arrivals(std::map<u32, Sent>& intents) {
  for (const Arrival& a : venue_.arrivals()) {
    if (a.port != port_ || a.message.empty() || a.at_ns <= journal_lost_ns_) continue;
    const u8 type = a.message[0];
    if (type != 'O' && type != 'U' && type != 'C') continue;
    const u32 number = number_of(a.message);
    const auto found_at = intents.find(number);
    if (found_at == intents.end()) {
      // Only what was not synced when the power went may be missing.
      if (power_cut_ns_ >= 0 && a.at_ns <= power_cut_ns_ + 1'000'000'000) continue;
      return found("request " + text(number) + " reached the venue and stands in no intent of the journal");
    }
    Sent& s = found_at->second;
    if (s.message != a.message) {
      if (power_cut_ns_ >= 0 && a.at_ns <= power_cut_ns_ + 1'000'000'000 && a.late) continue;
      return found("request " + text(number) + " reached the venue with other bytes than its intent has");
    }
    if (++s.arrivals > 1) return found("request " + text(number) + " reached the venue twice");
  }
  for (const RecordEntry& e : venue_.exchange().record()) {
    if (e.port != port_ || e.kind != RecordKind::kIgnored || e.message != 'O') continue;
    if (std::any_of(replays_.begin(), replays_.end(), [&](const auto& r) { return r.first <= e.ts_ns && e.ts_ns <= r.second; })) {
      continue;
    }
    // Only a dead connection's leftovers may carry a number that is used up. (A fence may: a replayed answer to an
    // earlier query can come first; the true one follows, and the fence goes out again.)
    const auto arrival = std::find_if(venue_.arrivals().begin(), venue_.arrivals().end(), [&](const Arrival& a) {
      return a.port == port_ && a.at_ns == e.ts_ns && number_of(a.message) == e.urn && a.message[0] == e.message;
    });
    if (arrival != venue_.arrivals().end() && !arrival->late) {
      return found("the venue ignored request " + text(e.urn) + " of a living connection: its number was used up");
    }
  }
}

}  // namespace peregrine::venue
