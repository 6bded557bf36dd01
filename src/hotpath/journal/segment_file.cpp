#include "journal/segment_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>

#include "core/assert.h"
#include "journal/segment_cursor.h"

namespace peregrine::journal {

bool scan_segment(const std::string& dir, u32 number, SegmentTail& out, JournalError& error) {
  out = {};
  SegmentCursor cursor;
  if (cursor.open(dir, number) != SegmentCursor::Open::kGood) {
    error = cursor.error();
    return false;
  }
  SegmentCursor::Step step;
  do step = cursor.step();
  while (step == SegmentCursor::Step::kRecord);
  if (step == SegmentCursor::Step::kBad && cursor.error().fault == Fault::kSystem) {
    error = cursor.error();
    return false;
  }
  out.header = cursor.segment();
  out.closed = step == SegmentCursor::Step::kTrailer;
  out.records = cursor.records();
  out.last_seq = cursor.expected_seq() - 1;
  out.end_offset = cursor.offset() - (out.closed ? kTrailerRecordBytes : 0);
  out.clean = cursor.nonzero_bytes_after(cursor.offset()) == 0;
  out.last_ts_ns = cursor.last_ts_ns();
  std::memcpy(out.sha256, cursor.trailer().sha256, 32);
  out.hash = cursor.hash();
  return true;
}

SegmentFile::~SegmentFile() { abandon(); }

void SegmentFile::abandon() {
  if (fd_ >= 0) ops_->close(ops_->context, fd_);
  fd_ = -1;
}

int SegmentFile::write_all(const u8* p, u64 bytes, u64 offset) {
  while (bytes > 0) {
    const ssize_t n = ops_->pwrite(ops_->context, fd_, p, bytes, offset);
    if (n == -EINTR) continue;
    if (n < 0) return static_cast<int>(n);
    if (n == 0) return -EIO;
    PRG_ASSERT(static_cast<u64>(n) <= bytes);
    p += n;
    bytes -= static_cast<u64>(n);
    offset += static_cast<u64>(n);
  }
  return 0;
}

int SegmentFile::create(const std::string& dir, const SegmentHeader& header, u64 allocate_bytes) {
  PRG_ASSERT(fd_ < 0);
  dir_ = dir;
  header_ = header;
  path_ = segment_path(dir, header.number);
  const std::string temp = path_ + ".next";
  const bool ready = next_ready_ == header.number;
  const int fd = ops_->open(ops_->context, temp.c_str(), O_RDWR | O_CREAT | (ready ? 0 : O_TRUNC), 0644);
  if (fd < 0) return fd;
  fd_ = fd;
  int rc = 0;
  if (!ready && allocate_bytes > 0) rc = ops_->fallocate(ops_->context, fd_, 0, allocate_bytes);
  if (rc == -EOPNOTSUPP) rc = 0;
  if (rc == 0) rc = write_all(reinterpret_cast<const u8*>(&header_), sizeof header_, 0);
  // Synced before it gets its name: a power cut must not leave a segment without a header.
  if (rc == 0) rc = ops_->fdatasync(ops_->context, fd_);
  if (rc == 0) rc = ops_->rename(ops_->context, temp.c_str(), path_.c_str());
  if (rc == 0) rc = ops_->sync_directory(ops_->context, dir.c_str());
  if (rc != 0) {
    abandon();
    next_ready_ = 0;
    return rc;
  }
  offset_ = sizeof header_;
  records_ = 0;
  last_seq_ = header.first_seq - 1;
  last_ts_ns_ = 0;
  hash_.reset();
  hash_.update(&header_, sizeof header_);
  return 0;
}

int SegmentFile::resume(const std::string& dir, const SegmentTail& tail) {
  PRG_ASSERT(fd_ < 0 && !tail.closed);
  dir_ = dir;
  header_ = tail.header;
  path_ = segment_path(dir, header_.number);
  const int fd = ops_->open(ops_->context, path_.c_str(), O_RDWR, 0);
  if (fd < 0) return fd;
  fd_ = fd;
  offset_ = tail.end_offset;
  records_ = tail.records;
  last_seq_ = tail.last_seq;
  last_ts_ns_ = tail.last_ts_ns;
  hash_ = tail.hash;
  return 0;
}

int SegmentFile::allocate(u64 bytes) { return ops_->fallocate(ops_->context, fd_, 0, bytes); }

int SegmentFile::allocate_next(u64 bytes) {
  const u32 number = header_.number + 1;
  if (next_ready_ == number) return 0;
  const std::string path = segment_path(dir_, number) + ".next";
  const int fd = ops_->open(ops_->context, path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) return fd;
  const int rc = ops_->fallocate(ops_->context, fd, 0, bytes);
  ops_->close(ops_->context, fd);
  if (rc == 0) next_ready_ = number;
  return rc;
}

int SegmentFile::write(const u8* p, u64 bytes, u64 records, u64 last_seq, i64 last_ts_ns) {
  PRG_ASSERT(fd_ >= 0 && last_seq == last_seq_ + records);
  const int rc = write_all(p, bytes, offset_);
  if (rc != 0) return rc;
  hash_.update(p, bytes);
  offset_ += bytes;
  records_ += records;
  last_seq_ = last_seq;
  last_ts_ns_ = last_ts_ns;
  return 0;
}

int SegmentFile::rewrite(const u8* p, u64 bytes) {
  PRG_ASSERT(fd_ >= 0 && bytes <= offset_ - sizeof header_);
  return write_all(p, bytes, offset_ - bytes);
}

int SegmentFile::cut() { return ops_->ftruncate(ops_->context, fd_, offset_); }
int SegmentFile::sync() { return ops_->fdatasync(ops_->context, fd_); }

int SegmentFile::close_with_trailer(u32 generation, bool sync_it, u8 sha256_out[32]) {
  PRG_ASSERT(fd_ >= 0);
  SegmentTrailer trailer{};
  trailer.records = records_;
  trailer.first_seq = header_.first_seq;
  trailer.last_seq = last_seq_;
  Sha256 hash = hash_;
  hash.finish(trailer.sha256);
  u8 record[kTrailerRecordBytes];
  write_record(record, RecordType::kTrailer, 0, last_ts_ns_, generation,
               Bytes(reinterpret_cast<const u8*>(&trailer), sizeof trailer));
  int rc = write_all(record, sizeof record, offset_);
  if (rc == 0) rc = ops_->ftruncate(ops_->context, fd_, offset_ + sizeof record);
  if (rc == 0 && sync_it) rc = ops_->fdatasync(ops_->context, fd_);
  if (rc != 0) return rc;
  std::memcpy(sha256_out, trailer.sha256, 32);
  abandon();
  return 0;
}

}  // namespace peregrine::journal
