#include "venue/day_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "core/crc32c.h"

namespace peregrine::venue {
namespace {

constexpr std::size_t kReadBytes = 1u << 20;

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

u32 head_checksum(const DayRecordHead& head) { return crc32c(0, &head, offsetof(DayRecordHead, head_crc)); }

}  // namespace

DayReader::DayReader(const std::string& path) : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (fd_ < 0) fail("opening " + path);
}

DayReader::~DayReader() {
  if (fd_ >= 0) ::close(fd_);
}

bool DayReader::fill() {
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(at_));
  at_ = 0;
  const std::size_t had = buffer_.size();
  buffer_.resize(had + kReadBytes);
  const ssize_t n = ::pread(fd_, buffer_.data() + had, kReadBytes, static_cast<off_t>(read_));
  buffer_.resize(had + (n > 0 ? static_cast<std::size_t>(n) : 0));
  if (n < 0) fail("reading " + path_);
  read_ += static_cast<u64>(n);
  return n > 0;
}

bool DayReader::next(DayRecord& out) {
  const auto damaged = [&](const char* what) {
    return std::runtime_error(path_ + " is damaged at byte " + std::to_string(offset_) + ": " + what);
  };
  DayRecordHead head;
  while (true) {
    const std::size_t there = buffer_.size() - at_;
    if (there >= sizeof head) {
      std::memcpy(&head, buffer_.data() + at_, sizeof head);
      if (head_checksum(head) != head.head_crc || head.zero != 0) throw damaged("a record's head is not what was written");
      if (head.bytes < sizeof head || head.bytes > kMaxDayRecordBytes) throw damaged("a record of impossible size");
      if (there >= head.bytes) break;
    }
    if (!fill()) return false;
  }
  out.payload = Bytes(buffer_.data() + at_ + sizeof head, head.bytes - sizeof head);
  if (crc32c(0, out.payload.data(), out.payload.size()) != head.payload_crc) throw damaged("a record's checksum is wrong");
  if (head.number != records_ + 1) throw damaged("a record is out of turn");
  out.kind = static_cast<DayInput>(head.kind);
  out.port = head.port;
  out.now_ns = head.now_ns;
  at_ += head.bytes;
  offset_ += head.bytes;
  ++records_;
  return true;
}

DayWriter::DayWriter(const std::string& path, u64 offset, u64 torn_bytes, u32 records)
    : path_(path),
      fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)),
      offset_(offset),
      records_(records) {
  if (fd_ < 0) fail("opening " + path);
  const auto give_up = [&](const std::string& what) {
    const int saved = errno;
    ::close(fd_);
    errno = saved;
    fail(what);
  };
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) give_up(path + " belongs to another venue that runs");
  struct stat st{};
  if (::fstat(fd_, &st) != 0) give_up("reading " + path);
  if (static_cast<u64>(st.st_size) != offset + torn_bytes) {
    ::close(fd_);
    throw std::runtime_error(path + " has changed since it was read: another venue had it");
  }
  if (torn_bytes > 0 && ::ftruncate(fd_, static_cast<off_t>(offset)) != 0) give_up("cutting " + path);
}

DayWriter::~DayWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void DayWriter::append(DayInput kind, u16 port, TimeNs now_ns, Bytes payload) {
  DayRecordHead head{static_cast<u32>(sizeof head + payload.size()), static_cast<u16>(kind), port, now_ns, records_ + 1, 0, 0, 0};
  if (head.bytes > kMaxDayRecordBytes) throw std::runtime_error("an input of the venue is too long for its day's file");
  head.payload_crc = crc32c(0, payload.data(), payload.size());
  head.head_crc = head_checksum(head);
  record_.resize(head.bytes);
  std::memcpy(record_.data(), &head, sizeof head);
  if (!payload.empty()) std::memcpy(record_.data() + sizeof head, payload.data(), payload.size());
  for (u32 done = 0; done < head.bytes;) {
    const ssize_t n = ::pwrite(fd_, record_.data() + done, head.bytes - done, static_cast<off_t>(offset_ + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("writing " + path_);
    done += static_cast<u32>(n);
  }
  offset_ += head.bytes;
  ++records_;
}

}  // namespace peregrine::venue
