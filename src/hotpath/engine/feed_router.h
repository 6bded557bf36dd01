// Which shard gets which message, and what happens when a shard does not keep up.
//
// A symbol belongs to one shard. A message goes to the shard of its symbol, found by the venue's locate in one
// lookup; a message of no symbol (locate 0) goes to all; one of a symbol nobody trades goes nowhere, except that a
// shard which has had nothing for kLifeSignNs gets the next message whatever it is: its quotes are then not stale.
//
// A shard whose way is full (only a ring can be) is never waited for and never misses a message in silence:
//
//   flowing ──no room──▶ overrun ──room: mark──▶ marked ──feed live: snapshot──▶ rebuilding ──'G'──▶ catching up ─┐
//      ▲                    ▲                                                    │  live messages held  │         │
//      │                    └────────────── held too many ──────────────────────┴──────────────────────┘         │
//      └─────────────────────── all that was held is delivered: feed state told ──────────────────────────────────┘
//
// The other shards go on meanwhile. No socket and no clock here: the transport is called, the time is given.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/ring_record.h"
#include "engine/stage.h"
#include "market/feed_receiver.h"
#include "market/huge_array.h"

namespace peregrine::engine {

// A record ring over memory of its own.
struct OwnedRing {
  explicit OwnedRing(u64 capacity_bytes);
  OwnedRing(const OwnedRing&) = delete;
  OwnedRing& operator=(const OwnedRing&) = delete;
  HugeArray<u8> memory;
  RecordRing ring;
};

struct LaneStats {
  u64 delivered = 0;
  u64 overruns = 0;    // times it found no room
  u64 dropped = 0;     // messages a snapshot replaced
  u64 rebuilds = 0;    // snapshots asked for it alone
  u64 rebuilt = 0;     // … that made it whole again
  u64 held_high = 0;   // bytes held at most while rebuilding
};

class FeedRouter {
 public:
  static constexpr TimeNs kLifeSignNs = 50'000'000;
  static constexpr std::size_t kMaxShards = 16;
  // One read of a snapshot connection (64 KiB) as records; a feed ring is at least twice that.
  static constexpr u64 kSnapshotRoomBytes = 256 * 1024;

  // Opens and closes the snapshot connection of one shard's rebuild; packets come back through on_rebuild_packet().
  class Transport {
   public:
    virtual void open_rebuild() = 0;
    virtual void close_rebuild() = 0;

   protected:
    ~Transport() = default;
  };

  // `symbols[s]`: what shard s trades. hold_bytes 0: the sinks never refuse.
  FeedRouter(const std::vector<std::vector<std::string>>& symbols, u64 hold_bytes, TimeNs snapshot_timeout_ns,
             TimeNs snapshot_retry_ns, Transport& transport);

  void attach(std::size_t shard, InputSink& sink) { lanes_[shard].sink = &sink; }
  // A datagram's messages are about to come; with several shards most of them would be another's.
  void on_ahead(std::span<const Bytes> messages) {
    if (lanes_.size() == 1) lanes_[0].sink->ahead(messages);
  }

  // A packet is about to be delivered.
  void begin_packet(u64 received_ticks, TimeNs now);
  void on_block(u64 seq, u8 line, Bytes msg);
  void on_snapshot_block(u64 n, Bytes msg);
  void on_state(const journal::FeedStateChange& change);

  // Snapshot packets of a rebuild: type byte and what follows it.
  void on_rebuild_packet(u8 type, Bytes payload, TimeNs now);
  void on_rebuild_lost(TimeNs now);
  // Marks, rebuilds, what is held: true when something moved. `next_seq`: of the feed receiver.
  bool poll(TimeNs now, u64 next_seq);
  // Room for a whole read of the snapshot service on every way it goes; a shard that gives none for long is overrun.
  bool snapshot_room(TimeNs now);
  bool rebuild_room() const;

  std::size_t shards() const { return lanes_.size(); }
  bool flowing(std::size_t shard) const { return lanes_[shard].state == State::kFlowing; }
  const LaneStats& stats(std::size_t shard) const { return lanes_[shard].stats; }
  u64 skipped() const { return skipped_; }  // messages of symbols nobody trades
  u64 hold_capacity_bytes() const { return hold_bytes_; }

 private:
  enum class State : u8 { kFlowing, kOverrun, kMarked, kRebuilding, kCatchingUp };
  static constexpr u8 kUnknown = 0xFF, kNobody = 0xFE, kEverybody = 0xFD;
  static constexpr TimeNs kSnapshotPatienceNs = 100'000'000;
  static constexpr int kHeldAtOnce = 256;

  struct Lane {
    InputSink* sink = nullptr;
    State state = State::kFlowing;
    u32 epoch = 0;
    u64 snapshot_n = 0;
    u64 from_seq = 0;       // rebuilding: first held; catching up and after: nothing below goes out
    TimeNs fed_ns = 0;
    TimeNs no_room_ns = 0;  // since when the common snapshot waits for it; 0 = it does not
    std::unique_ptr<OwnedRing> held;
    LaneStats stats;
  };

  u8 route(Bytes msg);
  u8 owner_of(const u8* stock) const;
  void deliver(Lane& lane, u64 seq, u8 line, Bytes msg);
  bool snapshot_to(Lane& lane, Bytes msg);
  void hold(Lane& lane, u64 seq, u8 line, Bytes msg);
  void overrun(Lane& lane);
  void abort_rebuild(TimeNs now, State next);
  bool catch_up(Lane& lane);
  template <class F>
  void each(u8 to, F&& f);

  std::vector<Lane> lanes_;
  const u64 hold_bytes_;
  const TimeNs timeout_ns_, retry_ns_;
  Transport& transport_;
  HugeArray<u8> by_locate_;
  struct Named {
    u64 stock = 0;  // 0 = free
    u8 shard = 0;
  };
  std::vector<Named> named_;
  u64 named_mask_ = 0;
  u64 received_ticks_ = 0;
  TimeNs now_ = 0;
  u32 quiet_ = 0;  // bit s: shard s is due a sign of life
  journal::FeedStateChange state_{};
  int rebuilding_ = -1;
  TimeNs rebuild_due_ns_ = 0;   // rebuilding: when it has taken too long; otherwise: not before
  u64 skipped_ = 0;
};

}  // namespace peregrine::engine
