// How the stages of a live engine hand over to one another: by a direct call on one thread, or by a ring between two.
//
//   FeedStage ──InputSink──▶ ShardStage ──SessionDoor──▶ SessionStage
//                                ▲                            │
//                                └─────────InputSink──────────┘
//
// A stage has no thread, no lock and no clock of its own: whoever hosts it polls it and owns the ThreadClock.
#pragma once

#include <atomic>
#include <span>

#include "core/clock.h"
#include "execution/soup.h"
#include "journal/record.h"

namespace peregrine::engine {

// The time of one thread; every stage on it reads this one.
struct alignas(128) ThreadClock {
  explicit ThreadClock(const TscClock& clock) : tsc(clock) {}
  TscClock tsc;
  TimeNs now_ns = 0;
  TimeNs discipline_ns = 0;

  TimeNs tick() { return now_ns = tsc.now_ns(); }
  // About once a second, between inputs.
  void discipline_when_due() {
    if (now_ns < discipline_ns) return;
    discipline_ns = now_ns + 1'000'000'000;
    tsc.discipline();
  }
};

// What travels with an input to be measured with; never journaled, never decided upon.
struct Stamps {
  u64 received_ticks = 0;  // feed: when its packet was received; send result: from there to the send, 0 = no packet
  u64 spent_ticks = 0;     // send result: what the send call took
};

class InputSink {
 public:
  // False: no room, and nothing was taken.
  virtual bool put(journal::RecordType type, const Stamps& stamps, Bytes head, Bytes body) = 0;
  // The session stage will put nothing more.
  virtual bool put_closed() = 0;
  // Inputs of this many bytes, record heads included, are sure to be taken now.
  virtual u64 room_bytes() const = 0;
  // Feed only: messages that come next, in this order, for who can start their cache misses now.
  virtual void ahead(std::span<const Bytes> messages) { (void)messages; }
  // Feed only: the shard is so far behind that what waits for it is too old to trade on.
  virtual bool behind() const { return false; }
  // Feed only, after a refusal or when behind. Raises the level the shard sees before anything that waits in the ring …
  virtual void overrun(u32 epoch) = 0;
  // … and, once there is room again, marks where what was there before ends. False: still no room.
  virtual bool put_overrun_mark(u32 epoch) = 0;

 protected:
  ~InputSink() = default;
};

// Whole SoupBinTCP packets of journaled intents on their way to the session.
struct WireHead {
  u64 last_intent_seq;
  u64 packet_ticks;  // receive stamp of the packet that caused the first of them, 0 = no packet did
  u32 connection;    // the one they were made for: they go out on no other
  u32 zero;
};
static_assert(sizeof(WireHead) == 24);

struct LoginHead {
  u64 sequence;
  u32 connection;
  char session[10];
  u8 zero[2];
};
static_assert(sizeof(LoginHead) == 24);

class SessionDoor {
 public:
  // False: no room; the bytes stay with the caller. True: they are taken, and settle() follows.
  virtual bool send(const WireHead& head, Bytes wire) = 0;
  // The caller has let go of the bytes: a door that knows the send's result by now puts it.
  virtual void settle() = 0;
  virtual bool login(const LoginHead& head) = 0;
  // Log out, close, put_closed().
  virtual bool stop() = 0;

 protected:
  ~SessionDoor() = default;
};

enum class StopReason : u8 { kNotStopped = 0, kTimeUp = 1, kAsked = 2, kSignal = 3, kJournal = 4, kPlacement = 5 };

// What every thread of an engine looks at between two inputs.
struct EngineControl {
  std::atomic<u8> stop{0};
  std::atomic<bool> kill{false};
  std::atomic<u64> supervisor_beats{0};
  // Totals of the feed stage, for the telemetry of the shards.
  std::atomic<u64> feed_gaps{0}, feed_requests{0}, feed_malformed{0};

  void request_stop(StopReason why) {
    u8 none = 0;
    stop.compare_exchange_strong(none, static_cast<u8>(why), std::memory_order_acq_rel);
  }
  bool stopping() const { return stop.load(std::memory_order_relaxed) != 0; }
};

// One queue as people see it: how large, how full it has been, how often it was full.
struct QueueUse {
  const char* name = "";
  u64 capacity = 0;
  u64 high_water = 0;
  u64 times_full = 0;
  const char* unit = "bytes";
};

}  // namespace peregrine::engine
