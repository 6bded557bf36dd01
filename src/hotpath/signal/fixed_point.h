// Small exact integer functions of the features.
#pragma once

#include <type_traits>

#include "core/types.h"

namespace peregrine {

constexpr i32 sat32(i64 v) { return static_cast<i32>(clamp64(v, INT32_MIN, INT32_MAX)); }

// sat32(floor(a * b / den)), den > 0; the product is taken in 128 bits, the division in 64 where it fits.
constexpr i32 mul_div_sat32(i64 a, i64 b, i64 den) {
  i64 p = 0;
  if (!__builtin_mul_overflow(a, b, &p)) return sat32(floor_div(p, den));
  const i128 q = floor_div128(static_cast<i128>(a) * b, den);
  return q > INT32_MAX ? INT32_MAX : (q < INT32_MIN ? INT32_MIN : static_cast<i32>(q));
}

// Binary logarithm in Q8, linear between powers of two (Mitchell, 1962). x >= 1; lg_q8(1) = 0, at most 16383.
constexpr i32 lg_q8(u64 x) {
  const int k = 63 - __builtin_clzll(x);
  const u64 m = k >= 8 ? x >> (k - 8) : x << (8 - k);  // 256..511
  return 256 * k + static_cast<i32>(m) - 256;
}

// floor(sqrt(n)); n < 2^63. The hardware's root is right to the last bit of a double, so that at most one step is left
// to the exact answer, whatever the rounding. (Newton's iteration with its divisions took 60 ns.)
constexpr i64 isqrt(u64 n) {
  if (n < 2) return static_cast<i64>(n);
  if (std::is_constant_evaluated()) {
    u64 x = 1ull << ((64 - __builtin_clzll(n) + 1) / 2);
    for (u64 y = (x + n / x) >> 1; y < x; y = (x + n / x) >> 1) x = y;
    return static_cast<i64>(x);
  }
  u64 x = static_cast<u64>(__builtin_sqrt(static_cast<double>(n)));
  while (x * x > n) --x;
  while ((x + 1) * (x + 1) <= n) ++x;
  return static_cast<i64>(x);
}

static_assert(lg_q8(1) == 0 && lg_q8(2) == 256 && lg_q8(3) == 384 && lg_q8(1ull << 63) == 16128);
static_assert(isqrt(0) == 0 && isqrt(15) == 3 && isqrt(16) == 4 && isqrt((1ull << 62) - 1) == (1ll << 31) - 1);
static_assert(mul_div_sat32(-1, 1, 2) == -1 && mul_div_sat32(INT64_MAX, 2, INT64_MAX) == 2);

}  // namespace peregrine
