// Streams random vectors through a simulated core and compares every bit with the engine's own scalar kernel.
//
//   vectors MODEL.so CASE VECTORS SEED
//
// MODEL.so is sim/device/model.cpp around a verilated core of one policy; CASE is its network (case.h). One row in 64
// asks nobody; one block in 16 runs with random stalls.
// Prints one line of JSON; exit code 1 and the first row that differs when anything differs.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "case.h"

using namespace peregrine;

namespace {

struct Device {
  explicit Device(const char* path) {
    library = dlopen(path, RTLD_NOW);
    if (library == nullptr) fail(dlerror());
    open = reinterpret_cast<void* (*)()>(need("hdl_open"));
    close = reinterpret_cast<void (*)(void*)>(need("hdl_close"));
    stream = reinterpret_cast<u64 (*)(void*, const void*, u64, void*, u64, u64, u64)>(need("hdl_stream"));
    handle = open();
  }
  ~Device() { close(handle); }
  void* need(const char* name) {
    void* found = dlsym(library, name);
    if (found == nullptr) fail(std::string("the model lacks ") + name);
    return found;
  }
  void* library;
  void* handle;
  void* (*open)();
  void (*close)(void*);
  u64 (*stream)(void*, const void*, u64, void*, u64, u64, u64);
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) fail("usage: vectors MODEL.so CASE VECTORS SEED");
  Device device(argv[1]);
  Case c;
  load(argv[2], c);
  const u64 wanted = std::strtoull(argv[3], nullptr, 10);
  const u64 seed = std::strtoull(argv[4], nullptr, 10);
  Random random{seed};

  constexpr u64 kBlock = 4096;
  const std::size_t in_bytes = 4 * c.features + 1, out_bytes = 4 + 4 * c.actions;
  std::vector<unsigned char> in(kBlock * in_bytes), out(kBlock * out_bytes);
  std::vector<i32> features(kBlock * c.features), logits(c.actions);
  std::vector<unsigned char> expected(out_bytes);
  std::vector<u64> actions(c.actions);
  u64 cycles = 0, ties = 0, done = 0;
  for (u64 block = 0; done < wanted; ++block) {
    const u64 n = wanted - done < kBlock ? wanted - done : kBlock;
    for (u64 v = 0; v < n; ++v) {
      i32* row = &features[v * c.features];
      for (u32 f = 0; f < c.features; ++f) row[f] = draw(random, c, f);
      std::memcpy(&in[v * in_bytes], row, 4 * c.features);
      in[v * in_bytes + 4 * c.features] = v % 64 != 63;
    }
    const u64 stalls = block % 16 == 0 ? seed * 0x9E3779B97F4A7C15ull + block + 1 : 0;
    const u64 took = device.stream(device.handle, in.data(), in_bytes, out.data(), out_bytes, n, stalls);
    if (took == 0) fail("inputs went in and not as many outputs came out");
    cycles += took;
    for (u64 v = 0; v < n; ++v) {
      const i32* row = &features[v * c.features];
      const bool asked = in[v * in_bytes + 4 * c.features] != 0;
      const u32 best = c.policy.decide(row, logits.data());
      expected[0] = static_cast<u8>(asked ? best : 0);
      expected[1] = asked ? 0 : 1;  // held
      expected[2] = asked ? 1 : 0;
      expected[3] = 0;
      std::memcpy(&expected[4], logits.data(), 4 * c.actions);
      if (std::memcmp(expected.data(), &out[v * out_bytes], out_bytes) != 0) {
        std::fprintf(stderr, "vectors: row %llu of seed %llu differs; features",
                     static_cast<unsigned long long>(done + v), static_cast<unsigned long long>(seed));
        for (u32 f = 0; f < c.features; ++f) std::fprintf(stderr, " %d", row[f]);
        std::fprintf(stderr, "\n  expected action %u logits", expected[0]);
        for (i32 x : logits) std::fprintf(stderr, " %d", x);
        std::memcpy(logits.data(), &out[v * out_bytes + 4], 4 * c.actions);
        std::fprintf(stderr, "\n  found    action %u logits", out[v * out_bytes]);
        for (i32 x : logits) std::fprintf(stderr, " %d", x);
        std::fprintf(stderr, "\n");
        return 1;
      }
      ++actions[best];
      u32 tops = 0;
      for (i32 x : logits) tops += x == logits[best];
      ties += tops > 1;
    }
    done += n;
  }
  std::printf("{\"vectors\": %llu, \"cycles\": %llu, \"ties\": %llu, \"actions\": [",
              static_cast<unsigned long long>(done), static_cast<unsigned long long>(cycles),
              static_cast<unsigned long long>(ties));
  for (u32 a = 0; a < c.actions; ++a) {
    std::printf("%s%llu", a == 0 ? "" : ", ", static_cast<unsigned long long>(actions[a]));
  }
  std::printf("]}\n");
  return 0;
}
