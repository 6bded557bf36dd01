#include "journal/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace peregrine::journal {
namespace {

struct flock whole_file() {
  struct flock f {};
  f.l_type = F_WRLCK;
  f.l_whence = SEEK_SET;
  return f;
}

}  // namespace

bool try_lock_fd(int fd) {
  struct flock f = whole_file();
  return ::fcntl(fd, F_OFD_SETLK, &f) == 0;
}

bool is_locked_by_other(int fd) {
  struct flock f = whole_file();
  return ::fcntl(fd, F_OFD_GETLK, &f) == 0 && f.l_type != F_UNLCK;
}

u64 process_start_time(u32 pid) {
  std::vector<u8> stat;
  int code = 0;
  if (!read_small_file("/proc/" + std::to_string(pid) + "/stat", 4096, stat, code)) return 0;
  std::string s(stat.begin(), stat.end());
  std::size_t at = s.rfind(')');  // the command's name may hold spaces and brackets
  if (at == std::string::npos) return 0;
  ++at;
  for (int field = 2; field < 21 && at != std::string::npos; ++field) at = s.find(' ', at + 1);
  return at == std::string::npos ? 0 : std::strtoull(s.c_str() + at + 1, nullptr, 10);
}

bool make_directories(const std::string& path, JournalError& error) {
  for (std::size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) {
      error = system_error(errno, part, "creating the directory");
      return false;
    }
  }
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) return true;
  error = system_error(ENOTDIR, path, "creating the directory");
  return false;
}

std::string absolute_path(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return path;
  std::string out(real);
  ::free(real);
  return out;
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool read_small_file(const std::string& path, u64 max_bytes, std::vector<u8>& out, int& code) {
  out.clear();
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    code = errno;
    return false;
  }
  for (;;) {
    const std::size_t have = out.size();
    const std::size_t want = have < max_bytes ? (max_bytes - have < 65536 ? max_bytes - have : 65536) : 0;
    if (want == 0) break;
    out.resize(have + want);
    const ssize_t n = ::read(fd, out.data() + have, want);
    out.resize(have + (n > 0 ? static_cast<std::size_t>(n) : 0));
    if (n > 0) continue;
    code = n < 0 ? errno : 0;
    break;
  }
  ::close(fd);
  return code == 0;
}

DirectoryLock::~DirectoryLock() { release(); }

void DirectoryLock::release() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool DirectoryLock::take(const std::string& dir, JournalError& error) {
  release();
  const std::string path = dir + "/journal.lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) {
    error = system_error(errno, path, "opening the lock file");
    return false;
  }
  if (try_lock_fd(fd_)) return true;
  release();
  error = {};
  error.fault = Fault::kInUse;
  error.file = dir;
  error.expected = "a journal nobody writes";
  error.found = "another process writes it";
  error.hint = "stop that engine first, or give this one another journal directory";
  return false;
}

bool directory_is_locked(const std::string& dir) {
  const int fd = ::open((dir + "/journal.lock").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool locked = is_locked_by_other(fd);
  ::close(fd);
  return locked;
}

}  // namespace peregrine::journal
