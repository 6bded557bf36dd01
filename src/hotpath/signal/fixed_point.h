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

// floor(sqrt(n)) by Newton's iteration, integers only; n < 2^63. One step from any guess lands at or above the root and
// the next ones come down to it: the guess decides how many divisions that takes, never the answer.
constexpr i64 isqrt(u64 n, u64 guess = 0) {
  if (n < 2) return static_cast<i64>(n);
  u64 x = guess != 0 ? (guess + n / guess) >> 1 : 1ull << ((64 - __builtin_clzll(n) + 1) / 2);
  while (x > UINT32_MAX || x * x > n) x = (x + n / x) >> 1;  // not below the root: the first square that fits is it
  return static_cast<i64>(x);
}

static_assert(lg_q8(1) == 0 && lg_q8(2) == 256 && lg_q8(3) == 384 && lg_q8(1ull << 63) == 16128);
static_assert(isqrt(24, 1) == 4 && isqrt(25, 1000) == 5 && isqrt((1ull << 62) - 1, 3) == (1ll << 31) - 1);
static_assert(isqrt(0) == 0 && isqrt(15) == 3 && isqrt(16) == 4 && isqrt((1ull << 62) - 1) == (1ll << 31) - 1);
static_assert(mul_div_sat32(-1, 1, 2) == -1 && mul_div_sat32(INT64_MAX, 2, INT64_MAX) == 2);

}  // namespace peregrine
