// Round trips measured where they are made, so that no caller's language is in the figure. Used by `peregrine device bench`.
#ifndef PEREGRINE_DEVICE_MEASURE_H
#define PEREGRINE_DEVICE_MEASURE_H

#include "device_kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

// What is asked: `rows` requests of `count` inputs of `kind`, one behind the other in memory, over and over.
struct pgd_load {
  uint32_t slot, kind, count, rows;
  const void* inputs;  // [rows][count] int8 or int32
  uint64_t timeout;    // of each wait, in caps.time_unit
};

// `samples` times: the nanoseconds of `batch` round trips with one request in flight, into ns[samples]; and the core
// cycles of the batch's last answer into cycles[samples] (may be NULL). Nothing may be in flight. The first error ends it
// and is returned; a completion that is not ok is PGD_E_IO.
int pgd_measure_round_trips(const struct pgd_backend* backend, struct pgd_device* device, const struct pgd_load* load,
                            uint32_t samples, uint32_t batch, uint64_t* ns, uint32_t* cycles);

// As many requests in flight as fit, `requests` in all; the whole time into *ns.
int pgd_measure_stream(const struct pgd_backend* backend, struct pgd_device* device, const struct pgd_load* load,
                       uint64_t requests, uint64_t* ns);

// The twin: the kernel alone, called directly, with its argmax; as round_trips.
int pgd_measure_kernel(const struct pgd_kernel* kernel, const struct pgd_policy* policy, const struct pgd_load* load,
                       uint32_t samples, uint32_t batch, uint64_t* ns);

#ifdef __cplusplus
}
#endif

#endif
