#include "journal/file_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

namespace peregrine::journal {
namespace {

int result(int rc) { return rc < 0 ? -errno : rc; }

int sys_open(void*, const char* path, int flags, int mode) { return result(::open(path, flags | O_CLOEXEC, mode)); }

ssize_t sys_pwrite(void*, int fd, const void* data, std::size_t bytes, u64 offset) {
  const ssize_t n = ::pwrite(fd, data, bytes, static_cast<off_t>(offset));
  return n < 0 ? -errno : n;
}

int sys_fallocate(void*, int fd, u64 offset, u64 bytes) {
  return result(::fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)));
}

int sys_ftruncate(void*, int fd, u64 bytes) { return result(::ftruncate(fd, static_cast<off_t>(bytes))); }
int sys_fdatasync(void*, int fd) { return result(::fdatasync(fd)); }
int sys_rename(void*, const char* from, const char* to) { return result(::rename(from, to)); }
int sys_close(void*, int fd) { return result(::close(fd)); }

int sys_sync_directory(void*, const char* path) {
  const int fd = ::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -errno;
  const int rc = result(::fsync(fd));
  ::close(fd);
  return rc;
}

}  // namespace

const FileOps& posix_file_ops() {
  static constexpr FileOps kOps = {nullptr,       sys_open,   sys_pwrite,         sys_fallocate, sys_ftruncate,
                                   sys_fdatasync, sys_rename, sys_sync_directory, sys_close};
  return kOps;
}

}  // namespace peregrine::journal
