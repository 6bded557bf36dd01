// Up to eight policies of one symbol that decide together, each slot with an active and a staged bank.
//
//   score[a] = sum over valid p of w_p * [argmax_p = a]          w int16, sum int32; ties to the lowest action
//   quorum     score[best] * 256 >= quorum * (sum of w over valid answers), else hold (action 0)
//   risk role  a risk policy whose argmax is in its veto set forces its stated action (lowest slot first)
//   version    first 8 bytes (big-endian) of SHA-256 over the active artifacts' hashes in slot order; 0 = empty set
//
// stage() may allocate and is called by whoever loads; swap(), set_*() and decide() do not allocate and are called
// between two inputs. A staged policy decides nothing until its journaled swap.
#pragma once

#include "core/sha256.h"
#include "core/types.h"
#include "policy/policy.h"

namespace peregrine {

inline constexpr u32 kMaxPolicies = 8;

class PolicySet {
 public:
  enum class Role : u8 { kVoter = 0, kRisk = 1 };

  struct SlotConfig {
    i16 weight = 1;
    Role role = Role::kVoter;
    u16 veto_actions = 0;  // bit a = action a is vetoed; risk role only
    u8 forced_action = 0;  // what a veto makes of it
  };

  struct Decision {
    u8 action = 0;
    bool held = true;       // no quorum (or no valid answer): action is hold
    bool vetoed = false;    // a risk policy forced the action
    u8 veto_slot = 0xFF;
    u8 n_policies = 0;      // valid answers
    u8 n_actions = 0;
    u8 argmax[kMaxPolicies];  // by slot; 0xFF = no valid answer
    i32 logits[kMaxPolicies * kMaxActions];  // n_actions each, one valid policy after the other in slot order
    i32 score[kMaxActions];
    u64 version = 0;
  };

  PolicySet() = default;
  PolicySet(const PolicySet&) = delete;
  PolicySet& operator=(const PolicySet&) = delete;

  // Puts `policy` into the slot's staged bank, replacing one that waited there. Refused when its action map differs
  // from that of the set's other policies.
  PolicyError stage(u32 slot, Policy&& policy);
  bool staged(u32 slot) const { return slot < kMaxPolicies && slot_[slot].staged; }
  bool active(u32 slot) const { return slot < kMaxPolicies && slot_[slot].active; }
  // The staged bank becomes active; the old active one becomes the staged one (so a swap can be undone by a swap).
  // False and nothing changed when nothing is staged.
  bool swap(u32 slot);
  // The slot decides nothing from now on; what was staged stays staged. False when nothing was active.
  bool remove(u32 slot);

  PolicyError set_slot(u32 slot, const SlotConfig& config);
  bool set_weight(u32 slot, i16 weight);
  bool set_weights(const i16* weights, u32 n);
  bool set_quorum(u16 quorum_256);  // 0..256
  u16 quorum() const { return quorum_256_; }
  const SlotConfig& slot_config(u32 slot) const { return slot_[slot].config; }
  const Policy& policy(u32 slot) const { return slot_[slot].bank[slot_[slot].which]; }

  u32 n_actions() const { return n_actions_; }
  u64 version() const { return version_; }
  u64 state_hash() const;
  // What a slot holds, by name. The policies themselves are put back by whoever has the artifacts; loading then sets
  // the rest, and fails where another policy is in a bank than was saved.
  struct SlotState {
    Sha256Digest active_hash, staged_hash;  // zero = none
    SlotConfig config;
  };
  SlotState slot_state(u32 slot) const;
  template <class A>
  void archive(A& a) {
    a(quorum_256_);
    for (u32 s = 0; s < kMaxPolicies; ++s) {
      SlotState state = slot_state(s);
      const SlotState here = state;
      a(state);
      if constexpr (A::kLoading) {
        if (a.check_only() || !a.ok()) continue;
        const bool same = state.active_hash == here.active_hash && state.staged_hash == here.staged_hash;
        if (same && set_slot(s, state.config).ok) continue;
        a.fail();
      }
    }
    static_assert(sizeof(PolicySet) == 2016, "a member came or went: is it listed above?");
  }

  // Runs every active policy on the features, then consensus.
  void decide(const i32* features, Decision& out) const;
  // The same where others computed: slots of `answered` take their n_actions() logits from `given`, slot after slot,
  // the rest is computed here.
  void decide_from(const i32* features, u32 answered, const i32* given, Decision& out) const;
  // Consensus alone, over out.argmax as filled in by the caller (0xFF = no answer).
  void consensus(Decision& out) const;

 private:
  struct Slot {
    Policy bank[2];
    u8 which = 0;
    bool active = false;
    bool staged = false;
    SlotConfig config;
  };
  void refresh();
  void vote(Decision& out, const u8* slots, u32 n) const;

  Slot slot_[kMaxPolicies];
  // Made by refresh(): what decides, in slot order.
  const Policy* voter_[kMaxPolicies] = {};
  u8 voter_slot_[kMaxPolicies] = {};
  u32 n_voters_ = 0;
  u16 quorum_256_ = 0;
  u32 n_actions_ = 0;
  u64 version_ = 0;
};

}  // namespace peregrine
