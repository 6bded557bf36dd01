// The noise floor of a machine: what the kernel, the hypervisor and the neighbours take from a bare spinning
// thread. Every latency report carries it, measured in the same run.
#pragma once

#include "core/clock.h"
#include "core/histogram.h"

namespace peregrine {

struct NoiseReport {
  TimeNs asked_ns = 0;
  TimeNs elapsed_ns = 0;
  u64 loops = 0;
  u64 over_1us = 0;
  u64 over_10us = 0;
  u64 over_100us = 0;
  u64 over_1ms = 0;
  TimeNs max_gap_ns = 0;
  TimeNs stolen_ns = 0;  // sum of the gaps over 1 µs
  u64 voluntary_switches = 0;    // of the thread, during the run
  u64 involuntary_switches = 0;
};

// Spins for `duration_ns` on the calling thread, reading the counter, and puts the time between two readings
// into `gaps`.
NoiseReport spin_noise(const TscClock& clock, TimeNs duration_ns, Histogram& gaps);

}  // namespace peregrine
