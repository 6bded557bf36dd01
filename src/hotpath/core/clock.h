// Time. clock.cpp and this header are the only files of the engine that read a clock; everything else is
// given a time.
//
// TscClock turns the time stamp counter into nanoseconds since the Unix epoch:
//
//   now = base_ns + ((ticks - base_ticks) * mult) >> 40
//
// The rate is calibrated against CLOCK_MONOTONIC_RAW, the anchor comes from CLOCK_REALTIME. discipline()
// refines the rate over the whole time since the start and slews towards the wall clock, so time neither
// jumps nor runs backwards. Without an invariant TSC (or on another architecture) the same arithmetic
// runs over CLOCK_MONOTONIC.
#pragma once

#include <time.h>

#include "core/types.h"
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace peregrine {

TimeNs wall_ns();           // CLOCK_REALTIME: may step; for stamps that people read
TimeNs monotonic_ns();      // CLOCK_MONOTONIC: for intervals and timeouts
TimeNs monotonic_raw_ns();  // CLOCK_MONOTONIC_RAW: not slewed by NTP
TimeNs thread_cpu_ns();     // CPU time of the calling thread

inline constexpr int kClockShift = 40;

class TscClock {
 public:
  // Spins for about `budget_ns` (longer = finer first rate: 20 ms gives a few ppm).
  static TscClock calibrate(TimeNs budget_ns = 20'000'000);
  // The fallback by choice: CLOCK_MONOTONIC underneath, whatever the CPU offers.
  static TscClock from_kernel();
  // Virtual time: shows `*now_ns`, which somebody else moves and which outlives every copy of this clock.
  static TscClock from_variable(const TimeNs* now_ns);

  // Raw counter; differences become time through to_duration_ns().
  u64 ticks() const {
#if defined(__x86_64__)
    if (__builtin_expect(uses_tsc_, 1)) return __rdtsc();
#endif
    return variable_ != nullptr ? static_cast<u64>(*variable_) : kernel_ticks();
  }
  // Nanoseconds since the epoch; never less than what this object returned before. One thread per object:
  // other threads take a copy.
  TimeNs now_ns() {
    const TimeNs t = to_ns(ticks());
    last_ns_ = t > last_ns_ ? t : last_ns_;
    return last_ns_;
  }
  // Time of a counter value, also one taken shortly before the anchor.
  TimeNs to_ns(u64 at_ticks) const {
    const i64 delta = static_cast<i64>(at_ticks - base_ticks_);
    return base_ns_ + static_cast<TimeNs>((static_cast<i128>(delta) * static_cast<i128>(mult_)) >> kClockShift);
  }
  i64 to_duration_ns(u64 delta_ticks) const {
    return static_cast<i64>((static_cast<i128>(delta_ticks) * static_cast<i128>(mult_)) >> kClockShift);
  }

  // From here on not before `least_ns`, for who goes on with a record that is ahead of the wall clock; the rate stays. Before
  // other threads take their copies.
  void start_at_least(TimeNs least_ns);

  // Call about once a second from the owner of the object, between inputs. Returns the error against the
  // wall clock before the correction, in ns (positive: we were behind). The correction is a rate, at most
  // kMaxSlewPpm, spread over about a second; an error over kStepNs is not followed (the wall clock was
  // stepped, or stands behind the record we go on with). An error that differs from the last one by more than that is a
  // step of the wall clock, there or back: counted in steps_seen().
  i64 discipline();

  static constexpr i64 kMaxSlewPpm = 500;
  static constexpr i64 kStepNs = 1'000'000'000;

  bool uses_tsc() const { return uses_tsc_; }
  // Why this source was taken: "tsc", or the reason against it.
  const char* source() const { return source_; }
  u64 frequency_hz() const;
  u64 steps_seen() const { return steps_seen_; }
  // How far the wall clock was ahead of this one at the last discipline().
  i64 error_ns() const { return error_ns_; }

 private:
  TscClock() = default;
  static u64 kernel_ticks();
  void anchor(u64 ticks, TimeNs wall);

  u64 base_ticks_ = 0;
  TimeNs base_ns_ = 0;
  u64 mult_ = 0;  // ns per tick, 40 fraction bits, slew included
  TimeNs last_ns_ = 0;
  bool uses_tsc_ = false;
  const TimeNs* variable_ = nullptr;
  // Cold: what discipline() needs.
  u64 rate_ = 0;  // ns per tick without slew
  u64 first_ticks_ = 0;
  TimeNs first_raw_ns_ = 0;
  u64 steps_seen_ = 0;
  i64 error_ns_ = 0;  // found by the last discipline()
  const char* source_ = "";
};

}  // namespace peregrine
