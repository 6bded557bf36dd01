// Opens a journal directory for continuing, whatever state the last run left it in.
#pragma once

#include <string>
#include <vector>

#include "journal/file_ops.h"
#include "journal/appender.h"
#include "journal/reader.h"
#include "journal/writer.h"

namespace peregrine::journal {

// Where records may be gone that were never on disk (the ring that ring.path names is not there, or an operator's
// cut), requests may be at the venue, or still on their way there, that nobody here knows. RECOVERED then
// claims so many order numbers more than the journal shows: the fence that follows is above them all, and what replay
// makes beyond the last journaled intent counts as perhaps sent. More than a session sends while a disk is not synced.
inline constexpr u32 kNumbersPassedOver = 1u << 20;

struct RecoverOptions {
  std::string dir;
  std::string ring_name = "peregrine";  // RingOptions.name and .ring_dir of this run and, unless ring.path
  std::string ring_dir = "/dev/shm";    // says otherwise, of the last one
  i64 now_ns = 0;                       // stamp of the RECOVERED record
  Bytes header = {};                    // payload of a kHeader record: written to a fresh journal as its first
                                        // record, and after RECOVERED when it differs from the last one there
  // Operator's decision, never a default: when valid records follow a damaged one in the last open segment (a power
  // cut can do that to un-synced sectors), cut there anyway; the bytes cut go to <segment>.cut-<offset>.
  bool cut_damaged_tail = false;
  const FileOps* ops = nullptr;
};

struct RecoverResult {
  bool fresh = false;          // no record was there: start from seq 1, generation 1, no RECOVERED
  u64 next_seq = 1;            // for RingOptions.next_seq (after RECOVERED and header)
  u32 generation = 1;          // for RingOptions.generation; also the epoch
  u64 journal_id = 0;
  u64 recovered_seq = 0;       // of the RECOVERED record, 0 when fresh
  u64 header_seq = 0;          // of the header record now in force, 0 = none given nor found
  Recovered recovered{};       // its payload
  u64 last_seq_before = 0;     // last record of the runs before
  i64 last_ts_ns = 0;          // latest stamp in it: this run's stamps are never below
  u64 merged_records = 0;      // moved from the dead run's ring to the segments
  u64 cut_bytes = 0;           // torn tail cut
  u64 cut_offset = 0;
  std::string cut_file;
  bool records_lost = false;   // the dead run's ring is gone, or the tail was cut as told
  u64 malformed = 0;           // intents or session packets too short to read (counted, passed over)
  std::vector<std::string> notes;
};

// Finds the end, cuts a torn tail (only by the rule), moves the ring's leftovers into segments, appends RECOVERED,
// removes the old ring. Can be interrupted at any point and called again. Existing journals are never a reason to
// refuse; corruption is (error says where), and so is a live owner.
bool recover(const RecoverOptions& options, RecoverResult& result, JournalError& error);

// What the intents and session packets before say: feed every record in order, then take the result.
class RecoveredBuilder {
 public:
  void on_record(const RecordHeader& header, Bytes payload);
  Recovered build(u32 epoch) const;
  u64 malformed() const { return malformed_; }

 private:
  Recovered r_{};
  u64 malformed_ = 0;
};

// After recover(): the ring and writer of this run, wired together.
struct OpenJournal {
  RecoverResult recovered;
  std::unique_ptr<Appender> appender;
  std::unique_ptr<Writer> writer;
};
// recover(), then a new ring and a writer on it (its thread not started). ring.journal_dir, .generation, .next_seq and
// .journal_id, and writer.dir, are filled in.
bool open_journal(const RecoverOptions& options, RingOptions ring, u64 reserve_bytes, WriterOptions writer,
                  OpenJournal& out, JournalError& error);

}  // namespace peregrine::journal
