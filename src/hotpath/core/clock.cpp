// Calibration of the TSC, and the fallback.
#include "core/clock.h"

#include <cstdio>
#include <cstring>

#include "core/assert.h"
#include "core/cpu.h"

namespace peregrine {

namespace {

TimeNs read_clock(clockid_t id) {
  timespec t;
  clock_gettime(id, &t);
  return static_cast<TimeNs>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

// The kernel watches the TSC against other clocks and drops it from this list when it drifts.
bool kernel_dropped_tsc() {
  std::FILE* f = std::fopen("/sys/devices/system/clocksource/clocksource0/available_clocksource", "re");
  if (f == nullptr) return false;
  char text[256] = {};
  const std::size_t n = std::fread(text, 1, sizeof(text) - 1, f);
  std::fclose(f);
  return n > 0 && std::strstr(text, "tsc") == nullptr && std::strstr(text, "kvm-clock") == nullptr &&
         std::strstr(text, "hyperv") == nullptr && std::strstr(text, "xen") == nullptr;
}

// A counter value and a kernel time taken as close together as a few tries give: an interruption between the
// two readings shows as a wide bracket, so the narrowest bracket wins.
struct Pair {
  u64 ticks;
  TimeNs ns;
};
Pair read_pair(const TscClock& clock, clockid_t id, int tries) {
  Pair best{0, 0};
  u64 narrowest = ~0ull;
  for (int i = 0; i < tries; ++i) {
    const u64 before = clock.ticks();
    const TimeNs ns = read_clock(id);
    const u64 after = clock.ticks();
    if (after - before < narrowest) {
      narrowest = after - before;
      best = {before + narrowest / 2, ns};
    }
  }
  return best;
}

u64 rate_of(u64 ticks, TimeNs ns) {
  return static_cast<u64>((static_cast<i128>(ns) << kClockShift) / static_cast<i128>(ticks));
}

}  // namespace

TimeNs wall_ns() { return read_clock(CLOCK_REALTIME); }
TimeNs monotonic_ns() { return read_clock(CLOCK_MONOTONIC); }
TimeNs monotonic_raw_ns() { return read_clock(CLOCK_MONOTONIC_RAW); }
TimeNs thread_cpu_ns() { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

u64 TscClock::kernel_ticks() { return static_cast<u64>(monotonic_ns()); }

TscClock TscClock::from_kernel() {
  TscClock c;
  c.source_ = "CLOCK_MONOTONIC by choice";
  c.rate_ = c.mult_ = u64{1} << kClockShift;
  const Pair wall = read_pair(c, CLOCK_REALTIME, 16);
  c.anchor(wall.ticks, wall.ns);
  const Pair raw = read_pair(c, CLOCK_MONOTONIC_RAW, 16);
  c.first_ticks_ = raw.ticks;
  c.first_raw_ns_ = raw.ns;
  return c;
}

TscClock TscClock::from_variable(const TimeNs* now_ns) {
  TscClock c;
  c.source_ = "a variable";
  c.rate_ = c.mult_ = u64{1} << kClockShift;
  c.variable_ = now_ns;
  return c;
}

TscClock TscClock::calibrate(TimeNs budget_ns) {
#if defined(__x86_64__)
  const bool invariant = cpu_features().invariant_tsc;
  const bool dropped = kernel_dropped_tsc();
  if (!invariant || dropped) {
    TscClock c = from_kernel();
    c.source_ = invariant ? "CLOCK_MONOTONIC: the kernel dropped the TSC" : "CLOCK_MONOTONIC: the TSC is not invariant";
    return c;
  }
  TscClock c;
  c.uses_tsc_ = true;
  c.source_ = "tsc";
  const Pair start = read_pair(c, CLOCK_MONOTONIC_RAW, 64);
  while (monotonic_raw_ns() - start.ns < budget_ns) {
  }
  const Pair end = read_pair(c, CLOCK_MONOTONIC_RAW, 64);
  if (end.ticks <= start.ticks || end.ns <= start.ns) {
    c = from_kernel();
    c.source_ = "CLOCK_MONOTONIC: the TSC stood still";
    return c;
  }
  c.rate_ = c.mult_ = rate_of(end.ticks - start.ticks, end.ns - start.ns);
  c.first_ticks_ = start.ticks;
  c.first_raw_ns_ = start.ns;
  const Pair wall = read_pair(c, CLOCK_REALTIME, 64);
  c.anchor(wall.ticks, wall.ns);
  return c;
#else
  (void)budget_ns;
  TscClock c = from_kernel();
  c.source_ = "CLOCK_MONOTONIC: no TSC on this architecture";
  return c;
#endif
}

void TscClock::anchor(u64 at_ticks, TimeNs wall) {
  base_ticks_ = at_ticks;
  base_ns_ = wall;
}

void TscClock::start_at_least(TimeNs least_ns) {
  PRG_ASSERT(variable_ == nullptr);
  const u64 at_ticks = ticks();
  if (to_ns(at_ticks) < least_ns) anchor(at_ticks, least_ns);
}

i64 TscClock::discipline() {
  if (variable_ != nullptr) return 0;  // it is the time
  constexpr TimeNs kShortest = 10'000'000;  // over less the rate is no better than the one we have
  if (uses_tsc_) {
    const Pair raw = read_pair(*this, CLOCK_MONOTONIC_RAW, 4);
    if (raw.ns - first_raw_ns_ > kShortest && raw.ticks > first_ticks_)
      rate_ = rate_of(raw.ticks - first_ticks_, raw.ns - first_raw_ns_);
  }
  const Pair wall = read_pair(*this, CLOCK_REALTIME, 4);
  const TimeNs ours = to_ns(wall.ticks);
  const i64 error_ns = wall.ns - ours;
  // A new base at the value we show now: the line goes on from there with another slope, so nothing jumps.
  anchor(wall.ticks, ours);
  i64 slew_ppb = error_ns;  // to close it within a second
  if (error_ns > kStepNs || error_ns < -kStepNs) slew_ppb = 0;
  if (const i64 change = error_ns - error_ns_; change > kStepNs || change < -kStepNs) ++steps_seen_;
  error_ns_ = error_ns;
  slew_ppb = clamp64(slew_ppb, -kMaxSlewPpm * 1000, kMaxSlewPpm * 1000);
  const i128 rate = static_cast<i128>(rate_);
  mult_ = static_cast<u64>(rate + floor_div128(rate * slew_ppb, 1'000'000'000));
  PRG_ASSERT(mult_ > 0);
  return error_ns;
}

u64 TscClock::frequency_hz() const {
  return static_cast<u64>((static_cast<i128>(1'000'000'000) << kClockShift) / static_cast<i128>(rate_));
}

}  // namespace peregrine
