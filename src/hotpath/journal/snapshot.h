// Snapshots of engine state, made by a follower of the journal so that the hot thread never pauses for one.
//
//   0        8         12          16          24           32              40           44      48           56     64
//   +--------+---------+-----------+-----------+------------+---------------+------------+-------+------------+------+----
//   | magic  | version | semantics | after_seq | state_hash | payload_bytes | generation | crc   | journal_id | zero | payload
//   +--------+---------+-----------+-----------+------------+---------------+------------+-------+------------+------+----
// File <dir>/snapshot-<after_seq, 20 digits>.pgs; crc32c over the whole file with this field as zero.
// Written to a temporary name, synced, renamed: a name that is there is a whole file.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "journal/file_ops.h"
#include "journal/reader.h"

namespace peregrine::journal {

inline constexpr u8 kSnapshotMagic[8] = {'P', 'G', 'R', 'S', 'N', 'A', 'P', '1'};
inline constexpr u32 kSnapshotVersion = 1;

struct SnapshotHeader {
  u8 magic[8];
  u32 version;
  u32 semantics_version;  // a snapshot of another semantics version is skipped
  u64 after_seq;          // state after the step that consumed this record
  u64 state_hash;
  u64 payload_bytes;
  u32 generation;
  u32 crc32c;
  u64 journal_id;
  u64 zero;
};
static_assert(sizeof(SnapshotHeader) == 64 && offsetof(SnapshotHeader, crc32c) == 44);

struct Snapshot {
  u64 after_seq = 0, state_hash = 0, journal_id = 0;
  u32 generation = 0;
  std::vector<u8> payload;
  std::string file;
};
struct SkippedSnapshot {
  std::string file, reason;
  bool too_late = false;  // whole, but of a record after max_seq
};

bool write_snapshot(const std::string& dir, const Snapshot& snapshot, const FileOps* ops, JournalError& error);
bool read_snapshot(const std::string& file, Snapshot& out, JournalError& error);
// The newest valid one of this journal with after_seq <= max_seq (the journal's end: a snapshot beyond it describes
// records that are lost). Bad ones are passed over with the reason. False = none.
bool newest_snapshot(const std::string& dir, u64 journal_id, u64 max_seq, Snapshot& out, std::vector<SkippedSnapshot>& skipped);
// Headers of all valid ones (their payload left out), by the record they follow; what is not valid goes into `notes`.
std::map<u64, Snapshot> all_snapshots(const std::string& dir, std::vector<std::string>& notes);
// Deletes all but the newest `keep`; returns how many went.
u32 prune_snapshots(const std::string& dir, u32 keep);

class FollowerSink {
 public:
  virtual ~FollowerSink() = default;
  virtual void on_record(const RecordView& record) = 0;
  // Asked after `every_records` records, then after each one until it gives a snapshot: fill hash and payload, or
  // return false for none now.
  virtual bool on_snapshot_due(u64 after_seq, u64& state_hash, std::vector<u8>& payload) = 0;
};

// Reads a journal as it grows and writes snapshots of what its sink made of it.
class Follower {
  struct Private {};

 public:
  Follower(Private, std::unique_ptr<Reader> reader, std::string dir, u64 every, FollowerSink& sink);  // use open()
  static std::unique_ptr<Follower> open(const std::string& dir, u64 every_records, FollowerSink& sink, JournalError& error,
                                        const ReaderOptions& options = {});
  // Asks for one here, after the last record; false when none is given or it cannot be written.
  bool snapshot_now();
  // Passes on up to max_records new records; returns how many, -1 = corruption (error()).
  i64 poll(u64 max_records);
  const JournalError& error() const { return error_; }
  u64 last_seq() const { return last_seq_; }
  u64 snapshots_written() const { return snapshots_; }
  u64 snapshots_failed() const { return failed_; }

 private:
  std::unique_ptr<Reader> reader_;
  std::string dir_;
  u64 every_, since_ = 0, last_seq_ = 0, snapshot_seq_ = 0, snapshots_ = 0, failed_ = 0;
  u32 last_generation_ = 0;
  FollowerSink& sink_;
  Snapshot snapshot_;
  JournalError error_;
};

}  // namespace peregrine::journal
