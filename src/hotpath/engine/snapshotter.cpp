#include "engine/snapshotter.h"

#include <unistd.h>

#include "core/pin.h"

namespace peregrine::engine {

namespace {
constexpr u64 kRecordsATurn = 4096;
constexpr u32 kIdleMicroseconds = 20'000;
}  // namespace

Snapshotter::Snapshotter(const SnapshotterOptions& options, const ShardFactory& factory, Rebuilt rebuilt, u64 from_seq)
    : options_(options),
      factory_(factory),
      rebuilt_(std::move(rebuilt)),
      from_seq_(from_seq),
      replay_(*rebuilt_.shard, [this](u32 slot, Bytes artifact) {
        rebuilt_.artifacts.put(artifact);
        factory_.stage(*rebuilt_.shard, slot, artifact);
      }) {}

Snapshotter::~Snapshotter() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
}

void Snapshotter::start() {
  thread_ = std::thread([this] { run(); });
}

void Snapshotter::stop() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
  finish();
}

void Snapshotter::run() {
  name_this_thread("snapshots");
  if (options_.cpu >= 0) (void)pin_this_thread(options_.cpu);
  while (!stop_.load(std::memory_order_relaxed)) {
    const i64 n = poll();
    if (n < 0) return;
    if (n == 0) ::usleep(kIdleMicroseconds);
  }
}

bool Snapshotter::open() {
  if (follower_ != nullptr) return true;
  journal::ReaderOptions reading;
  reading.ring = false;
  reading.from_seq = from_seq_;
  journal::JournalError error;
  follower_ = journal::Follower::open(options_.dir, options_.every_records, *this, error, reading);
  if (follower_ != nullptr) return true;
  // A fresh journal has no segment before its writer's first turn.
  if (error.fault != journal::Fault::kSystem) error_ = error.text(), over_ = true;
  return false;
}

i64 Snapshotter::poll() {
  if (over_) return -1;
  if (!open()) return over_ ? -1 : 0;
  const i64 n = follower_->poll(kRecordsATurn);
  // Between two steps only: where one is under way the wish stays.
  if (asked_.load(std::memory_order_relaxed) && follower_->snapshot_now()) asked_.store(false, std::memory_order_relaxed);
  followed_seq_.store(follower_->last_seq(), std::memory_order_relaxed);
  if (const u64 written = follower_->snapshots_written(); written != snapshots_.load(std::memory_order_relaxed)) {
    snapshots_.store(written, std::memory_order_relaxed);
    journal::prune_snapshots(options_.dir, options_.keep);
  }
  if (n < 0) error_ = follower_->error().text(), over_ = true;
  if (!replay_.result().identical) {
    error_ = "the run does not replay to what it recorded (peregrine verify shows where)";
    over_ = true;
  }
  return over_ ? -1 : n;
}

void Snapshotter::finish() {
  while (poll() > 0) {
  }
  if (over_ || follower_ == nullptr) return;
  if (follower_->snapshot_now()) {
    snapshots_.store(follower_->snapshots_written(), std::memory_order_relaxed);
    journal::prune_snapshots(options_.dir, options_.keep);
  } else if (!follower_->error().good()) {
    error_ = follower_->error().text();
  }
}

void Snapshotter::on_record(const journal::RecordView& record) { replay_.on_record(record.header, record.payload); }

bool Snapshotter::on_snapshot_due(u64, u64& state_hash, std::vector<u8>& payload) {
  // Only between two steps: every output of the last input has been seen, and nothing differs.
  if (!replay_.quiescent()) return false;
  state_hash = rebuilt_.shard->state_hash();
  return save_shard(*rebuilt_.shard, rebuilt_.initial, rebuilt_.artifacts, payload);
}

}  // namespace peregrine::engine
