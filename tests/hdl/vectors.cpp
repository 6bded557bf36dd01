// Streams random vectors through a simulated core and compares every bit with the engine's own scalar kernel.
//
//   vectors MODEL.so CASE VECTORS SEED
//
// MODEL.so is sim/device/model.cpp around a verilated core of one policy. CASE is the network as tools/hdl_cases.py
// writes it (all little endian):
//
//   u32 features, inputs, layers; u32 size[layers + 1]; u8 relu[layers]
//   u16 index[inputs]; i16 m[inputs]; u8 s[inputs]
//   per layer: i8 w[out][in]; i32 b[out]; u8 s[out] (not in the last)
//   per feature: u32 reach; u32 n; i32 corner[n]
//
// A feature is drawn within +-reach (where its quantiser does not saturate) half of the time, of any magnitude three
// times in eight, else from its corners. One row in 64 asks nobody; one block in 16 runs with random stalls.
// Prints one line of JSON; exit code 1 and the first row that differs when anything differs.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "policy/policy.h"

using namespace peregrine;

namespace {

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "vectors: %s\n", what.c_str());
  std::exit(64);
}

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

struct Reader {
  std::vector<char> bytes;
  std::size_t at = 0;

  template <class T>
  std::vector<T> array(std::size_t n) {
    if (at + n * sizeof(T) > bytes.size()) fail("the case ends too early");
    std::vector<T> out(n);
    std::memcpy(out.data(), bytes.data() + at, n * sizeof(T));
    at += n * sizeof(T);
    return out;
  }
  u32 word() { return array<u32>(1)[0]; }
};

struct Case {
  u32 features = 0;
  u32 actions = 0;
  Policy policy;
  std::vector<u32> reach;
  std::vector<std::vector<i32>> corners;
};

void load(const char* path, Case& c) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(std::string("cannot read ") + path);
  Reader r{std::vector<char>(std::istreambuf_iterator<char>(file), {})};
  c.features = r.word();
  const u32 inputs = r.word(), layers = r.word();
  if (layers == 0 || layers > kMaxPolicyLayers) fail("the case has no layers, or too many");
  const auto size = r.array<u32>(layers + 1);
  const auto relu = r.array<u8>(layers);
  const auto index = r.array<u16>(inputs);
  const auto m = r.array<i16>(inputs);
  const auto s = r.array<u8>(inputs);
  std::vector<std::vector<i8>> w(layers);
  std::vector<std::vector<i32>> b(layers);
  std::vector<std::vector<u8>> shift(layers);
  PolicySpec spec;
  spec.n_inputs = inputs;
  spec.feature_index = index.data();
  spec.quant_m = m.data();
  spec.quant_s = s.data();
  spec.n_layers = layers;
  for (u32 k = 0; k < layers; ++k) {
    w[k] = r.array<i8>(std::size_t{size[k]} * size[k + 1]);
    b[k] = r.array<i32>(size[k + 1]);
    if (k + 1 < layers) shift[k] = r.array<u8>(size[k + 1]);
    spec.layer[k] = {size[k], size[k + 1], relu[k] != 0, w[k].data(), b[k].data(),
                     k + 1 < layers ? shift[k].data() : nullptr};
  }
  c.actions = size[layers];
  for (u32 f = 0; f < c.features; ++f) {
    c.reach.push_back(r.word());
    c.corners.push_back(r.array<i32>(r.word()));
  }
  PolicyContext context;
  context.n_schema_features = c.features;
  context.n_actions = c.actions;
  const PolicyError error = Policy::load(spec, context, c.policy, KernelKind::kScalar);
  if (!error.ok) fail(error.message);
}

struct Random {  // splitmix64
  u64 state;
  u64 next() {
    u64 z = state += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
};

i32 draw(Random& random, const Case& c, u32 f) {
  const u64 r = random.next();
  const u32 high = static_cast<u32>(r >> 32);
  const u32 kind = r & 7;
  if (kind < 4) {
    const u64 span = 2 * u64{c.reach[f]} + 1;
    return static_cast<i32>(static_cast<i64>((high * span) >> 32) - i64{c.reach[f]});
  }
  if (kind < 7) return static_cast<i32>(high) >> ((r >> 3) & 31);
  return c.corners[f][high % c.corners[f].size()];
}

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
