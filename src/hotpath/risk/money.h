// Money: int64 in units of 1/10,000 of the account's currency (a tick of a US share times one share is one unit).
// A product is made in 128 bits, rounded against us, and is worth nothing unless it fits int64.
#pragma once

#include "core/types.h"

namespace peregrine {

using Money = i64;

inline constexpr Money kMoneyMax = INT64_MAX;

// value = price_ticks * qty_lots * multiplier / 2^shift
struct Contract {
  i64 multiplier = 1;
  u8 shift = 0;  // 0..62
};

// What an order or a position can cost us: never rounded down. false = does not fit.
inline bool notional_ceil(PriceTicks price, QtyLots lots, const Contract& c, Money& out) {
  // What fits into 64 bits all the way, as nearly everything does, gives the same number there in a tenth of the time.
  const Money round = static_cast<Money>((u64{1} << c.shift) - 1);
  Money each, all;
  if (!__builtin_mul_overflow(price, lots, &each) && !__builtin_mul_overflow(each, c.multiplier, &all) &&
      all >= -kMoneyMax && all <= kMoneyMax - round) [[likely]] {
    out = (all + round) >> c.shift;
    return true;
  }
  const i128 per_lot = static_cast<i128>(price) * lots;
  i128 v;
  if (__builtin_mul_overflow(per_lot, static_cast<i128>(c.multiplier), &v)) return false;
  const i128 up = (static_cast<i128>(1) << c.shift) - 1;
  if (v > 0 && v > (static_cast<i128>(kMoneyMax) << c.shift)) return false;
  v = (v + up) >> c.shift;
  if (v > kMoneyMax || v < -static_cast<i128>(kMoneyMax)) return false;
  out = static_cast<Money>(v);
  return true;
}

// What we are paid or what a position is worth: never rounded up. false = does not fit.
inline bool notional_floor(PriceTicks price, QtyLots lots, const Contract& c, Money& out) {
  Money v;
  if (!notional_ceil(price, -lots, c, v)) return false;  // floor(x) = -ceil(-x)
  out = -v;
  return true;
}

// Sums that stop at the ends of the range instead of wrapping: a saturated total passes no limit.
inline Money add_sat(Money a, Money b) {
  Money r;
  if (!__builtin_add_overflow(a, b, &r)) return r < -kMoneyMax ? -kMoneyMax : r;
  return a > 0 ? kMoneyMax : -kMoneyMax;
}
inline Money sub_sat(Money a, Money b) { return add_sat(a, b < -kMoneyMax ? kMoneyMax : -b); }

}  // namespace peregrine
