// One shard of a live run with what is its alone: configuration, state, journal, snapshots, telemetry, commands.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bindings/device_host.h"
#include "bindings/shard_factory.h"
#include "core/command_ring.h"
#include "engine/live_engine.h"
#include "engine/snapshotter.h"
#include "journal/recover.h"

namespace peregrine::bindings {

engine::Endpoint endpoint_from(const py::dict& d, const char* key);
const char* histogram_name(u32 i);
py::dict percentiles(const Histogram& h);

class LiveShard {
 public:
  // `spec`: shard, policies, quorum, journal, ouch, username, password.
  LiveShard(const py::dict& spec, const py::object& stage);

  // Names of its regions in the engine's segment: the first shard's have no number.
  static std::string region_name(const char* base, std::size_t index);
  void add_regions(std::size_t index, bool lock, std::vector<RegionSpec>& out) const;
  void take_regions(std::size_t index, Segment& segment, i64 units_per_currency);
  // Recovers the journal when there is one, else begins it.
  void open_journal(const py::dict& d, TscClock& clock);
  engine::ShardParts parts(Segment* segment, u64 signal_address);
  // After parts(): who computes decisions that are placed on a device.
  void attach_device(const py::dict& spec, const TscClock& clock);

  void start();
  // Writes out what is left; false when the journal could not be closed.
  bool close(journal::JournalError& error);

  // A command as the engine takes it; ValueError when it would not be in the journal what it is here.
  std::unique_ptr<engine::CommandMessage> command(u16 kind, const std::string& body, u64 key, const py::object& policy,
                                                  const std::string& origin) const;
  // Asks the follower for a snapshot of the state as soon as it can; false where there is none.
  bool request_snapshot() { return snapshotter_ != nullptr && snapshotter_->request(); }
  const engine::Shard& shard() const { return *shard_; }
  const engine::Telemetry& telemetry() const { return *telemetry_; }
  py::dict summary() const;

 private:
  void rebuild(const std::string& dir, bool use_snapshots);
  void follow(const py::dict& d, const std::string& dir);
  void check_bank_swap(const engine::CommandMessage& c) const;

  std::string header_;
  engine::ShardFactory factory_;
  std::unique_ptr<engine::Shard> shard_;
  engine::ArtifactStore artifacts_;  // that came by command in the runs before
  engine::SessionPort port_;
  CommandReader commands_;
  engine::CommandAcks acks_;
  std::unique_ptr<engine::Telemetry> telemetry_;
  journal::OpenJournal journal_;
  std::unique_ptr<engine::StepRunner> runner_;
  std::unique_ptr<engine::Snapshotter> snapshotter_;
  std::unique_ptr<DeviceHost> device_;
  u64 recovered_from_snapshot_seq_ = 0, recovered_inputs_ = 0;
  TimeNs recovery_ns_ = 0;
  std::vector<std::string> recovery_notes_;
  Sha256Digest action_map_hash_{};  // the set's, fixed for the run
  bool have_action_map_ = false;
  bool recovered_ = false;
};

}  // namespace peregrine::bindings
