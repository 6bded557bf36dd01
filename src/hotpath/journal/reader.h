// Reads a journal in order: segments, then what only the ring holds. Checks everything it passes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "journal/error.h"
#include "journal/ring.h"
#include "journal/segment.h"

namespace peregrine::journal {

struct ReaderOptions {
  bool ring = true;          // go on into the ring that <dir>/ring.path names
  std::string ring_path;     // another ring; empty = as ring.path says
  bool assume_dead = false;  // the caller holds the journal's lock: nobody is writing
  bool verify_chain = true;  // SHA-256 of closed segments (CRC and numbering are always checked)
  u64 from_seq = 1;          // begin with this record: segments wholly before it are not opened, nor their chain checked
};

struct RecordView {
  RecordHeader header;
  Bytes payload;       // valid until the next call
  Bytes raw;           // the whole record
  u32 segment;         // segment number, 0 = from the ring
  u64 offset;          // in that file (ring: stream position)
};

enum class ReadResult : u8 { kRecord, kEnd, kCorrupt };

// How a journal ends, known once next() returned kEnd.
struct JournalEnd {
  u64 last_seq = 0;
  u32 generation = 0;          // of the last record or segment
  u64 journal_id = 0;
  u32 last_segment = 0;        // highest number, 0 = none
  bool last_segment_closed = false;
  u64 disk_last_seq = 0;       // last record whole on disk
  u64 disk_end_offset = 0;     // in the last segment: one past its last whole record
  bool blank_segment = false;  // the last segment file holds no header yet (cut off at its creation)
  u64 torn_bytes = 0;          // bytes after it that are no record (zeros not counted)
  u64 ring_records = 0;        // records only the ring holds
};

// Works on a journal at rest and on one being written (then kEnd means "nothing more yet": call next() again later).
class Reader {
  struct Private {};

 public:
  explicit Reader(Private);  // use open()
  static std::unique_ptr<Reader> open(const std::string& dir, const ReaderOptions& options, JournalError& error);
  ~Reader();
  // Numbered records only (padding and trailers are checked and passed over).
  ReadResult next(RecordView& out);
  const JournalError& error() const;  // after kCorrupt: what, where, expected, found
  const JournalEnd& end() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct JournalSummary {
  u64 first_seq, last_seq, records, payload_bytes, ring_records, torn_bytes;
  i64 first_ts_ns, last_ts_ns;
  u32 segments, generations, first_generation, last_generation;
  u64 count_by_type[256];  // index = RecordType
};
// Counts in one pass without leaving C++. False with the corruption in `error`; the counts up to there stand.
bool summarize(const std::string& dir, const ReaderOptions& options, JournalSummary& out, JournalError& error);

}  // namespace peregrine::journal
