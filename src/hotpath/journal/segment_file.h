// One segment file being written: bytes in, hash kept, closed with a trailer. Used by the writer and by recovery.
#pragma once

#include <string>

#include "core/sha256.h"
#include "journal/error.h"
#include "journal/file_ops.h"
#include "journal/segment.h"

namespace peregrine::journal {

// What is needed to go on writing a segment.
struct SegmentTail {
  SegmentHeader header{};
  bool closed = false;
  u64 records = 0;
  u64 last_seq = 0;    // header.first_seq - 1 when empty
  u64 end_offset = 0;  // one past the last whole record (trailer excluded)
  bool clean = false;  // nothing but zeros after end_offset (or after the trailer)
  i64 last_ts_ns = 0;
  u8 sha256[32] = {};  // closed: the trailer's
  Sha256 hash;         // open: state after end_offset
};
// Stops at the first thing that is not a valid record: whether that may be cut is the reader's question.
bool scan_segment(const std::string& dir, u32 number, SegmentTail& out, JournalError& error);

class SegmentFile {
 public:
  explicit SegmentFile(const FileOps& ops) : ops_(&ops) {}
  ~SegmentFile();
  SegmentFile(const SegmentFile&) = delete;
  SegmentFile& operator=(const SegmentFile&) = delete;

  // Starts segment `number`; takes over the file allocated ahead when there is one. All return 0 or -errno.
  int create(const std::string& dir, const SegmentHeader& header, u64 allocate_bytes);
  // Goes on with an open segment after its last whole record.
  int resume(const std::string& dir, const SegmentTail& tail);
  // Allocates the file of the segment after this one; not an error worth stopping for.
  int allocate_next(u64 bytes);
  int allocate(u64 bytes);  // this segment's file, up to `bytes`
  // Whole records at `p`, `records` of them, the last numbered last_seq. On failure nothing counts as written and
  // the same call may be made again.
  int write(const u8* p, u64 bytes, u64 records, u64 last_seq, i64 last_ts_ns);
  int rewrite(const u8* p, u64 bytes);  // the last `bytes` bytes once more, after a failed sync
  int cut();  // drops what follows the last whole record from the file
  int sync();
  int close_with_trailer(u32 generation, bool sync_it, u8 sha256_out[32]);
  void abandon();  // closes the descriptor only

  bool is_open() const { return fd_ >= 0; }
  u64 offset() const { return offset_; }
  u64 records() const { return records_; }
  u32 number() const { return header_.number; }
  u64 first_seq() const { return header_.first_seq; }
  u64 last_seq() const { return last_seq_; }
  const SegmentHeader& header() const { return header_; }
  const std::string& path() const { return path_; }

 private:
  int write_all(const u8* p, u64 bytes, u64 offset);
  const FileOps* ops_;
  int fd_ = -1;
  std::string dir_, path_;
  SegmentHeader header_{};
  u32 next_ready_ = 0;  // number of the segment allocated ahead
  u64 offset_ = 0, records_ = 0, last_seq_ = 0;
  i64 last_ts_ns_ = 0;
  Sha256 hash_;
};

}  // namespace peregrine::journal
