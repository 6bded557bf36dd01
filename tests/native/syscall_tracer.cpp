// Counts the system calls of one thread of a child process, by the kernel's own word (ptrace). A shared object for
// tools/loop_audit.py: the caller must be the parent.
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/ptrace.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

namespace {

double now_s() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// ptrace's request is an enum in C++, and <sys/ptrace.h> lacks the newer ones.
long trace(int request, pid_t tid, void* address = nullptr, void* data = nullptr) {
  return ::ptrace(static_cast<__ptrace_request>(request), tid, address, data);
}

}  // namespace

// Watches for `seconds`; counts[n] is raised for each entry into system call n. 0, or -errno.
extern "C" __attribute__((visibility("default"))) int trace_system_calls(int tid, double seconds, uint64_t* counts, uint64_t size) {
  void* const options = reinterpret_cast<void*>(PTRACE_O_TRACESYSGOOD);
  if (trace(PTRACE_SEIZE, tid, nullptr, options) != 0) return -errno;
  if (trace(PTRACE_INTERRUPT, tid) != 0) return -errno;
  const double end = now_s() + seconds;
  bool leaving = false;
  while (true) {
    int status = 0;
    const pid_t got = ::waitpid(tid, &status, __WALL | WNOHANG);
    if (got < 0) return -errno;
    if (got == 0) {
      if (!leaving && now_s() > end) {
        leaving = true;
        trace(PTRACE_INTERRUPT, tid);
      }
      continue;
    }
    if (!WIFSTOPPED(status)) return -ESRCH;
    const int signal = WSTOPSIG(status);
    const int event = status >> 16;
    long deliver = 0;
    if (signal == (SIGTRAP | 0x80)) {
      __ptrace_syscall_info info{};
      if (trace(PTRACE_GET_SYSCALL_INFO, tid, reinterpret_cast<void*>(sizeof info), &info) > 0 &&
          info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr < size) {
        ++counts[info.entry.nr];
      }
    } else if (event == 0) {
      deliver = signal;
    }
    if (leaving || now_s() > end) return trace(PTRACE_DETACH, tid, nullptr, reinterpret_cast<void*>(deliver)) == 0 ? 0 : -errno;
    trace(PTRACE_SYSCALL, tid, nullptr, reinterpret_cast<void*>(deliver));
  }
}
