// Base types of every room: integers with their unit in the name, no floating point.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace peregrine {

using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
__extension__ using i128 = __int128;

using PriceTicks = i64;    // price in instrument ticks (ITCH: 1 tick = 1/10,000)
using QtyLots = i64;       // quantity in lots
using TimeNs = i64;        // nanoseconds since the Unix epoch
using InstrumentIx = u32;  // dense index into the instrument table, never the venue's locate

using Bytes = std::span<const u8>;

inline constexpr std::size_t kCacheLine = 64;
inline constexpr InstrumentIx kNoInstrument = 0xFFFFFFFFu;

enum class Side : u8 { kBuy = 0, kSell = 1 };

constexpr Side opposite(Side s) { return s == Side::kBuy ? Side::kSell : Side::kBuy; }
constexpr int index(Side s) { return static_cast<int>(s); }

// Division that rounds towards minus infinity, as numpy's // does (C++ truncates towards zero).
// Precondition: b > 0.
constexpr i64 floor_div(i64 a, i64 b) {
  return a / b - (a % b < 0 ? 1 : 0);  // the remainder has the sign of a: no branch on data
}
constexpr i128 floor_div128(i128 a, i128 b) {
  return a / b - (a % b < 0 ? 1 : 0);
}
constexpr i64 clamp64(i64 v, i64 lo, i64 hi) { return v < lo ? lo : (v > hi ? hi : v); }

}  // namespace peregrine
