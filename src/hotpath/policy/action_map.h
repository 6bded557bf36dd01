// What a policy's outputs mean. Artifacts carry the hash of the map they were made for; a set shares one map.
#pragma once

#include "core/sha256.h"
#include "core/types.h"

namespace peregrine {

// Action map v1.
enum class Action : u8 {
  kHold = 0,     // do nothing
  kJoinBid = 1,  // post-only buy at the best bid
  kJoinAsk = 2,  // post-only sell at the best ask
  kTakeAsk = 3,  // buy at the best ask, immediate or cancel
  kTakeBid = 4,  // sell at the best bid, immediate or cancel
};

inline constexpr u32 kActionMapV1Actions = 5;

// Canonical JSON (keys sorted, no spaces), byte for byte what hotpath.policy.actions.canonical() makes.
inline constexpr char kActionMapV1[] =
    R"({"actions":["hold","join_bid","join_ask","take_ask","take_bid"],"format":"peregrine.action-map","version":1})";

inline Sha256Digest action_map_v1_hash() { return Sha256::of(kActionMapV1); }

}  // namespace peregrine
