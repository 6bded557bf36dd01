// A network as tools/hdl_cases.py writes it for the vector runs, and features drawn for it (all little endian):
//
//   u32 features, inputs, layers; u32 size[layers + 1]; u8 relu[layers]
//   u16 index[inputs]; i16 m[inputs]; u8 s[inputs]
//   per layer: i8 w[out][in]; i32 b[out]; u8 s[out] (not in the last)
//   per feature: u32 reach; u32 n; i32 corner[n]
//
// A feature is drawn within +-reach (where its quantiser does not saturate) half of the time, of any magnitude three
// times in eight, else from its corners.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "policy/policy.h"

namespace peregrine {

[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "vectors: %s\n", what.c_str());
  std::exit(64);
}

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
  std::vector<u32> sizes;  // from the inputs to the logits
  std::vector<u16> index;  // the feature that each input reads
  std::vector<u32> reach;
  std::vector<std::vector<i32>> corners;
};

// Fills `c`; with `plain` its features are its int8 inputs (m = 1, s = 0).
inline void load(const char* path, Case& c, bool plain = false) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(std::string("cannot read ") + path);
  Reader r{std::vector<char>(std::istreambuf_iterator<char>(file), {})};
  c.features = r.word();
  const u32 inputs = r.word(), layers = r.word();
  if (layers == 0 || layers > kMaxPolicyLayers) fail("the case has no layers, or too many");
  const auto size = r.array<u32>(layers + 1);
  const auto relu = r.array<u8>(layers);
  const auto index = r.array<u16>(inputs);
  auto m = r.array<i16>(inputs);
  auto s = r.array<u8>(inputs);
  if (plain) {
    std::fill(m.begin(), m.end(), i16{1});
    std::fill(s.begin(), s.end(), u8{0});
  }
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
  c.sizes = size;
  c.index = index;
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

inline i32 draw(Random& random, const Case& c, u32 f) {
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

}  // namespace peregrine
