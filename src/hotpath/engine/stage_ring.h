// The rings between two threads of a pipelined engine. Each end is an InputSink or a SessionDoor, so that a stage does
// not know whether it calls the next one or writes into a ring; the other end drains the ring into the real one.
//
//   input record    kind = journal::RecordType      | received_ticks | spent_ticks | head | body |
//   mark            kind = 0x10000                  | epoch u32 | zero u32 |    see FeedRouter
//   closed          kind = 0x10001                  (nothing)
//   wire record     kind = 1 | WireHead | packets |    login: 2 | LoginHead |    stop: 3
#pragma once

#include <atomic>

#include "engine/feed_router.h"
#include "engine/stage.h"

namespace peregrine::engine {

// Feed or session → shard.
class InputRing final : public InputSink {
 public:
  // `longest_record_bytes` is kept free, so that the next record fits wherever the ring wraps. `max_lag_ns`: a packet
  // that has waited longer is not stepped, the shard counts as overrun; 0 = however long.
  InputRing(const char* name, u64 capacity_bytes, u64 longest_record_bytes, TimeNs max_lag_ns = 0)
      : name_(name), longest_(longest_record_bytes), max_lag_ns_(max_lag_ns), ring_(capacity_bytes) {}

  // Producer
  bool put(journal::RecordType type, const Stamps& stamps, Bytes head, Bytes body) override;
  bool put_closed() override { return ring_.ring.try_push(kClosed, {}); }
  u64 room_bytes() const override;
  bool behind() const override { return behind_.load(std::memory_order_relaxed) != overrun_.load(std::memory_order_relaxed); }
  void overrun(u32 epoch) override;
  bool put_overrun_mark(u32 epoch) override;

  // Consumer: at most `most` records into `shard`, ticking `clock` for each packet. Returns how many there were.
  int drain(InputSink& shard, ThreadClock& clock, int most);

  // After the threads have ended.
  QueueUse use() const { return {name_, ring_.ring.capacity(), high_, full_}; }
  u64 skipped() const { return skipped_; }

 private:
  static constexpr u32 kMark = 0x10000, kClosed = 0x10001;
  void note_high();
  bool too_old(u64 received_ticks, const ThreadClock& clock) const;
  void go_stale(InputSink& shard, ThreadClock& clock, u32 epoch);

  const char* name_;
  const u64 longest_;
  const TimeNs max_lag_ns_;
  mutable OwnedRing ring_;
  alignas(128) std::atomic<u32> overrun_{0};  // epoch, raised by the producer
  alignas(128) std::atomic<u32> behind_{0};   // the epoch the consumer asks for
  u64 full_ = 0;  // producer's
  u64 high_ = 0;
  u32 puts_ = 0;
  alignas(128) u32 level_ = 0;  // consumer's: the epoch last raised …
  u32 overrun_seen_ = 0;        // … and the one it is stale for, which may be the next
  bool skipping_ = false;
  u64 skipped_ = 0;
  u64 packet_ticks_ = 0;
};

// Shard → session.
class WireRing final : public SessionDoor {
 public:
  WireRing(const char* name, u64 capacity_bytes) : name_(name), ring_(capacity_bytes) {}

  // Producer
  bool send(const WireHead& head, Bytes wire) override;
  void settle() override {}
  bool login(const LoginHead& head) override;
  bool stop() override { return ring_.ring.try_push(kStop, {}); }

  // Consumer. What cannot be reported back for want of room waits.
  int drain(SessionDoor& session, const InputSink& back, int most);

  QueueUse use() const { return {name_, ring_.ring.capacity(), high_, full_}; }

 private:
  static constexpr u32 kWire = 1, kLogin = 2, kStop = 3;
  static constexpr u64 kReportBytes = 4096;
  const char* name_;
  OwnedRing ring_;
  u64 full_ = 0;
  u64 high_ = 0;
};

}  // namespace peregrine::engine
