// What every bench shares: options, batches measured in turn with their baseline twin, one JSON line a result.
//
// Histograms hold picoseconds an item, so that a two-nanosecond stage still has digits. A batch and the twin's batch
// take turns, so that both see the same neighbours on a shared machine.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/histogram.h"
#include "core/noise.h"
#include "core/pin.h"
#include "core/types.h"

namespace peregrine::bench {

struct Options {
  double seconds = 2.0;     // for each result, twin included
  std::string spec;         // file of numbers made from the configuration (spec.h)
  std::string dir = ".";    // scratch
  int cpu = -1;             // -1: the last one allowed
  int other_cpu = -1;       // for a second thread
};

inline Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i];
    if (key == "--seconds") o.seconds = std::atof(argv[i + 1]);
    if (key == "--spec") o.spec = argv[i + 1];
    if (key == "--dir") o.dir = argv[i + 1];
    if (key == "--cpu") o.cpu = std::atoi(argv[i + 1]);
    if (key == "--other-cpu") o.other_cpu = std::atoi(argv[i + 1]);
  }
  return o;
}

[[noreturn]] inline void fail(const std::string& why) {
  std::fprintf(stderr, "bench: %s\n", why.c_str());
  std::exit(70);
}

// Keeps a value alive without a store.
template <class T>
inline void keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

// A distribution and what it took altogether.
struct Figure {
  std::unique_ptr<Histogram> ps = std::make_unique<Histogram>();
  u64 items = 0;
  u64 total_ps = 0;

  void record(u64 duration_ps, u64 n) {
    ps->record(static_cast<i64>(duration_ps / n));
    items += n;
    total_ps += duration_ps;
  }
  void merge(const Figure& other) {
    ps->merge(*other.ps);
    items += other.items;
    total_ps += other.total_ps;
  }
  double per_second() const { return total_ps == 0 ? 0 : static_cast<double>(items) * 1e12 / static_cast<double>(total_ps); }
};

// What else was measured beside a row: every twin's figures, and those that could not be, with the reason.
class Twins {
 public:
  void add(const std::string& name, const Figure& f) {
    char text[256];
    std::snprintf(text, sizeof text, "{\"name\": \"%s\", \"p50\": %.3f, \"p99\": %.3f, \"rate\": %.1f}", name.c_str(),
                  static_cast<double>(f.ps->percentile(50)) / 1000.0,
                  static_cast<double>(f.ps->percentile(99)) / 1000.0, f.per_second());
    measured_ += (measured_.empty() ? "" : ", ") + std::string(text);
  }
  void skip(const std::string& why) {
    if (!why.empty()) skipped_ += (skipped_.empty() ? "\"" : ", \"") + why + "\"";
  }
  std::string text() const { return "\"twins\": [" + measured_ + "], \"twins_skipped\": [" + skipped_ + "]"; }

 private:
  std::string measured_, skipped_;
};

class Bench {
 public:
  explicit Bench(const Options& o) : options_(o), clock_(TscClock::calibrate()) {
    ps_per_tick_ = 1e12 / static_cast<double>(clock_.frequency_hz());
  }
  u64 ps(u64 ticks) const { return static_cast<u64>(static_cast<double>(ticks) * ps_per_tick_); }
  u64 ticks() const { return clock_.ticks(); }
  TscClock& clock() { return clock_; }
  const Options& options() const { return options_; }

  // Pins this thread and measures the noise floor it will have to live with.
  void settle(int cpu = -1) {
    pin(cpu >= 0 ? cpu : options_.cpu);
    const double seconds = options_.seconds < 1 ? 0.05 : 0.15;
    spin_noise(clock_, static_cast<TimeNs>(seconds * 1e9), *noise_);
  }
  static void pin(int cpu) {
    const CpuSet allowed = allowed_cpus();
    if (cpu < 0) {
      for (int i = 0; i < kMaxCpus; ++i) {
        if (allowed[static_cast<std::size_t>(i)]) cpu = i;
      }
    }
    (void)pin_this_thread(cpu);  // where it is refused the figure is noisier, not wrong
  }

  // Runs `run` and `twin` in turn, each a batch of `n` items, until the time is up.
  template <class Run, class Twin>
  void in_turn(u64 n, Run&& run, Twin&& twin, Figure& figure, Figure& baseline) {
    for (int i = 0; i < 3; ++i) run(), twin();
    const u64 end = ticks() + static_cast<u64>(options_.seconds * static_cast<double>(clock_.frequency_hz()));
    for (;;) {
      const u64 a = ticks();
      run();
      const u64 b = ticks();
      twin();
      const u64 c = ticks();
      figure.record(ps(b - a), n);
      baseline.record(ps(c - b), n);
      if (c > end) break;
    }
  }

  // One line on stdout. `notes` is the inside of a JSON object: "\"live_orders\": 5000".
  void report(const char* name, const Figure& f, const char* baseline_name, const Figure& b, const std::string& notes,
              const Twins& twins = {}) {
    std::printf("{\"name\": \"%s\", ", name);
    figure(f);
    std::printf(", \"baseline\": {\"name\": \"%s\", ", baseline_name);
    figure(b);
    std::printf("}, \"working_set\": {%s}, %s, \"noise\": {", notes.c_str(), twins.text().c_str());
    std::printf("\"p50\": %.3f, \"p99\": %.3f, \"p99_9\": %.3f, \"max\": %.3f, \"count\": %llu}}\n",
                static_cast<double>(noise_->percentile(50)), static_cast<double>(noise_->percentile(99)),
                static_cast<double>(noise_->percentile(99.9)), static_cast<double>(noise_->max),
                static_cast<unsigned long long>(noise_->count));
    std::fflush(stdout);
  }

 private:
  static void figure(const Figure& f) {
    const Histogram& h = *f.ps;
    const auto ns = [&h](double p) { return static_cast<double>(h.percentile(p)) / 1000.0; };
    std::printf("\"unit\": \"ns\", \"p50\": %.3f, \"p99\": %.3f, \"p99_9\": %.3f, \"max\": %.3f, ", ns(50), ns(99),
                ns(99.9), h.count == 0 ? 0.0 : static_cast<double>(h.max) / 1000.0);
    std::printf("\"rate\": %.1f, \"samples\": %llu, \"items\": %llu, \"quantiles\": [", f.per_second(),
                static_cast<unsigned long long>(h.count), static_cast<unsigned long long>(f.items));
    for (int i = 0; i < 100; ++i) std::printf("%s%.3f", i == 0 ? "" : ", ", ns(i + 0.5));
    std::printf("], \"hgrm\": \"");
    for (const char c : h.to_hgrm(1000.0)) {
      if (c == '\n') {
        std::fputs("\\n", stdout);
      } else if (c == '"' || c == '\\') {
        std::printf("\\%c", c);
      } else {
        std::fputc(c, stdout);
      }
    }
    std::printf("\"");
  }

  Options options_;
  TscClock clock_;
  double ps_per_tick_ = 1;
  std::unique_ptr<Histogram> noise_ = std::make_unique<Histogram>();
};

}  // namespace peregrine::bench
