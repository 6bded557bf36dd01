// A shard brought to where its journal ends: from the newest snapshot that fits, then the records after it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/replay.h"
#include "engine/shard_snapshot.h"

namespace peregrine::engine {

struct Rebuilt {
  std::unique_ptr<Shard> shard;
  ArtifactStore artifacts;
  InitialPolicies initial;
  u64 snapshot_seq = 0;            // 0 = none was used: replayed from the first record
  ReplayResult replay;             // of what came after it
  std::vector<std::string> notes;  // snapshots passed over, with the reason
};

struct RebuildOptions {
  std::string dir;
  bool use_snapshots = true;
  bool ring = false;      // go on into the ring of a run that was cut off
  bool crashed = false;   // the journal ends in a crash without a RECOVERED record
};

// A shard at the newest snapshot of the journal in `dir` that fits, or a fresh one (false).
bool load_newest(const std::string& dir, const ShardFactory& factory, Rebuilt& out);

// Reads the journal in `dir` and steps a shard through it. An empty string, or why it cannot be trusted: corruption,
// or a replay that differs from what was recorded (then `out.replay` says where).
std::string rebuild_shard(const RebuildOptions& options, const ShardFactory& factory, Rebuilt& out);

// Steps `shard` through the records from `from_seq` on, artifacts of bank swaps kept in `store`.
std::string replay_records(const RebuildOptions& options, const ShardFactory& factory, u64 from_seq, Shard& shard,
                           ArtifactStore& store, ReplayResult& result);

}  // namespace peregrine::engine
