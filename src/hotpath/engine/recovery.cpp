#include "engine/recovery.h"

#include "journal/snapshot.h"

namespace peregrine::engine {

std::string replay_records(const RebuildOptions& options, const ShardFactory& factory, u64 from_seq, Shard& shard,
                           ArtifactStore& store, ReplayResult& result) {
  journal::ReaderOptions reading;
  reading.ring = options.ring;
  reading.from_seq = from_seq;
  journal::JournalError error;
  const std::unique_ptr<journal::Reader> reader = journal::Reader::open(options.dir, reading, error);
  if (reader == nullptr) return error.text();
  Replay replay(shard, [&](u32 slot, Bytes artifact) {
    store.put(artifact);
    factory.stage(shard, slot, artifact);
  });
  journal::RecordView view;
  journal::ReadResult r;
  while ((r = reader->next(view)) == journal::ReadResult::kRecord) replay.on_record(view.header, view.payload);
  if (r == journal::ReadResult::kCorrupt) return reader->error().text();
  replay.finish(options.crashed);
  result = replay.result();
  if (!result.identical) {
    return "the journal in " + options.dir +
           " does not replay to what it recorded: refusing to trade on it (peregrine verify shows where)";
  }
  return {};
}

namespace {

// The journal's own name and its last record, cheaply: only the last segment is read.
bool end_of(const std::string& dir, journal::JournalEnd& end) {
  std::vector<u32> numbers;
  journal::JournalError error;
  if (!journal::list_segments(dir, numbers, error) || numbers.empty()) return false;
  journal::ReaderOptions options;
  options.ring = false;
  options.from_seq = ~u64{0};  // the last segment holds whatever comes last
  const std::unique_ptr<journal::Reader> reader = journal::Reader::open(dir, options, error);
  journal::RecordView view;
  if (reader == nullptr || reader->next(view) == journal::ReadResult::kCorrupt) return false;
  end = reader->end();
  return end.journal_id != 0;
}

}  // namespace

bool load_newest(const std::string& dir, const ShardFactory& factory, Rebuilt& out) {
  out.shard = factory.make();
  out.initial = InitialPolicies::of(out.shard->policies());
  journal::JournalEnd end;
  if (!end_of(dir, end)) return false;
  u64 before = end.disk_last_seq;
  journal::Snapshot snapshot;
  std::vector<journal::SkippedSnapshot> skipped;
  for (;;) {
    const bool found = journal::newest_snapshot(dir, end.journal_id, before, snapshot, skipped);
    for (const journal::SkippedSnapshot& s : skipped) {
      if (!s.too_late) out.notes.push_back(s.file + " passed over: " + s.reason);
    }
    if (!found) return false;
    const std::string why = load_shard(*out.shard, factory, snapshot.payload, snapshot.state_hash, out.artifacts);
    if (why.empty()) {
      out.snapshot_seq = snapshot.after_seq;
      return true;
    }
    // A snapshot is a help, not a duty: the one before it, or the whole journal, gives the same state.
    out.notes.push_back(snapshot.file + " passed over: " + why);
    out.shard = factory.make();
    out.artifacts = {};
    before = snapshot.after_seq - 1;
  }
}

std::string rebuild_shard(const RebuildOptions& options, const ShardFactory& factory, Rebuilt& out) {
  if (options.use_snapshots) {
    load_newest(options.dir, factory, out);
  } else {
    out.shard = factory.make();
    out.initial = InitialPolicies::of(out.shard->policies());
  }
  return replay_records(options, factory, out.snapshot_seq + 1, *out.shard, out.artifacts, out.replay);
}

}  // namespace peregrine::engine
