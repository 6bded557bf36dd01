#include "policy/dispatch.h"

#include <initializer_list>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace peregrine {
namespace {

#if defined(__x86_64__)
// The compilers we support do not all know "avxvnni" by name: CPUID leaf 7, subleaf 1, EAX bit 4. The state of the
// ymm registers is the operating system's to save: AVX2 reported usable says it does.
bool avxvnni_supported() {
  u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__builtin_cpu_supports("avx2")) return false;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && ((eax >> 4) & 1) != 0;
}
#endif

}  // namespace

const char* kernel_name(KernelKind k) {
  switch (k) {
    case KernelKind::kScalar: return "scalar";
    case KernelKind::kAvx2: return "avx2";
    case KernelKind::kAvxVnni: return "avxvnni";
    case KernelKind::kAvx512Vnni: return "avx512vnni";
  }
  return "?";
}

bool kernel_supported(KernelKind k) {
  if (k == KernelKind::kScalar) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  switch (k) {
    case KernelKind::kAvx2: return __builtin_cpu_supports("avx2") != 0;
    case KernelKind::kAvxVnni: return avxvnni_supported();
    case KernelKind::kAvx512Vnni:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vnni");
    default: break;
  }
#endif
  return false;
}

KernelKind best_kernel() {
  for (const KernelKind k : {KernelKind::kAvx512Vnni, KernelKind::kAvxVnni, KernelKind::kAvx2}) {
    if (kernel_supported(k)) return k;
  }
  return KernelKind::kScalar;
}

}  // namespace peregrine
