// One life of the engine's process in the simulated world: the real shard, journal, step runner and live engine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/live_engine.h"
#include "engine/replay.h"
#include "journal/faults.h"
#include "journal/recover.h"
#include "venue/simulation_device.h"

namespace peregrine::venue {

// A policy kept so that a shard can be made again and again without the artifact's file.
struct StoredPolicy {
  u32 slot = 0;
  PolicySet::SlotConfig config;
  PolicyContext context;
  PolicySpec spec;  // points into what follows
  std::vector<u16> feature_index;
  std::vector<i16> quant_m;
  std::vector<u8> quant_s;
  std::vector<std::vector<i8>> weights;
  std::vector<std::vector<i32>> bias;
  std::vector<std::vector<u8>> shift;
};

// What one engine is made from, each time it starts.
struct EngineBlueprint {
  engine::ShardConfig shard;
  std::vector<std::unique_ptr<StoredPolicy>> policies;
  u16 quorum = 0;
  std::vector<u8> header;  // the journal's
  engine::LiveConfig live;
};

std::unique_ptr<engine::Shard> make_shard(const EngineBlueprint& blueprint);

// Thrown through the engine where its process ends.
struct ProcessKilled {};

// The journal's disk: files in memory (a folder on tmpfs) that lose what was not synced, fail as told, and count
// their calls so that a recovery can be cut between any two of them.
class SimulatedDisk {
 public:
  SimulatedDisk();
  SimulatedDisk(const SimulatedDisk&) = delete;
  SimulatedDisk& operator=(const SimulatedDisk&) = delete;
  const journal::FileOps& ops() const { return ops_; }
  journal::FaultyDisk& faults() { return disk_; }
  void kill_after(i64 calls) { left_ = calls; }  // -1 = never

 private:
  friend struct DiskCalls;
  void count() {
    if (left_ < 0) return;
    if (left_-- == 0) throw ProcessKilled{};
  }
  journal::FaultyDisk disk_;
  journal::FileOps ops_{};
  i64 left_ = -1;
};

struct JournalPlace {
  std::string dir;       // segments
  std::string ring_dir;  // survives a kill, not a power cut
  std::string ring_name = "simulated";
  u64 ring_bytes = 1u << 17;
  u64 segment_bytes = 1u << 20;
  journal::SyncPolicy sync = journal::SyncPolicy::kInterval;
  i64 sync_interval_ns = 5'000'000;
};

// What the process knew when it died, where that is exactly the state after a record.
struct StateThen {
  u64 seq = 0;  // 0 = not known
  u64 state_hash = 0;
};

class EngineProcess {
 public:
  EngineProcess(const EngineBlueprint& blueprint, const NetOps& net, const TimeNs* now_ns, std::vector<u8>& telemetry);
  EngineProcess(const EngineProcess&) = delete;
  EngineProcess& operator=(const EngineProcess&) = delete;

  // Recovers the journal, walks the shard to its end and opens the sockets. Empty, or what went wrong.
  // The one place that knows how an engine recovers.
  std::string start(const JournalPlace& place, SimulatedDisk& disk, bool cut_damaged_tail, const StateThen& then);
  // The ring as a process leaves it that died after record `seq`: what came after it never was.
  void cut_ring(u64 seq);

  engine::Shard& shard() { return *shard_; }
  engine::LiveEngine& live() { return *live_; }
  engine::StepRunner& runner() { return *runner_; }
  journal::Appender& appender() { return *journal_.appender; }
  journal::Writer& writer() { return *journal_.writer; }
  const journal::RecoverResult& recovered() const { return journal_.recovered; }
  bool damaged() const { return damaged_; }

 private:
  std::string replay(const std::string& dir, const StateThen& then);

  const EngineBlueprint& blueprint_;
  const NetOps& net_;
  TscClock clock_;
  TimeNs started_ns_;
  std::unique_ptr<engine::Shard> shard_;
  engine::Telemetry telemetry_;
  journal::OpenJournal journal_;
  std::unique_ptr<SimulatedDevice> device_;  // where the blueprint places decisions on one
  std::unique_ptr<engine::StepRunner> runner_;
  std::unique_ptr<engine::LiveEngine> live_;
  bool damaged_ = false;
};

}  // namespace peregrine::venue
