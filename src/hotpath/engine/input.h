// One numbered input of the state machine, and where a step puts what it decides.
#pragma once

#include "core/types.h"
#include "journal/record.h"

namespace peregrine::engine {

// `head` is the fixed struct of the record type (record.h), `body` the bytes that follow it, both as journaled.
struct Input {
  journal::RecordType type;
  TimeNs now_ns;  // receive time: the only time a step knows
  Bytes head;
  Bytes body;
};

// Bytes of the fixed struct at the start of an input's payload; the rest is its body.
constexpr std::size_t head_bytes(journal::RecordType type) {
  using enum journal::RecordType;
  switch (type) {
    case kFeed:
    case kSnapshot: return sizeof(journal::FeedHead);
    case kFeedState: return sizeof(journal::FeedStateChange);
    case kSessionState: return sizeof(journal::SessionStateChange);
    case kCommand: return sizeof(journal::CommandHead);
    case kTimer: return sizeof(journal::TimerDue);
    case kControl: return sizeof(journal::ControlSeen);
    case kDevice: return sizeof(journal::DeviceAnswer);
    case kSignal: return sizeof(journal::SignalValue);
    case kSendResult: return sizeof(journal::SendResult);
    case kRecovered: return sizeof(journal::Recovered);
    default: return 0;
  }
}

template <class T>
Bytes bytes_of(const T& v) {
  return Bytes(reinterpret_cast<const u8*>(&v), sizeof v);
}

class ShardOutput {
 public:
  // An order message about to be sent: it must be in the journal before it reaches a socket.
  virtual void intent(const journal::IntentHead& head, Bytes ouch) = 0;
  // Why an intent came about, or what the gate refused.
  virtual void decision(const journal::DecisionHead& head, const i32* features, const i32* logits) = 0;
  virtual void state_hash(const journal::StateHash& hash) = 0;

 protected:
  ~ShardOutput() = default;
};

// Timers of a shard, as in journal::TimerDue.timer.
inline constexpr u32 kTimerHousekeeping = 1;  // every 100 ms: session rounds, throttles, timeouts
inline constexpr u32 kTimerStateHash = 2;     // every second: a state hash goes into the journal
inline constexpr TimeNs kHousekeepingIntervalNs = 100'000'000;
inline constexpr TimeNs kStateHashIntervalNs = 1'000'000'000;

}  // namespace peregrine::engine
