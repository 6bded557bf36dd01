// Follows a journal while it is written, steps a second shard through it, and leaves snapshots of that shard's state.
//
// The hot thread never pauses for a snapshot and never knows of one. What is followed is the disk, not the ring: its
// lines stay with the thread that writes them. As each output is held against the journal, a replay that differs is
// noticed while the run is on.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "engine/recovery.h"
#include "journal/snapshot.h"

namespace peregrine::engine {

struct SnapshotterOptions {
  std::string dir;
  u64 every_records = 200'000;
  u32 keep = 3;
  int cpu = -1;  // -1 = anywhere
};

class Snapshotter final : private journal::FollowerSink {
 public:
  // `rebuilt` = the shard's state before record `from_seq`.
  Snapshotter(const SnapshotterOptions& options, const ShardFactory& factory, Rebuilt rebuilt, u64 from_seq);
  ~Snapshotter() override;

  void start();
  // When the journal is closed: follows to its end and leaves a last snapshot, so that a resumed run replays nothing.
  void stop();

  // From any thread: a snapshot at the next turn, whatever the interval.
  bool request() {
    asked_.store(true, std::memory_order_relaxed);
    return true;
  }

  u64 snapshots() const { return snapshots_.load(std::memory_order_relaxed); }
  u64 followed_seq() const { return followed_seq_.load(std::memory_order_relaxed); }
  // After stop(): empty, or what went wrong. The run itself is not touched by it.
  const std::string& error() const { return error_; }

  // One turn, for whoever has no thread to spare: records followed, -1 = it is over.
  i64 poll();
  void finish();

 private:
  void on_record(const journal::RecordView& record) override;
  bool on_snapshot_due(u64 after_seq, u64& state_hash, std::vector<u8>& payload) override;
  bool open();
  void run();

  SnapshotterOptions options_;
  ShardFactory factory_;
  Rebuilt rebuilt_;
  u64 from_seq_;
  Replay replay_;
  std::unique_ptr<journal::Follower> follower_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> asked_{false};
  std::atomic<u64> snapshots_{0};
  std::atomic<u64> followed_seq_{0};
  bool over_ = false;
  std::string error_;
};

}  // namespace peregrine::engine
