// The spinning thread.
#include "core/noise.h"

#include <sys/resource.h>

namespace peregrine {

namespace {

void switches(u64& voluntary, u64& involuntary) {
  rusage u{};
#if defined(RUSAGE_THREAD)
  getrusage(RUSAGE_THREAD, &u);
#else
  getrusage(RUSAGE_SELF, &u);
#endif
  voluntary = static_cast<u64>(u.ru_nvcsw);
  involuntary = static_cast<u64>(u.ru_nivcsw);
}

}  // namespace

NoiseReport spin_noise(const TscClock& clock, TimeNs duration_ns, Histogram& gaps) {
  NoiseReport r;
  r.asked_ns = duration_ns;
  u64 vol0, invol0, vol1, invol1;
  switches(vol0, invol0);
  const u64 start = clock.ticks();
  u64 last = start;
  TimeNs elapsed = 0;
  while (elapsed < duration_ns) {
    const u64 now = clock.ticks();
    // Cores whose counters differ by a little give a negative difference after a migration.
    const i64 signed_ticks = static_cast<i64>(now - last);
    const i64 gap = signed_ticks > 0 ? clock.to_duration_ns(static_cast<u64>(signed_ticks)) : 0;
    gaps.record(gap);
    ++r.loops;
    if (gap >= 1'000) {
      ++r.over_1us;
      r.stolen_ns += gap;
      if (gap >= 10'000) ++r.over_10us;
      if (gap >= 100'000) ++r.over_100us;
      if (gap >= 1'000'000) ++r.over_1ms;
    }
    if (gap > r.max_gap_ns) r.max_gap_ns = gap;
    last = now;
    elapsed = static_cast<i64>(now - start) > 0 ? clock.to_duration_ns(now - start) : 0;
  }
  r.elapsed_ns = elapsed;
  switches(vol1, invol1);
  r.voluntary_switches = vol1 - vol0;
  r.involuntary_switches = invol1 - invol0;
  return r;
}

}  // namespace peregrine
