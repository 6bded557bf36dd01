// Decisions whose logits a device computes: the ask is state of the shard, the answer or its absence is an input.
//
//   decide ─ features ─▶ ask ─ … kDevice input … ─▶ logits of the device, or of the kernels ─▶ consensus ─▶ plan, gate
//
// The step cannot tell a device from a recording of one, so a replay needs none.
#include <bit>
#include <cstring>

#include "engine/shard.h"

namespace peregrine::engine {

using journal::DeviceAnswer;

const Shard::Ask* Shard::ask_of(u64 decision) const {
  if (decision == 0) return nullptr;
  for (const Ask& ask : asks_) {
    if (ask.decision == decision) return &ask;
  }
  return nullptr;
}

void Shard::ask_device(InstrumentIx ix) {
  for (Ask& ask : asks_) {
    if (ask.decision != 0) continue;
    ask.decision = decision_;
    ask.feed_seq = feed_seq_;
    ask.events = items_[ix].events;
    ask.instrument = ix;
    std::memcpy(ask.features, features_now_, sizeof ask.features);
    items_[ix].asked = decision_;
    last_ask_ = decision_;
    ++asks_made_;
    return;
  }
  ++counters_.device_full;
  policies_.decide(features_now_, decision_now_);
  conclude(ix);
}

void Shard::on_device(const Input& in) {
  DeviceAnswer answer;
  if (in.head.size() != sizeof answer) return;
  std::memcpy(&answer, in.head.data(), sizeof answer);
  const Ask* found = ask_of(answer.decision);
  if (found == nullptr) {
    ++counters_.device_late;
    return;
  }
  const Ask ask = *found;
  asks_[found - asks_] = Ask{};
  const InstrumentIx ix = ask.instrument;
  items_[ix].asked = 0;
  const bool late = items_[ix].events - ask.events > config_.device.max_events_behind;
  // By ring the world went on meanwhile. Inline nothing was consumed between, so this never holds; it guards all the same.
  if (late || !may_trade(ix)) {
    ++counters_.device_dropped;
    return;
  }
  std::memcpy(features_now_, ask.features, sizeof ask.features);
  i32 logits[kMaxPolicies * kMaxActions];
  const std::size_t bytes = std::size_t(std::popcount(answer.answered)) * answer.n_actions * sizeof(i32);
  const bool usable = answer.policy_version == policies_.version() && answer.n_actions == policies_.n_actions() &&
                      in.body.size() == bytes && bytes <= sizeof logits;
  if (!usable) answer.answered = 0;
  if (answer.answered != 0) std::memcpy(logits, in.body.data(), bytes);
  // The decision keeps its number and place in the feed, however many came after it.
  const u64 newest = decision_, now_seq = feed_seq_;
  decision_ = ask.decision;
  feed_seq_ = ask.feed_seq;
  decision_recorded_ = false;
  take_answer(answer, logits);
  conclude(ix);
  decision_ = newest;
  feed_seq_ = now_seq;
}

void Shard::take_answer(const DeviceAnswer& answer, const i32* logits) {
  u32 active = 0;
  for (u32 s = 0; s < kMaxPolicies; ++s) active |= u32{policies_.active(s)} << s;
  // A slot that is not active has no say, so its logits have no place.
  const bool whole = answer.answered != 0 && (answer.answered & ~active) == 0;
  policies_.decide_from(features_now_, whole ? answer.answered : 0, logits, decision_now_);
  if (whole && answer.answered == active) {
    ++counters_.device_used;
  } else {
    ++counters_.device_fallback;
  }
  const u32 every = config_.device.recompute_every;
  if (!whole || every == 0 || answer.decision % every != 0) return;
  PolicySet::Decision own;
  policies_.decide(features_now_, own);
  const std::size_t n = std::size_t{own.n_policies} * own.n_actions;
  if (std::memcmp(own.logits, decision_now_.logits, n * sizeof(i32)) == 0) return;
  ++counters_.device_wrong;
  decision_now_ = own;
}

}  // namespace peregrine::engine
