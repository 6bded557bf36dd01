// What this CPU can do, asked once: kernels are chosen by these flags, reports print them.
#pragma once

#include <string>

namespace peregrine {

// A flag is set only when the operating system saves the registers too (XGETBV), so that using it is safe.
struct CpuFeatures {
  bool sse42 = false;
  bool popcnt = false;
  bool pclmul = false;
  bool avx = false;
  bool avx2 = false;
  bool fma = false;
  bool bmi2 = false;
  bool avxvnni = false;
  bool avx512f = false;
  bool avx512bw = false;
  bool avx512vl = false;
  bool avx512vnni = false;
  bool movdir64b = false;
  bool clwb = false;
  bool sha = false;
  bool rdtscp = false;
  bool invariant_tsc = false;
  bool hypervisor = false;
};

const CpuFeatures& cpu_features();
// Names of the set flags in the order above, separated by a space.
std::string cpu_feature_names();
// Brand string of the CPU ("model name" of /proc/cpuinfo), or the architecture's name.
const std::string& cpu_model();
// 0 where it cannot be known.
int cpu_count_online();

}  // namespace peregrine
