// /proc/<pid>/stat (proc_pid_stat(5)).
#include "core/process.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace peregrine {

namespace {

struct Stat {
  bool there = false;
  bool readable = false;
  char state = '?';
  u64 start_ticks = 0;
};

Stat read_stat(i32 pid) {
  Stat s;
  char path[64];
  std::snprintf(path, sizeof(path), "/proc/%d/stat", pid);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    // Without /proc a signal 0 still tells whether the pid is taken.
    s.there = ::kill(pid, 0) == 0 || errno == EPERM;
    return s;
  }
  char text[1024];
  const ssize_t n = ::read(fd, text, sizeof(text) - 1);
  ::close(fd);
  if (n <= 0) return s;  // it went away between open and read
  text[n] = '\0';
  // Field 2 is the command in parentheses and may hold anything, parentheses too: count from the last one.
  const char* p = std::strrchr(text, ')');
  if (p == nullptr || p[1] != ' ') return s;
  s.there = s.readable = true;
  s.state = p[2];
  p += 2;
  for (int field = 3; field < 22 && p != nullptr; ++field) {
    p = std::strchr(p, ' ');
    if (p != nullptr) ++p;
  }
  if (p != nullptr) s.start_ticks = std::strtoull(p, nullptr, 10);
  return s;
}

}  // namespace

const char* liveness_name(Liveness l) {
  switch (l) {
    case Liveness::kAlive: return "alive";
    case Liveness::kDead: return "dead";
    case Liveness::kReused: return "reused";
    case Liveness::kUnknown: return "unknown";
  }
  return "unknown";
}

u64 process_start_ticks(i32 pid) { return pid > 0 ? read_stat(pid).start_ticks : 0; }

ProcessId this_process() {
  const i32 pid = static_cast<i32>(::getpid());
  return {pid, process_start_ticks(pid)};
}

Liveness liveness(const ProcessId& id) {
  if (id.pid <= 0) return Liveness::kDead;
  const Stat s = read_stat(id.pid);
  if (!s.there) return Liveness::kDead;
  if (!s.readable || id.start_ticks == 0) return Liveness::kUnknown;
  if (s.start_ticks != id.start_ticks) return Liveness::kReused;
  return s.state == 'Z' || s.state == 'X' ? Liveness::kDead : Liveness::kAlive;
}

}  // namespace peregrine
