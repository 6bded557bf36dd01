// Small exact integer functions of the features.
#pragma once

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

// floor(sqrt(n)) by Newton's iteration from above; n < 2^63.
constexpr i64 isqrt(u64 n) {
  if (n < 2) return static_cast<i64>(n);
  const int bits = 64 - __builtin_clzll(n);
  u64 x = 1ull << ((bits + 1) / 2);
  for (;;) {
    const u64 y = (x + n / x) >> 1;
    if (y >= x) return static_cast<i64>(x);
    x = y;
  }
}

static_assert(lg_q8(1) == 0 && lg_q8(2) == 256 && lg_q8(3) == 384 && lg_q8(1ull << 63) == 16128);
static_assert(isqrt(0) == 0 && isqrt(15) == 3 && isqrt(16) == 4 && isqrt((1ull << 62) - 1) == (1ll << 31) - 1);
static_assert(mul_div_sat32(-1, 1, 2) == -1 && mul_div_sat32(INT64_MAX, 2, INT64_MAX) == 2);

}  // namespace peregrine
