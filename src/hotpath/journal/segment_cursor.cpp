#include "journal/segment_cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "journal/files.h"

namespace peregrine::journal {
namespace {

constexpr u64 kReadBytes = 1u << 20;

std::string hex(const u8* p, std::size_t n) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string s;
  for (std::size_t i = 0; i < n; ++i) {
    s += kDigits[p[i] >> 4];
    s += kDigits[p[i] & 15];
  }
  return s;
}

}  // namespace

SegmentCursor::~SegmentCursor() { close(); }

void SegmentCursor::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

ssize_t SegmentCursor::read_at(u64 offset, u8* to, u64 bytes) {
  u64 done = 0;
  while (done < bytes) {
    const ssize_t n = ::pread(fd_, to + done, bytes - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      error_ = system_error(errno, path_, "reading the segment");
      return -1;
    }
    if (n == 0) break;
    done += static_cast<u64>(n);
  }
  return static_cast<ssize_t>(done);
}

SegmentCursor::Open SegmentCursor::open(const std::string& dir, u32 number) {
  close();
  error_ = {};
  path_ = segment_path(dir, number);
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) {
    error_ = system_error(errno, path_, "opening the segment");
    return Open::kBad;
  }
  offset_ = records_ = buffered_ = 0;
  std::memset(&segment_, 0, sizeof segment_);
  const ssize_t n = read_at(0, reinterpret_cast<u8*>(&segment_), sizeof segment_);
  if (n < 0) return Open::kBad;
  static constexpr SegmentHeader kZero{};
  const bool zero_header = std::memcmp(&segment_, &kZero, sizeof kZero) == 0;
  if ((static_cast<u64>(n) < sizeof segment_ || zero_header) && nonzero_bytes_after(sizeof segment_) == 0) {
    error_.fault = Fault::kBadSegmentHeader;
    error_.file = path_;
    error_.expected = "a segment header of 128 bytes";
    error_.found = zero_header ? "zeros" : std::to_string(n) + " bytes";
    return Open::kBlank;
  }
  if (!check_segment_header(segment_, number, path_, error_)) return Open::kBad;
  offset_ = sizeof segment_;
  expected_seq_ = segment_.first_seq;
  generation_ = segment_.generation;
  last_ts_ns_ = 0;
  hash_.reset();
  if (hashing_) hash_.update(&segment_, sizeof segment_);
  return Open::kGood;
}

bool SegmentCursor::fill(u64 bytes) {
  if (offset_ >= buffer_offset_ && offset_ + bytes <= buffer_offset_ + buffered_) return true;
  const u64 there = file_bytes();
  const u64 want = std::max(bytes, std::min(kReadBytes, there > offset_ ? there - offset_ : 0));  // a small file, a small buffer
  if (buffer_.size() < want) buffer_.resize(want);
  buffer_offset_ = offset_;
  const ssize_t n = read_at(offset_, buffer_.data(), want);
  buffered_ = n < 0 ? 0 : static_cast<u64>(n);
  return n >= 0;
}

SegmentCursor::Step SegmentCursor::bad(Fault fault, std::string expected, std::string found) {
  error_ = {};
  error_.fault = fault;
  error_.file = path_;
  error_.offset = offset_;
  error_.expected = std::move(expected);
  error_.found = std::move(found);
  return Step::kBad;
}

SegmentCursor::Step SegmentCursor::step() {
  for (;;) {
    if (!fill(sizeof(RecordHeader))) return Step::kBad;
    u64 available = buffer_offset_ + buffered_ - offset_;
    const u8* p = buffer_.data() + (offset_ - buffer_offset_);
    if (available < sizeof(RecordHeader)) {
      for (u64 i = 0; i < available; ++i) {
        if (p[i] != 0) return bad(Fault::kTorn, "a record header of 32 bytes", std::to_string(available) + " bytes");
      }
      return Step::kEnd;
    }
    std::memcpy(&record_, p, sizeof record_);
    static constexpr RecordHeader kZero{};
    if (std::memcmp(&record_, &kZero, sizeof kZero) == 0) return Step::kEnd;
    const Fault fault = check_record_shape(record_, kMaxRecordBytes);
    if (fault != Fault::kNone && fault != Fault::kBadType) {
      return bad(fault, "a length of 32 to " + std::to_string(kMaxRecordBytes) + ", a multiple of 8, with padding in it",
                 "length " + std::to_string(record_.length) + ", padding " + std::to_string(record_.pad));
    }
    if (!fill(record_.length)) return Step::kBad;
    available = buffer_offset_ + buffered_ - offset_;
    if (available < record_.length) {
      return bad(Fault::kTorn, "a record of " + std::to_string(record_.length) + " bytes",
                 std::to_string(available) + " bytes to the end of the file");
    }
    p = buffer_.data() + (offset_ - buffer_offset_);
    const u32 crc = record_crc(p, record_.length);
    if (crc != record_.crc32c) {
      return bad(Fault::kBadCrc, "crc32c " + std::to_string(crc), std::to_string(record_.crc32c));
    }
    if (fault == Fault::kBadType) {
      return bad(fault, "a record type of format " + std::to_string(segment_.format_version), std::to_string(record_.type));
    }
    raw_ = Bytes(p, record_.length);
    raw_offset_ = offset_;
    const RecordType type = static_cast<RecordType>(record_.type);
    if (record_.generation < generation_) {
      return bad(Fault::kBadGeneration, "generation " + std::to_string(generation_) + " or later",
                 std::to_string(record_.generation));
    }
    if (type == RecordType::kTrailer) return take_trailer();
    const u64 expected = type == RecordType::kPadding ? 0 : expected_seq_;
    if (record_.seq != expected) return bad(Fault::kBadSeq, "seq " + std::to_string(expected), std::to_string(record_.seq));
    generation_ = record_.generation;
    if (hashing_) hash_.update(p, record_.length);
    offset_ += record_.length;
    if (type == RecordType::kPadding) continue;
    last_ts_ns_ = record_.ts_ns;
    ++records_;
    ++expected_seq_;
    return Step::kRecord;
  }
}

SegmentCursor::Step SegmentCursor::take_trailer() {
  if (record_.seq != 0 || payload_bytes(record_) != sizeof trailer_) {
    return bad(Fault::kBadTrailer, "a trailer with 56 bytes and seq 0",
               std::to_string(payload_bytes(record_)) + " bytes, seq " + std::to_string(record_.seq));
  }
  std::memcpy(&trailer_, payload().data(), sizeof trailer_);
  const auto counts = [](u64 records, u64 first, u64 last) {
    return std::to_string(records) + " records, seq " + std::to_string(first) + " to " + std::to_string(last);
  };
  if (trailer_.records != records_ || trailer_.first_seq != segment_.first_seq || trailer_.last_seq != expected_seq_ - 1) {
    return bad(Fault::kBadTrailer, counts(records_, segment_.first_seq, expected_seq_ - 1),
               counts(trailer_.records, trailer_.first_seq, trailer_.last_seq));
  }
  if (hashing_) {
    u8 digest[32];
    Sha256 copy = hash_;
    copy.finish(digest);
    if (std::memcmp(digest, trailer_.sha256, 32) != 0) {
      return bad(Fault::kBadChain, "sha256 " + hex(digest, 32), hex(trailer_.sha256, 32));
    }
  }
  const u64 extra = nonzero_bytes_after(offset_ + record_.length);
  if (extra != 0) {
    return bad(Fault::kBadTrailer, "nothing after the trailer", std::to_string(extra) + " bytes");
  }
  generation_ = record_.generation;
  offset_ += record_.length;
  return Step::kTrailer;
}

u64 SegmentCursor::file_bytes() const {
  struct stat st {};
  return ::fstat(fd_, &st) == 0 ? static_cast<u64>(st.st_size) : 0;
}

u64 SegmentCursor::nonzero_bytes_after(u64 from) {
  std::vector<u8> chunk(kReadBytes);
  u64 at = from, end = from;
  for (;;) {
    const ssize_t n = read_at(at, chunk.data(), chunk.size());
    if (n <= 0) break;
    for (u64 i = static_cast<u64>(n); i > 0; --i) {
      if (chunk[i - 1] == 0) continue;
      end = at + i;
      break;
    }
    at += static_cast<u64>(n);
  }
  return end - from;
}

u64 SegmentCursor::valid_record_after(u64 from, u64 min_seq) {
  std::vector<u8> rest;
  const u64 size = file_bytes();
  if (size <= from) return 0;
  const u64 span = nonzero_bytes_after(from);
  rest.resize(std::min(size - from, span + kMaxRecordBytes));
  const ssize_t n = read_at(from, rest.data(), rest.size());
  for (u64 at = 0; n > 0 && at < span && at + sizeof(RecordHeader) <= static_cast<u64>(n); at += 8) {
    RecordHeader h;
    std::memcpy(&h, rest.data() + at, sizeof h);
    if (check_record_shape(h, static_cast<u64>(n) - at) != Fault::kNone) continue;
    if (h.type != static_cast<u16>(RecordType::kTrailer) && h.seq < min_seq) continue;
    if (h.generation < generation_) continue;
    if (record_crc(rest.data() + at, h.length) == h.crc32c) return from + at;
  }
  return 0;
}

}  // namespace peregrine::journal
