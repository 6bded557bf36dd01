#include "journal/reader.h"

#include <algorithm>
#include <cstring>

#include "journal/files.h"
#include "journal/ring_cursor.h"
#include "journal/segment_cursor.h"

namespace peregrine::journal {

struct Reader::State {
  State(std::string d, ReaderOptions o) : dir(std::move(d)), options(std::move(o)), cursor(options.verify_chain) {}

  std::string dir;
  ReaderOptions options;
  SegmentCursor cursor;
  std::unique_ptr<RingCursor> ring;
  JournalError error;
  JournalEnd end;
  bool corrupt = false;
  bool have_segment = false;    // cursor stands in segment end.last_segment
  bool segment_closed = false;  // and has passed its trailer
  u64 next_seq = 1;             // number of the next record to hand out
  u8 previous_sha256[32] = {};

  enum class Disk { kRecord, kUnwritten, kBad, kCorrupt };

  Disk from_disk(RecordView& out);
  Disk enter_segment(u32 number);
  Disk next_segment();
  bool later_segment_exists(bool& exists, u32& lowest);
  void skip_segments();
  bool attach_ring();
  ReadResult at_end(Disk disk);
  ReadResult fail(const JournalError& e) {
    error = e;
    corrupt = true;
    return ReadResult::kCorrupt;
  }
  JournalError fault(Fault f, const std::string& file, u64 offset, std::string expected, std::string found) const {
    JournalError e;
    e.fault = f;
    e.file = file;
    e.offset = offset;
    e.expected = std::move(expected);
    e.found = std::move(found);
    return e;
  }
  bool live() const { return !options.assume_dead && (directory_is_locked(dir) || (ring && ring->ring().owned())); }
};

bool Reader::State::later_segment_exists(bool& exists, u32& lowest) {
  std::vector<u32> numbers;
  if (!list_segments(dir, numbers, error)) return false;
  const auto it = std::upper_bound(numbers.begin(), numbers.end(), end.last_segment);
  exists = it != numbers.end();
  lowest = exists ? *it : 0;
  return true;
}

// Begins with the last segment whose first record is not after the first one wanted. What is wrong with a header on
// the way is found when the segment before it has been read to its end.
void Reader::State::skip_segments() {
  next_seq = options.from_seq;
  std::vector<u32> numbers;
  JournalError ignored;
  if (options.from_seq <= 1 || !list_segments(dir, numbers, ignored)) return;
  SegmentCursor probe(false);
  for (auto it = numbers.rbegin(); it != numbers.rend(); ++it) {
    if (probe.open(dir, *it) != SegmentCursor::Open::kGood) continue;
    const SegmentHeader& h = probe.segment();
    if (h.first_seq > options.from_seq) continue;
    if (*it == numbers.front()) return;  // nothing to skip
    end.last_segment = *it - 1;
    end.disk_last_seq = h.first_seq - 1;
    end.journal_id = h.journal_id;
    std::memcpy(previous_sha256, h.previous_sha256, 32);
    return;
  }
}

Reader::State::Disk Reader::State::enter_segment(u32 number) {
  const SegmentCursor::Open opened = cursor.open(dir, number);
  if (opened != SegmentCursor::Open::kGood) {
    cursor.close();
    error = cursor.error();
    if (opened != SegmentCursor::Open::kBlank) return Disk::kCorrupt;
    // Cut off while it was created: as good as not there, if it is the last.
    std::vector<u32> numbers;
    if (!list_segments(dir, numbers, error)) return Disk::kCorrupt;
    if (!numbers.empty() && numbers.back() > number) return Disk::kCorrupt;
    end.blank_segment = true;
    error = {};
    return Disk::kUnwritten;
  }
  const SegmentHeader& h = cursor.segment();
  if (h.first_seq != end.disk_last_seq + 1) {
    error = fault(Fault::kBadSeq, cursor.path(), offsetof(SegmentHeader, first_seq),
                  "first seq " + std::to_string(end.disk_last_seq + 1), std::to_string(h.first_seq));
    return Disk::kCorrupt;
  }
  if (std::memcmp(h.previous_sha256, previous_sha256, 32) != 0) {
    error = fault(Fault::kBadChain, cursor.path(), offsetof(SegmentHeader, previous_sha256),
                  "the SHA-256 in the trailer of the segment before", "another");
    return Disk::kCorrupt;
  }
  if (number > 1 && h.journal_id != end.journal_id) {
    error = fault(Fault::kBadSegmentHeader, cursor.path(), offsetof(SegmentHeader, journal_id),
                  "journal id " + std::to_string(end.journal_id), std::to_string(h.journal_id));
    return Disk::kCorrupt;
  }
  if (h.generation < end.generation) {
    error = fault(Fault::kBadGeneration, cursor.path(), offsetof(SegmentHeader, generation),
                  "generation " + std::to_string(end.generation) + " or later", std::to_string(h.generation));
    return Disk::kCorrupt;
  }
  end.journal_id = h.journal_id;
  end.generation = h.generation;
  end.last_segment = number;
  end.last_segment_closed = false;
  end.blank_segment = false;
  end.disk_end_offset = cursor.offset();
  have_segment = true;
  segment_closed = false;
  return Disk::kRecord;
}

Reader::State::Disk Reader::State::next_segment() {
  bool exists = false;
  u32 lowest = 0;
  if (!later_segment_exists(exists, lowest)) return Disk::kCorrupt;
  if (!exists) return Disk::kUnwritten;
  if (lowest != end.last_segment + 1) {
    error = fault(Fault::kMissingSegment, segment_path(dir, end.last_segment + 1), 0,
                  "segment " + std::to_string(end.last_segment + 1), "segment " + std::to_string(lowest) + " next");
    return Disk::kCorrupt;
  }
  return enter_segment(lowest);
}

// The next record on disk. kBad: the bytes there are no record, and whether they may be cut is still open.
Reader::State::Disk Reader::State::from_disk(RecordView& out) {
  for (;;) {
    if (!have_segment || segment_closed) {
      const Disk entered = next_segment();
      if (entered != Disk::kRecord) return entered;
    }
    SegmentCursor::Step step = cursor.step();
    if (step == SegmentCursor::Step::kEnd || step == SegmentCursor::Step::kBad) {
      bool later = false;
      u32 lowest = 0;
      if (!later_segment_exists(later, lowest)) return Disk::kCorrupt;
      // A live writer may have gone on since these bytes were read.
      cursor.refresh();
      step = cursor.step();
      if (later && step == SegmentCursor::Step::kEnd) {
        error = fault(Fault::kBadTrailer, cursor.path(), cursor.offset(), "a trailer: a later segment exists",
                      "nothing more");
        return Disk::kCorrupt;
      }
      if (later && step == SegmentCursor::Step::kBad) {
        error = cursor.error();
        return Disk::kCorrupt;
      }
    }
    switch (step) {
      case SegmentCursor::Step::kEnd:
      case SegmentCursor::Step::kBad:
        // Padding has no number and was passed over: the end is behind it, as it is for who writes on.
        end.disk_end_offset = cursor.offset();
        end.generation = std::max(end.generation, cursor.generation());
        if (step == SegmentCursor::Step::kEnd) return Disk::kUnwritten;
        error = cursor.error();
        return Disk::kBad;
      case SegmentCursor::Step::kTrailer:
        std::memcpy(previous_sha256, cursor.trailer().sha256, 32);
        segment_closed = end.last_segment_closed = true;
        end.generation = cursor.generation();
        break;
      case SegmentCursor::Step::kRecord:
        end.disk_last_seq = cursor.header().seq;
        end.disk_end_offset = cursor.offset();
        if (cursor.header().seq < next_seq) break;  // already handed out from the ring
        out = {cursor.header(), cursor.payload(), cursor.raw(), end.last_segment, cursor.raw_offset()};
        return Disk::kRecord;
    }
  }
}

// A ring that belongs to this journal, the newest there is.
bool Reader::State::attach_ring() {
  if (!options.ring) return false;
  if (ring && !ring->ring().replaced()) return true;
  const std::string path = options.ring_path.empty() ? ring_path_of(dir) : options.ring_path;
  if (path.empty()) return ring != nullptr;
  JournalError ignored;
  std::shared_ptr<Ring> opened = Ring::open(path, false, ignored);
  if (opened == nullptr) return ring != nullptr;
  const u64 id = opened->header().journal_id;
  if (end.journal_id != 0 && id != end.journal_id) return false;  // the name now serves another journal
  end.journal_id = id;
  ring = std::make_unique<RingCursor>(std::move(opened));
  return true;
}

ReadResult Reader::State::at_end(Disk disk) {
  end.last_seq = next_seq - 1;
  end.torn_bytes = 0;
  if (live()) return ReadResult::kEnd;
  if (!have_segment || !cursor.is_open() || segment_closed) return ReadResult::kEnd;
  const JournalError found = error;
  if (disk == Disk::kBad) {
    const Fault f = found.fault;
    // Only an incomplete write can look like a bad length, a bad CRC or a cut-off record. Whole records that do not
    // belong where they are were not torn.
    if (f != Fault::kTorn && f != Fault::kBadCrc && f != Fault::kBadLength) return fail(found);
  }
  const u64 rest = cursor.nonzero_bytes_after(cursor.offset());
  if (rest != 0) {
    const u64 valid = cursor.valid_record_after(cursor.offset(), next_seq);
    if (valid != 0) {
      JournalError e = disk == Disk::kBad ? found
                                          : fault(Fault::kTorn, cursor.path(), cursor.offset(), "a record", "zeros");
      e.hint = "a valid record follows at offset " + std::to_string(valid) + ": damage, not a torn end";
      return fail(e);
    }
    end.torn_bytes = rest;
  }
  error = {};
  return ReadResult::kEnd;
}

Reader::Reader(Private) {}
Reader::~Reader() = default;
const JournalError& Reader::error() const { return state_->error; }
const JournalEnd& Reader::end() const { return state_->end; }

std::unique_ptr<Reader> Reader::open(const std::string& dir, const ReaderOptions& options, JournalError& error) {
  error = {};
  std::vector<u32> numbers;
  if (!list_segments(dir, numbers, error)) return nullptr;
  if (numbers.empty() && ring_path_of(dir).empty() && options.ring_path.empty()) {
    error = system_error(2, dir, "opening the journal", "a directory with journal-000001.pgj in it is needed");
    return nullptr;
  }
  auto reader = std::make_unique<Reader>(Private{});
  reader->state_ = std::make_unique<State>(dir, options);
  reader->state_->skip_segments();
  return reader;
}

ReadResult Reader::next(RecordView& out) {
  State& s = *state_;
  if (s.corrupt) return ReadResult::kCorrupt;
  const auto hand_out = [&] {
    s.next_seq = out.header.seq + 1;
    s.end.last_seq = out.header.seq;
    s.end.generation = out.header.generation;
    return ReadResult::kRecord;
  };
  bool missing = false;  // the ring has released what we need: the disk must have it by now
  for (;;) {
    // While reading from a ring the disk is left alone; it is caught up with when the ring has moved on.
    const bool in_ring = s.end.ring_records > 0 && s.ring && !s.ring->ring().replaced();
    State::Disk disk = State::Disk::kUnwritten;
    if (!in_ring || missing) {
      disk = s.from_disk(out);
      if (disk == State::Disk::kCorrupt) return s.fail(s.error);
      if (disk == State::Disk::kRecord) {
        s.end.ring_records = 0;
        return hand_out();
      }
    }
    const JournalError disk_error = s.error;
    if (!s.attach_ring()) {
      s.error = disk_error;
      return s.at_end(disk);
    }
    const RingCursor::Find found = s.ring->find(s.next_seq);
    if (found == RingCursor::Find::kFound) {
      const RecordHeader& h = s.ring->header();
      if (h.generation < s.end.generation) {
        return s.fail(s.fault(Fault::kBadGeneration, s.ring->ring().path(), s.ring->position(),
                              "generation " + std::to_string(s.end.generation) + " or later",
                              std::to_string(h.generation)));
      }
      const Bytes raw = s.ring->raw();
      out = {h, raw.subspan(sizeof(RecordHeader), payload_bytes(h)), raw, 0, s.ring->position()};
      s.error = {};
      ++s.end.ring_records;
      return hand_out();
    }
    if (found == RingCursor::Find::kBad) return s.fail(s.ring->error());
    const bool behind = found == RingCursor::Find::kMissing || s.ring->promised_seq() > s.next_seq;
    if (!behind) {
      if (in_ring && s.ring->ring().replaced() && !missing) {  // a later run: its records begin on disk
        missing = true;
        continue;
      }
      s.error = disk_error;
      return s.at_end(disk);
    }
    if (!missing) {
      missing = true;  // what the ring released was on disk before: look again
      continue;
    }
    if (disk == State::Disk::kBad) return s.fail(disk_error);
    return s.fail(s.fault(Fault::kRingMismatch, s.have_segment ? s.cursor.path() : s.dir,
                          s.have_segment ? s.cursor.offset() : 0,
                          "seq " + std::to_string(s.next_seq) + ", which the ring handed to the disk", "no such record"));
  }
}

bool summarize(const std::string& dir, const ReaderOptions& options, JournalSummary& out, JournalError& error) {
  out = {};
  std::unique_ptr<Reader> reader = Reader::open(dir, options, error);
  if (reader == nullptr) return false;
  RecordView view;
  ReadResult result;
  while ((result = reader->next(view)) == ReadResult::kRecord) {
    const RecordHeader& h = view.header;
    if (out.records++ == 0) {
      out.first_seq = h.seq;
      out.first_ts_ns = h.ts_ns;
      out.first_generation = h.generation;
    }
    if (out.records == 1 || h.generation != out.last_generation) ++out.generations;
    out.last_generation = h.generation;
    out.last_seq = h.seq;
    out.last_ts_ns = h.ts_ns;
    out.payload_bytes += view.payload.size();
    ++out.count_by_type[h.type & 255];
  }
  out.segments = reader->end().last_segment;
  out.ring_records = reader->end().ring_records;
  out.torn_bytes = reader->end().torn_bytes;
  error = reader->error();
  return result != ReadResult::kCorrupt;
}

}  // namespace peregrine::journal
