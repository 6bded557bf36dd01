#include "journal/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cstdio>
#include <cstring>
#include <new>

#include "core/assert.h"
#include "core/hash.h"
#include "journal/file_ops.h"
#include "journal/files.h"

namespace peregrine::journal {
namespace {

JournalError ring_error(Fault fault, const std::string& path, std::string expected, std::string found,
                        std::string hint = {}) {
  JournalError e;
  e.fault = fault;
  e.file = path;
  e.expected = std::move(expected);
  e.found = std::move(found);
  e.hint = std::move(hint);
  return e;
}

bool check_header(const RingHeader& h, u64 file_bytes, const std::string& path, JournalError& error) {
  if (h.magic != kRingMagic) {
    error = ring_error(Fault::kRingMismatch, path, "a Peregrine journal ring", "another magic number",
                       "remove the file or use another ring name");
    return false;
  }
  if (h.version != kRingVersion) {
    error = ring_error(Fault::kUnsupportedVersion, path, "ring version " + std::to_string(kRingVersion),
                       std::to_string(h.version), "recover it with the release that wrote it");
    return false;
  }
  if (h.ring_bytes < kMinRingBytes || !std::has_single_bit(h.ring_bytes) || file_bytes < kRingHeaderBytes ||
      file_bytes - kRingHeaderBytes != h.ring_bytes) {
    error = ring_error(Fault::kRingMismatch, path, "a size that fits its header", std::to_string(file_bytes) + " bytes");
    return false;
  }
  const u64 tail = h.tail.load(std::memory_order_acquire);
  const u64 head = h.head.load(std::memory_order_acquire);
  if (tail > head || head % 8 != 0 || tail % 8 != 0 || h.directory[sizeof h.directory - 1] != 0) {
    error = ring_error(Fault::kRingMismatch, path, "tail <= head, multiples of 8",
                       std::to_string(tail) + " and " + std::to_string(head));
    return false;
  }
  return true;
}

// fallocate, or zeros written out where the file system has none: a page that is not there is SIGBUS later.
int reserve_file(int fd, u64 bytes) {
  if (::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) == 0) return 0;
  if (errno != EOPNOTSUPP) return errno;
  static const u8 zeros[65536] = {};
  for (u64 at = 0; at < bytes;) {
    const ssize_t n = ::pwrite(fd, zeros, sizeof zeros, static_cast<off_t>(at));
    if (n <= 0) return n < 0 ? errno : EIO;
    at += static_cast<u64>(n);
  }
  return 0;
}

bool write_pointer(const std::string& dir, const std::string& ring_path, JournalError& error) {
  const std::string path = dir + "/ring.path", temp = path + ".new";
  const int fd = ::open(temp.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || ::write(fd, ring_path.data(), ring_path.size()) != static_cast<ssize_t>(ring_path.size())) {
    error = system_error(fd < 0 ? errno : EIO, temp, "writing the ring's path");
    if (fd >= 0) ::close(fd);
    return false;
  }
  // On the disk before the first record is: after a power cut it tells that there was a ring.
  const bool synced = ::fsync(fd) == 0;
  ::close(fd);
  const FileOps& ops = posix_file_ops();
  if (synced && ::rename(temp.c_str(), path.c_str()) == 0 && ops.sync_directory(ops.context, dir.c_str()) == 0) return true;
  error = system_error(errno, path, "writing the ring's path");
  return false;
}

// True when nothing at `path` stands in the way of a new ring there.
bool clear_old_ring(const std::string& path, JournalError& error) {
  if (::access(path.c_str(), F_OK) != 0) return true;
  JournalError ignored;
  const std::shared_ptr<Ring> old = Ring::open(path, true, error);
  if (old == nullptr) return false;
  const RingHeader& h = old->header();
  if (!old->try_lock()) {
    error = ring_error(Fault::kInUse, path, "a ring nobody uses", "process " + std::to_string(h.pid) + " appends to it",
                       "stop that engine first, or use another ring name");
    return false;
  }
  const u64 unread = h.head.load(std::memory_order_acquire) - h.tail.load(std::memory_order_acquire);
  if (unread != 0) {
    error = ring_error(Fault::kNeedsRecovery, path, "an empty ring",
                       std::to_string(unread) + " bytes of records of the journal in " + h.directory,
                       "recover that journal first, or use another ring name");
    return false;
  }
  ::unlink(path.c_str());
  return true;
}

}  // namespace

const char* status_name(WriterStatus s) {
  switch (s) {
    case WriterStatus::kNone: return "none";
    case WriterStatus::kRunning: return "running";
    case WriterStatus::kNoSpace: return "no-space";
    case WriterStatus::kIoError: return "io-error";
    case WriterStatus::kCorrupt: return "corrupt";
    case WriterStatus::kClosed: return "closed";
  }
  return "unknown";
}

bool Ring::map(u64 ring_bytes, bool writable, JournalError& error) {
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  const u64 once = kRingHeaderBytes + ring_bytes;
  u8* base = static_cast<u8*>(
      ::mmap(nullptr, once + ring_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (base == MAP_FAILED) {
    error = system_error(errno, path_, "reserving address space for the ring");
    return false;
  }
  const int flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
  if (::mmap(base, once, protection, flags, fd_, 0) == MAP_FAILED ||
      ::mmap(base + once, ring_bytes, protection, flags, fd_, kRingHeaderBytes) == MAP_FAILED) {
    error = system_error(errno, path_, "mapping the ring");
    ::munmap(base, once + ring_bytes);
    return false;
  }
  header_ = reinterpret_cast<RingHeader*>(base);
  data_ = base + kRingHeaderBytes;
  mask_ = ring_bytes - 1;
  struct stat st {};
  inode_ = ::fstat(fd_, &st) == 0 ? st.st_ino : 0;
  return true;
}

std::shared_ptr<Ring> Ring::create(const RingOptions& options, JournalError& error) {
  error = {};
  if (options.name.empty() || options.name.find('/') != std::string::npos || options.next_seq == 0 ||
      options.generation == 0 || options.ring_bytes > (u64{1} << 36)) {
    error = ring_error(Fault::kBadArgument, options.name, "a plain name, next_seq >= 1, generation >= 1, at most 64 GiB",
                       "ring options that are not");
    return nullptr;
  }
  if (!make_directories(options.journal_dir, error)) return nullptr;
  const std::string dir = absolute_path(options.journal_dir);
  const u64 ring_bytes = std::bit_ceil(options.ring_bytes < kMinRingBytes ? kMinRingBytes : options.ring_bytes);

  std::shared_ptr<Ring> ring(new Ring);
  std::string where = options.ring_dir;
  struct stat st {};
  if (::stat(where.c_str(), &st) != 0 || !S_ISDIR(st.st_mode) || ::access(where.c_str(), W_OK) != 0) {
    ring->notes_.push_back(where + " cannot be used: the ring is in the journal directory, where an append may wait "
                                   "for the disk");
    where = dir;
  }
  ring->path_ = where + "/" + options.name + ".pgr";
  ring->directory_ = dir;
  if (dir.size() >= sizeof RingHeader::directory) {
    error = ring_error(Fault::kBadArgument, dir, "a directory path under 768 bytes", std::to_string(dir.size()));
    return nullptr;
  }
  if (!clear_old_ring(ring->path_, error)) return nullptr;

  const std::string temp = ring->path_ + ".new";
  ring->fd_ = ::open(temp.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (ring->fd_ < 0) {
    error = system_error(errno, temp, "creating the ring");
    return nullptr;
  }
  if (!try_lock_fd(ring->fd_)) {
    error = ring_error(Fault::kInUse, temp, "a ring name nobody uses", "another process is creating it");
    return nullptr;
  }
  const u64 total = kRingHeaderBytes + ring_bytes;
  int code = ::ftruncate(ring->fd_, 0) == 0 ? reserve_file(ring->fd_, total) : errno;
  if (code != 0) {
    error = system_error(code, temp, "allocating " + std::to_string(total) + " bytes for the ring",
                         code == ENOSPC ? "a smaller journal ring, or more shared memory (docker: --shm-size)" : "");
    ::unlink(temp.c_str());
    return nullptr;
  }
  if (!ring->map(ring_bytes, true, error)) {
    ::unlink(temp.c_str());
    return nullptr;
  }
  if (::mlock(ring->header_, total) != 0) {
    ring->notes_.push_back(std::string("the ring is not locked in memory (") + strerrordesc_np(errno) + ")");
  }
  RingHeader* h = new (ring->header_) RingHeader{};
  h->magic = kRingMagic;
  h->version = kRingVersion;
  h->ring_bytes = ring_bytes;
  h->generation = options.generation;
  h->pid = static_cast<u32>(::getpid());
  h->start_time = process_start_time(h->pid);
  h->journal_id = options.journal_id != 0 ? options.journal_id : journal_id_for(dir);
  h->first_seq = options.next_seq;
  h->next_seq.store(options.next_seq, std::memory_order_relaxed);
  std::memcpy(h->directory, dir.data(), dir.size());
  if (::rename(temp.c_str(), ring->path_.c_str()) != 0) {
    error = system_error(errno, ring->path_, "naming the ring");
    ::unlink(temp.c_str());
    return nullptr;
  }
  if (!write_pointer(dir, ring->path_, error)) {
    ::unlink(ring->path_.c_str());
    return nullptr;
  }
  return ring;
}

std::shared_ptr<Ring> Ring::open(const std::string& path, bool writable, JournalError& error) {
  error = {};
  std::shared_ptr<Ring> ring(new Ring);
  ring->path_ = path;
  ring->fd_ = ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  struct stat st {};
  if (ring->fd_ < 0 || ::fstat(ring->fd_, &st) != 0) {
    error = system_error(errno, path, "opening the ring");
    return nullptr;
  }
  const u64 file_bytes = static_cast<u64>(st.st_size);
  if (!S_ISREG(st.st_mode) || file_bytes < kRingHeaderBytes + kMinRingBytes ||
      !std::has_single_bit(file_bytes - kRingHeaderBytes)) {
    error = ring_error(Fault::kRingMismatch, path, "a Peregrine journal ring", std::to_string(file_bytes) + " bytes",
                       "remove the file or use another ring name");
    return nullptr;
  }
  if (!ring->map(file_bytes - kRingHeaderBytes, writable, error)) return nullptr;
  if (!check_header(*ring->header_, file_bytes, path, error)) return nullptr;
  ring->directory_ = ring->header_->directory;
  return ring;
}

Ring::~Ring() {
  if (header_ != nullptr) ::munmap(header_, kRingHeaderBytes + 2 * bytes());
  if (fd_ >= 0) ::close(fd_);
}

bool Ring::try_lock() { return try_lock_fd(fd_); }
bool Ring::owned() const { return is_locked_by_other(fd_); }

bool Ring::replaced() const {
  struct stat st {};
  return ::stat(path_.c_str(), &st) != 0 || st.st_ino != inode_;
}

void Ring::remove() {
  if (replaced()) return;
  ::unlink(path_.c_str());
  if (ring_path_of(directory_) == path_) ::unlink((directory_ + "/ring.path").c_str());
}

std::string ring_path_of(const std::string& journal_dir) {
  std::vector<u8> text;
  int code = 0;
  if (!read_small_file(journal_dir + "/ring.path", 4096, text, code)) return {};
  return {text.begin(), text.end()};
}

u64 journal_id_for(const std::string& journal_dir) {
  const std::string dir = absolute_path(journal_dir);
  return hash_bytes(0, dir.data(), dir.size());
}

}  // namespace peregrine::journal
