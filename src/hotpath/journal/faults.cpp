#include "journal/faults.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace peregrine::journal {

struct FaultyCalls {
  static FaultyDisk& disk(void* context) { return *static_cast<FaultyDisk*>(context); }

  static int open(void*, const char* path, int flags, int mode) {
    const FileOps& real = posix_file_ops();
    return real.open(real.context, path, flags, mode);
  }

  static ssize_t pwrite(void* context, int fd, const void* data, std::size_t bytes, u64 offset) {
    FaultyDisk& d = disk(context);
    DiskFaults& f = d.faults_;
    if (f.pwrites_until_eio == 0) return -EIO;
    if (f.pwrites_until_eio > 0) --f.pwrites_until_eio;
    if (f.short_write_bytes > 0) bytes = std::min<std::size_t>(bytes, f.short_write_bytes);
    if (f.space_bytes == 0) return -ENOSPC;
    if (f.space_bytes > 0) bytes = std::min<std::size_t>(bytes, static_cast<std::size_t>(f.space_bytes));
    if (d.remember_) remember(d, fd, bytes, offset);
    const FileOps& real = posix_file_ops();
    const ssize_t n = real.pwrite(real.context, fd, data, bytes, offset);
    if (n > 0 && f.space_bytes > 0) f.space_bytes -= n;
    return n;
  }

  static void remember(FaultyDisk& d, int fd, std::size_t bytes, u64 offset) {
    struct stat st {};
    if (::fstat(fd, &st) != 0) return;
    FaultyDisk::Undo u{};
    u.fd = ::dup(fd);
    u.device = st.st_dev;
    u.inode = st.st_ino;
    u.offset = offset;
    u.size_before = static_cast<u64>(st.st_size);
    u.old_bytes.resize(bytes);  // zeros where the file did not reach
    if (::pread(u.fd, u.old_bytes.data(), bytes, static_cast<off_t>(offset)) < 0) u.old_bytes.assign(bytes, 0);
    d.undo_.push_back(std::move(u));
  }

  static int fallocate(void* context, int fd, u64 offset, u64 bytes) {
    const DiskFaults& f = disk(context).faults_;
    if (f.fallocate_unsupported) return -EOPNOTSUPP;
    if (f.space_bytes >= 0 && bytes > static_cast<u64>(f.space_bytes)) return -ENOSPC;
    const FileOps& real = posix_file_ops();
    return real.fallocate(real.context, fd, offset, bytes);
  }

  static int ftruncate(void*, int fd, u64 bytes) {
    const FileOps& real = posix_file_ops();
    return real.ftruncate(real.context, fd, bytes);
  }

  static int fdatasync(void* context, int fd) {
    FaultyDisk& d = disk(context);
    DiskFaults& f = d.faults_;
    if (f.syncs_until_eio == 0) return -EIO;
    if (f.syncs_until_eio > 0) --f.syncs_until_eio;
    struct stat st {};
    if (::fstat(fd, &st) != 0) return -errno;
    std::erase_if(d.undo_, [&](const FaultyDisk::Undo& u) {
      if (u.device != st.st_dev || u.inode != st.st_ino) return false;
      ::close(u.fd);
      return true;
    });
    return 0;  // nothing survives a power cut here, so the real sync would only cost time
  }

  static int rename(void*, const char* from, const char* to) {
    const FileOps& real = posix_file_ops();
    return real.rename(real.context, from, to);
  }
  static int sync_directory(void*, const char*) { return 0; }
  static int close(void*, int fd) {
    const FileOps& real = posix_file_ops();
    return real.close(real.context, fd);
  }
};

FaultyDisk::FaultyDisk(const DiskFaults& faults, bool remember_unsynced)
    : faults_(faults), remember_(remember_unsynced) {
  ops_ = {this,
          FaultyCalls::open,
          FaultyCalls::pwrite,
          FaultyCalls::fallocate,
          FaultyCalls::ftruncate,
          FaultyCalls::fdatasync,
          FaultyCalls::rename,
          FaultyCalls::sync_directory,
          FaultyCalls::close};
}

FaultyDisk::~FaultyDisk() {
  for (const Undo& u : undo_) ::close(u.fd);
}

void FaultyDisk::set(const DiskFaults& faults) { faults_ = faults; }

u64 FaultyDisk::unsynced_bytes() const {
  u64 n = 0;
  for (const Undo& u : undo_) n += u.old_bytes.size();
  return n;
}

u64 FaultyDisk::lose_unsynced(u64 seed, bool keep_none) {
  constexpr u64 kSector = 512;
  Rng rng(seed);
  u64 lost = 0;
  // Newest first, so that bytes written twice go back to what they were before both.
  for (auto u = undo_.rbegin(); u != undo_.rend(); ++u) {
    for (u64 at = 0; at < u->old_bytes.size();) {
      const u64 end = std::min<u64>(u->old_bytes.size(), ((u->offset + at) / kSector + 1) * kSector - u->offset);
      if (keep_none || rng.chance32(1u << 31)) {
        if (::pwrite(u->fd, u->old_bytes.data() + at, end - at, static_cast<off_t>(u->offset + at)) >= 0) ++lost;
      }
      at = end;
    }
    ::close(u->fd);
  }
  undo_.clear();
  return lost;
}

}  // namespace peregrine::journal
