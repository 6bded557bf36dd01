// Which kernel computes a policy on this machine. All give the same bits; only the time differs.
#pragma once

#include "core/types.h"

namespace peregrine {

enum class KernelKind : u8 {
  kScalar = 0,      // any machine; the text the others are compared with
  kAvx2 = 1,        // 8 outputs a register, 2 inputs a step (vpmaddwd)
  kAvxVnni = 2,     // 8 outputs, 4 inputs (vpdpbusd, VEX)
  kAvx512Vnni = 3,  // 16 outputs, 4 inputs (vpdpbusd, EVEX)
};
inline constexpr int kKernelKinds = 4;

const char* kernel_name(KernelKind k);
bool kernel_supported(KernelKind k);  // compiled in, and this CPU runs it
KernelKind best_kernel();             // the fastest supported one

}  // namespace peregrine
