// Walks one segment file, checking each record; knows nothing of rings, writers or what may be cut.
#pragma once

#include <string>
#include <vector>

#include "core/sha256.h"
#include "journal/segment.h"

namespace peregrine::journal {

class SegmentCursor {
 public:
  enum class Open : u8 { kGood, kBlank, kBad };  // kBlank: no header yet, and nothing after it
  enum class Step : u8 {
    kRecord,   // numbered record in header()/raw()
    kTrailer,  // the segment is closed and this is its end
    kEnd,      // zeros or the end of the file: nothing written here (yet)
    kBad,      // error() says what is wrong with the bytes at offset()
  };

  // `hashing`: keep the SHA-256 of what is passed and check it against a trailer.
  explicit SegmentCursor(bool hashing = true) : hashing_(hashing) {}
  ~SegmentCursor();
  SegmentCursor(const SegmentCursor&) = delete;
  SegmentCursor& operator=(const SegmentCursor&) = delete;

  Open open(const std::string& dir, u32 number);
  void close();
  bool is_open() const { return fd_ >= 0; }

  // Looks at the record at offset(). Advances over it only for kRecord and kTrailer.
  Step step();
  void refresh() { buffered_ = 0; }  // forget what was read: the file may have grown or changed

  const SegmentHeader& segment() const { return segment_; }
  const RecordHeader& header() const { return record_; }
  Bytes raw() const { return raw_; }
  u64 raw_offset() const { return raw_offset_; }
  Bytes payload() const { return raw_.subspan(sizeof(RecordHeader), payload_bytes(record_)); }
  const SegmentTrailer& trailer() const { return trailer_; }
  u64 offset() const { return offset_; }
  u64 records() const { return records_; }
  u64 expected_seq() const { return expected_seq_; }
  u32 generation() const { return generation_; }
  i64 last_ts_ns() const { return last_ts_ns_; }
  const Sha256& hash() const { return hash_; }
  const std::string& path() const { return path_; }
  const JournalError& error() const { return error_; }

  u64 file_bytes() const;
  // Bytes from `from` up to the last one that is not zero.
  u64 nonzero_bytes_after(u64 from);
  // Offset of a valid record of this journal at or after `from` with seq >= min_seq, or 0.
  u64 valid_record_after(u64 from, u64 min_seq);

 private:
  bool fill(u64 bytes);  // makes [offset_, offset_ + bytes) available, as far as the file goes
  Step bad(Fault fault, std::string expected, std::string found);
  Step take_trailer();
  ssize_t read_at(u64 offset, u8* to, u64 bytes);

  const bool hashing_;
  int fd_ = -1;
  std::string path_;
  SegmentHeader segment_{};
  RecordHeader record_{};
  SegmentTrailer trailer_{};
  Bytes raw_;
  u64 raw_offset_ = 0;
  u64 offset_ = 0, records_ = 0, expected_seq_ = 0;
  u32 generation_ = 0;
  i64 last_ts_ns_ = 0;
  Sha256 hash_;
  std::vector<u8> buffer_;
  u64 buffer_offset_ = 0, buffered_ = 0;
  JournalError error_;
};

}  // namespace peregrine::journal
