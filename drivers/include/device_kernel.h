// The arithmetic of the cpu backend, given to it by whoever links it, so that drivers/ knows no engine.
// The engine's: peregrine_device_kernel() in src/hotpath/policy/device_kernel.cpp.
#ifndef PEREGRINE_DEVICE_KERNEL_H
#define PEREGRINE_DEVICE_KERNEL_H

#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pgd_kernel {
  const char* name;  // e.g. "avx512vnni"
  // A copy of the network, made ready; NULL and a reason when it is refused. Allocates.
  void* (*make)(const struct pgd_policy* policy, struct pgd_reason* reason);
  // Logits int32[outputs] of inputs of `kind`, [n_inputs] of the network. Allocates nothing; takes any values.
  void (*infer)(const void* network, uint32_t kind, const void* inputs, int32_t* logits);
  void (*free)(void* network);
};

// The engine's kernels, the fastest of this machine, or by name ("scalar", ...); NULL: this machine has no such.
const struct pgd_kernel* peregrine_device_kernel(const char* name);

#ifdef __cplusplus
}
#endif

#endif
