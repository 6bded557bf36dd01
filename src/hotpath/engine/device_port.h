// Where a shard's runner takes a decision's logits from when a device computes them.
#pragma once

#include "engine/shard.h"

namespace peregrine::engine {

// What becomes the next kDevice input: the head, and popcount(head.answered) * head.n_actions logits.
struct DeviceReply {
  journal::DeviceAnswer head{};
  i32 logits[kMaxPolicies * kMaxActions] = {};

  Bytes logit_bytes() const {
    const u32 slots = static_cast<u32>(__builtin_popcount(head.answered));
    return Bytes(reinterpret_cast<const u8*>(logits), std::size_t{slots} * head.n_actions * sizeof(i32));
  }
  // The kernels decide, and the journal says why.
  static DeviceReply absent(u64 decision, journal::DeviceOutcome outcome) {
    DeviceReply r;
    r.head.decision = decision;
    r.head.outcome = static_cast<u8>(outcome);
    return r;
  }
};

// How a device stands: what it was asked, what came of it, and whether it is asked at all just now.
struct DeviceHealth {
  // Numbers stand in telemetry. kNone: there is no device.
  enum class State : u8 { kNone = 0, kClosed = 1, kProbing = 2, kOpen = 3, kLoading = 4 };
  State state = State::kNone;
  u64 asked = 0;
  u64 missed = 0;  // the deadline came first
  u64 failed = 0;  // corrupt, refused, no room, or not reached
  u64 trips = 0;   // of its breaker
};

class DevicePort {
 public:
  // Blocks until the answer or its absence at the deadline.
  virtual void ask(const Shard::Ask& ask, const PolicySet& set, DeviceReply& reply) = 0;
  // Asynchronous: true when it is under way and poll() will give its reply; else `reply` says why not.
  virtual bool submit(const Shard::Ask& ask, const PolicySet& set, TimeNs now, DeviceReply& reply) = 0;
  // The reply to one submitted ask, in any order; false: none just now.
  virtual bool poll(TimeNs now, DeviceReply& reply) = 0;
  // The kernels found an answer of it wrong.
  virtual void on_wrong() = 0;
  // The other thread's turn: loads what was handed over. False: nothing was.
  virtual bool work() = 0;
  // As it stands; from the thread that asks.
  virtual DeviceHealth health() const { return {}; }

 protected:
  ~DevicePort() = default;
};

}  // namespace peregrine::engine
