// Seeded randomness: the only source in the project, integer only, the same on every machine.
// xoshiro256** (Blackman & Vigna, "Scrambled linear pseudorandom number generators", 2018),
// seeded through splitmix64 (Steele, Lea & Flood, 2014).
#pragma once

#include "core/types.h"

namespace peregrine {

constexpr u64 splitmix64(u64& state) {
  u64 z = (state += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

class Rng {
 public:
  explicit Rng(u64 seed) {
    for (u64& w : s_) w = splitmix64(seed);
  }

  u64 next() {
    const u64 result = rotl(s_[1] * 5, 7) * 9;
    const u64 t = s_[1] << 17;
    s_[2] ^= s_[0];
    s_[3] ^= s_[1];
    s_[1] ^= s_[2];
    s_[0] ^= s_[3];
    s_[2] ^= t;
    s_[3] = rotl(s_[3], 45);
    return result;
  }

  // Uniform in [0, n), n > 0 (Lemire's multiply-shift; bias below 2^-32 for n < 2^32).
  u64 below(u64 n) {
    __extension__ using u128 = unsigned __int128;
    return static_cast<u64>((static_cast<u128>(next()) * n) >> 64);
  }
  // Uniform in [lo, hi], both included.
  i64 between(i64 lo, i64 hi) { return lo + static_cast<i64>(below(static_cast<u64>(hi - lo) + 1)); }
  // True with probability num / 2^32.
  bool chance32(u32 num) { return (next() >> 32) < num; }

 private:
  static constexpr u64 rotl(u64 x, int k) { return (x << k) | (x >> (64 - k)); }
  u64 s_[4];
};

}  // namespace peregrine
