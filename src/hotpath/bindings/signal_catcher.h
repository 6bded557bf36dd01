// SIGINT, SIGTERM and SIGUSR1 while a run is on.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>

#include "core/types.h"

namespace peregrine::bindings {

// Real handlers, not a signalfd: a library's helper thread (of numpy's linear algebra, say) may have been started with
// nothing blocked, and takes a signal from under a signalfd. A handler does the same wherever it runs: it writes the
// number into a pipe.
class SignalCatcher {
 public:
  SignalCatcher() {
    if (::pipe2(pipe_, O_CLOEXEC | O_NONBLOCK) != 0) {
      throw pybind11::value_error("no pipe for signals: too many open files?");
    }
    writer_ = pipe_[1];
    struct sigaction act{};
    act.sa_handler = [](int number) {
      const int saved = errno;
      const u8 byte = static_cast<u8>(number);
      [[maybe_unused]] const ssize_t n = ::write(writer_, &byte, 1);
      errno = saved;
    };
    act.sa_flags = SA_RESTART;
    for (std::size_t i = 0; i < 3; ++i) ::sigaction(kSignals[i], &act, &before_[i]);
  }
  ~SignalCatcher() {
    for (std::size_t i = 0; i < 3; ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }
  SignalCatcher(const SignalCatcher&) = delete;
  SignalCatcher& operator=(const SignalCatcher&) = delete;

  // On the thread that is to take them: the engine's own threads have them blocked.
  static void unblock() {
    sigset_t set;
    sigemptyset(&set);
    for (const int s : kSignals) sigaddset(&set, s);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  }
  // The next signal's number, 0 when none came within `timeout_ms`.
  int wait(int timeout_ms) const {
    pollfd p{pipe_[0], POLLIN, 0};
    u8 number = 0;
    if (::poll(&p, 1, timeout_ms) <= 0 || ::read(pipe_[0], &number, 1) != 1) return 0;
    return number;
  }

 private:
  static constexpr int kSignals[3] = {SIGINT, SIGTERM, SIGUSR1};
  static inline std::atomic<int> writer_{-1};
  int pipe_[2] = {-1, -1};
  struct sigaction before_[3] {};
};

}  // namespace peregrine::bindings
