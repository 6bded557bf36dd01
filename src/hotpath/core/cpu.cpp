// CPU features by CPUID (Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E).
#include "core/cpu.h"

#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "core/types.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace peregrine {

namespace {

#if defined(__x86_64__)
struct Regs {
  u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Regs cpuid(u32 leaf, u32 sub = 0) {
  Regs r;
  if (static_cast<u32>(__get_cpuid_max(leaf & 0x80000000u, nullptr)) < leaf) return r;
  __cpuid_count(leaf, sub, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}

u64 xcr0() {
  u32 lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (static_cast<u64>(hi) << 32) | lo;
}

bool bit(u32 word, int n) { return ((word >> n) & 1u) != 0; }
#endif

CpuFeatures detect() {
  CpuFeatures f;
#if defined(__x86_64__)
  const Regs one = cpuid(1);
  const Regs seven = cpuid(7, 0);
  const Regs seven1 = seven.eax >= 1 ? cpuid(7, 1) : Regs{};
  const Regs ext1 = cpuid(0x80000001u);
  const Regs ext7 = cpuid(0x80000007u);
  const bool osxsave = bit(one.ecx, 27);
  const u64 saved = osxsave ? xcr0() : 0;
  const bool ymm = (saved & 0x6) == 0x6;
  const bool zmm = (saved & 0xE6) == 0xE6;
  f.sse42 = bit(one.ecx, 20);
  f.popcnt = bit(one.ecx, 23);
  f.pclmul = bit(one.ecx, 1);
  f.avx = ymm && bit(one.ecx, 28);
  f.avx2 = f.avx && bit(seven.ebx, 5);
  f.fma = f.avx && bit(one.ecx, 12);
  f.bmi2 = bit(seven.ebx, 8);
  f.avxvnni = f.avx2 && bit(seven1.eax, 4);
  f.avx512f = zmm && bit(seven.ebx, 16);
  f.avx512bw = f.avx512f && bit(seven.ebx, 30);
  f.avx512vl = f.avx512f && bit(seven.ebx, 31);
  f.avx512vnni = f.avx512f && bit(seven.ecx, 11);
  f.movdir64b = bit(seven.ecx, 28);
  f.sha = f.sse42 && bit(seven.ebx, 29);
  f.clwb = bit(seven.ebx, 24);
  f.rdtscp = bit(ext1.edx, 27);
  f.invariant_tsc = bit(ext7.edx, 8);
  f.hypervisor = bit(one.ecx, 31);
#endif
  return f;
}

std::string detect_model() {
#if defined(__x86_64__)
  char text[49] = {};
  if (static_cast<u32>(__get_cpuid_max(0x80000000u, nullptr)) >= 0x80000004u) {
    for (u32 i = 0; i < 3; ++i) {
      const Regs r = cpuid(0x80000002u + i);
      std::memcpy(text + 16 * i, &r, 16);
    }
  }
  std::string model(text);
  while (!model.empty() && model.back() == ' ') model.pop_back();
  while (!model.empty() && model.front() == ' ') model.erase(0, 1);
  return model.empty() ? "x86-64" : model;
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "unknown";
#endif
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

std::string cpu_feature_names() {
  const CpuFeatures& f = cpu_features();
  const struct {
    bool on;
    const char* name;
  } all[] = {{f.sse42, "sse4.2"},         {f.popcnt, "popcnt"},       {f.pclmul, "pclmul"},
             {f.avx, "avx"},              {f.avx2, "avx2"},           {f.fma, "fma"},
             {f.bmi2, "bmi2"},            {f.avxvnni, "avxvnni"},     {f.avx512f, "avx512f"},
             {f.avx512bw, "avx512bw"},    {f.avx512vl, "avx512vl"},   {f.avx512vnni, "avx512vnni"},
             {f.movdir64b, "movdir64b"},  {f.clwb, "clwb"},           {f.sha, "sha"},
             {f.rdtscp, "rdtscp"},        {f.invariant_tsc, "invariant_tsc"}, {f.hypervisor, "hypervisor"}};
  std::string names;
  for (const auto& x : all) {
    if (!x.on) continue;
    if (!names.empty()) names += ' ';
    names += x.name;
  }
  return names;
}

const std::string& cpu_model() {
  static const std::string model = detect_model();
  return model;
}

int cpu_count_online() {
  const long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? static_cast<int>(n) : 0;
}

}  // namespace peregrine
