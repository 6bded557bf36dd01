#include "policy/policy_set.h"

#include <cstdio>
#include <cstring>
#include <utility>

#include "core/assert.h"
#include "core/bytes.h"
#include "core/hash.h"

namespace peregrine {
namespace {

constexpr u8 kNoAnswer = 0xFF;

template <class... Args>
PolicyError refuse(const char* format, Args... args) {
  PolicyError e;
  e.ok = false;
  std::snprintf(e.message, sizeof e.message, format, args...);
  return e;
}

}  // namespace

PolicyError PolicySet::stage(u32 slot, Policy&& policy) {
  if (slot >= kMaxPolicies) return refuse("slot: found %u, expected 0..%u", slot, kMaxPolicies - 1);
  if (!policy.loaded()) return refuse("slot %u: found an empty policy", slot);
  for (u32 s = 0; s < kMaxPolicies; ++s) {
    const Slot& other = slot_[s];
    for (u32 b = 0; b < 2; ++b) {
      const bool alive = b == other.which ? other.active : other.staged;
      const bool replaced = s == slot && b != other.which;  // the staged bank this call overwrites
      if (!alive || replaced || other.bank[b].action_map_hash() == policy.action_map_hash()) continue;
      return refuse("slot %u: action map differs from that of slot %u: all policies of a set share one", slot, s);
    }
  }
  Slot& target = slot_[slot];
  if (target.config.forced_action >= policy.n_actions()) {
    return refuse("slot %u: forced action %u, expected below %u", slot, u32{target.config.forced_action},
                  policy.n_actions());
  }
  target.bank[target.which ^ 1] = std::move(policy);
  target.staged = true;
  return {};
}

bool PolicySet::swap(u32 slot) {
  if (slot >= kMaxPolicies || !slot_[slot].staged) return false;
  Slot& s = slot_[slot];
  s.which ^= 1;
  s.staged = s.active;
  s.active = true;
  refresh();
  return true;
}

bool PolicySet::remove(u32 slot) {
  if (slot >= kMaxPolicies || !slot_[slot].active) return false;
  slot_[slot].active = false;
  refresh();
  return true;
}

PolicyError PolicySet::set_slot(u32 slot, const SlotConfig& config) {
  if (slot >= kMaxPolicies) return refuse("slot: found %u, expected 0..%u", slot, kMaxPolicies - 1);
  const u32 actions = n_actions_ != 0 ? n_actions_ : kMaxActions;
  if (config.role == Role::kRisk) {
    if (config.forced_action >= actions) {
      return refuse("slot %u forced_action: found %u, expected below %u", slot, u32{config.forced_action}, actions);
    }
    if ((u32{config.veto_actions} >> actions) != 0) {
      return refuse("slot %u veto_actions: found mask 0x%x, expected bits below %u", slot, u32{config.veto_actions},
                    actions);
    }
  } else if (config.veto_actions != 0 || config.forced_action != 0) {
    return refuse("slot %u: found a veto set on a voter, expected it on a risk policy only", slot);
  }
  slot_[slot].config = config;
  return {};
}

bool PolicySet::set_weight(u32 slot, i16 weight) {
  if (slot >= kMaxPolicies) return false;
  slot_[slot].config.weight = weight;
  return true;
}

bool PolicySet::set_weights(const i16* weights, u32 n) {
  if (n > kMaxPolicies) return false;
  for (u32 s = 0; s < n; ++s) slot_[s].config.weight = weights[s];
  return true;
}

bool PolicySet::set_quorum(u16 quorum_256) {
  if (quorum_256 > 256) return false;
  quorum_256_ = quorum_256;
  return true;
}

void PolicySet::refresh() {
  Sha256 sha;
  u32 active = 0;
  n_actions_ = 0;
  for (u32 i = 0; i < kMaxPolicies; ++i) {
    const Slot& s = slot_[i];
    if (!s.active) continue;
    const Policy& p = s.bank[s.which];
    sha.update(p.artifact_hash().bytes, 32);
    n_actions_ = p.n_actions();
    voter_[active] = &p;
    voter_slot_[active++] = static_cast<u8>(i);
  }
  n_voters_ = active;
  u8 digest[32];
  sha.finish(digest);
  version_ = active == 0 ? 0 : load_be64(digest);
}

PolicySet::SlotState PolicySet::slot_state(u32 slot) const {
  const Slot& s = slot_[slot];
  SlotState state{};
  if (s.active) state.active_hash = s.bank[s.which].artifact_hash();
  if (s.staged) state.staged_hash = s.bank[s.which ^ 1].artifact_hash();
  state.config = s.config;
  return state;
}

u64 PolicySet::state_hash() const {
  u64 h = hash_fold(version_, quorum_256_);
  for (const Slot& s : slot_) {
    h = hash_fold(h, (s.active ? 1u : 0u) | (s.staged ? 2u : 0u));
    if (s.staged) h = hash_bytes(h, s.bank[s.which ^ 1].artifact_hash().bytes, 32);
    h = hash_fold(h, static_cast<u16>(s.config.weight));
    h = hash_fold(h, (u64{s.config.veto_actions} << 16) | (u64{s.config.forced_action} << 8) |
                         static_cast<u64>(s.config.role));
  }
  return h;
}

void PolicySet::decide(const i32* features, Decision& out) const {
  std::memset(out.argmax, kNoAnswer, sizeof out.argmax);
  i32* logits = out.logits;
  for (u32 v = 0; v < n_voters_; ++v, logits += n_actions_) {
    out.argmax[voter_slot_[v]] = static_cast<u8>(voter_[v]->decide(features, logits));
  }
  vote(out, voter_slot_, n_voters_);
}

void PolicySet::decide_from(const i32* features, u32 answered, const i32* given, Decision& out) const {
  std::memset(out.argmax, kNoAnswer, sizeof out.argmax);
  i32* logits = out.logits;
  for (u32 v = 0; v < n_voters_; ++v, logits += n_actions_) {
    const u32 s = voter_slot_[v];
    if ((answered >> s & 1) != 0) {
      std::memcpy(logits, given, n_actions_ * sizeof *given);
      given += n_actions_;
      out.argmax[s] = static_cast<u8>(Policy::argmax(logits, n_actions_));
    } else {
      out.argmax[s] = static_cast<u8>(voter_[v]->decide(features, logits));
    }
  }
  vote(out, voter_slot_, n_voters_);
}

void PolicySet::consensus(Decision& out) const {
  u8 valid[kMaxPolicies];
  u32 n = 0;
  for (u32 s = 0; s < kMaxPolicies; ++s) {
    if (slot_[s].active && out.argmax[s] < n_actions_) {
      valid[n++] = static_cast<u8>(s);
    } else {
      out.argmax[s] = kNoAnswer;
    }
  }
  vote(out, valid, n);
}

// Of the `n` slots named, each with a valid answer, in slot order.
void PolicySet::vote(Decision& out, const u8* slots, u32 n) const {
  out.action = 0;
  out.held = true;
  out.vetoed = false;
  out.veto_slot = kNoAnswer;
  out.n_policies = static_cast<u8>(n);
  out.n_actions = static_cast<u8>(n_actions_);
  out.version = version_;
  std::memset(out.score, 0, sizeof out.score);
  if (n == 0) return;

  i32 total = 0;
  for (u32 v = 0; v < n; ++v) {
    const u32 s = slots[v];
    const u8 a = out.argmax[s];
    const SlotConfig& c = slot_[s].config;
    out.score[a] += c.weight;
    total += c.weight;
    if (c.role == Role::kRisk && !out.vetoed && ((c.veto_actions >> a) & 1) != 0) {
      out.vetoed = true;
      out.veto_slot = static_cast<u8>(s);
    }
  }
  // One voter that counts at all: its action is the best, and no quorum is above its own weight.
  const bool alone = n == 1 && total > 0;
  const u32 best = alone ? out.argmax[slots[0]] : Policy::argmax(out.score, n_actions_);
  out.held = !alone && i64{out.score[best]} * 256 < i64{quorum_256_} * total;
  out.action = out.held ? 0 : static_cast<u8>(best);
  if (out.vetoed) {
    out.action = slot_[out.veto_slot].config.forced_action;
    out.held = false;
  }
}

}  // namespace peregrine
