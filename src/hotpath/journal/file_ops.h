// The few file calls the journal makes, as a table: the product uses the system's, tests and the simulator faulty ones.
#pragma once

#include <sys/types.h>

#include <cstddef>

#include "core/types.h"

namespace peregrine::journal {

// Every call returns what the system's would, or -errno instead of -1.
struct FileOps {
  void* context;
  int (*open)(void* context, const char* path, int flags, int mode);
  ssize_t (*pwrite)(void* context, int fd, const void* data, std::size_t bytes, u64 offset);
  int (*fallocate)(void* context, int fd, u64 offset, u64 bytes);
  int (*ftruncate)(void* context, int fd, u64 bytes);
  int (*fdatasync)(void* context, int fd);
  int (*rename)(void* context, const char* from, const char* to);
  int (*sync_directory)(void* context, const char* path);
  int (*close)(void* context, int fd);
};

const FileOps& posix_file_ops();

}  // namespace peregrine::journal
