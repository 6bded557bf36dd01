// Small file helpers shared by the journal's cold paths: locks, folders, whole small files.
#pragma once

#include <string>
#include <vector>

#include "journal/error.h"

namespace peregrine::journal {

// A lock on an open file that the kernel drops when its holder dies (open file description lock).
bool try_lock_fd(int fd);
bool is_locked_by_other(int fd);
u64 process_start_time(u32 pid);  // /proc/<pid>/stat field 22, 0 = no such process

bool make_directories(const std::string& path, JournalError& error);
std::string absolute_path(const std::string& path);
std::string base_name(const std::string& path);

// Whole file, at most max_bytes; false with errno in `code`.
bool read_small_file(const std::string& path, u64 max_bytes, std::vector<u8>& out, int& code);

// <dir>/journal.lock: one process writes a journal. Released on destruction.
class DirectoryLock {
 public:
  DirectoryLock() = default;
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  bool take(const std::string& dir, JournalError& error);
  void release();

 private:
  int fd_ = -1;
};
bool directory_is_locked(const std::string& dir);

}  // namespace peregrine::journal
