// A folder in memory for targets whose parser reads files; one a process, emptied before each input.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "fuzz.h"

namespace peregrine::fuzz {

inline void empty_folder(const std::string& dir) {
  DIR* d = ::opendir(dir.c_str());
  if (d == nullptr) return;
  while (const dirent* entry = ::readdir(d)) {
    if (entry->d_name[0] != '.') ::unlink((dir + "/" + entry->d_name).c_str());
  }
  ::closedir(d);
}

// Under $PEREGRINE_FUZZ_TMP, else /dev/shm, else the system's folder; removed when the process ends by itself.
inline const std::string& scratch() {
  static const std::string dir = [] {
    const char* named = std::getenv("PEREGRINE_FUZZ_TMP");
    struct stat st {};
    std::string base = named != nullptr ? named : ::stat("/dev/shm", &st) == 0 ? "/dev/shm" : P_tmpdir;
    base += "/prg-fuzz-XXXXXX";
    FUZZ_CHECK(::mkdtemp(base.data()) != nullptr);
    return base;
  }();
  static const bool registered = std::atexit([] {
                                   empty_folder(scratch());
                                   ::rmdir(scratch().c_str());
                                 }) == 0;
  (void)registered;
  return dir;
}

inline void spill(const std::string& path, Bytes b) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  FUZZ_CHECK(fd >= 0);
  FUZZ_CHECK(::write(fd, b.data(), b.size()) == static_cast<ssize_t>(b.size()));
  ::close(fd);
}

inline std::vector<u8> slurp(const std::string& path) {
  std::vector<u8> out;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return out;
  struct stat st {};
  ::fstat(fd, &st);
  out.resize(static_cast<std::size_t>(st.st_size));
  FUZZ_CHECK(::read(fd, out.data(), out.size()) == st.st_size);
  ::close(fd);
  return out;
}

}  // namespace peregrine::fuzz
