// Log-linear histogram of non-negative integers (after Gil Tene's HdrHistogram): fixed storage, one writer,
// readers in any process at any time.
//
//   value < 2^S            one bucket each
//   2^(S+k-1) … 2^(S+k)-1  2^(S-1) buckets of width 2^k, k = 1, 2 …
//
// so a bucket is at most 1/2^(S-1) of its value wide: S = 9 → 1/256, 0.4 %. Values at or over 2^M are put
// into the last bucket and counted as clamped; negative ones into bucket 0 and counted as negative. min and
// max are exact.
//
//   0       4         6          7          8           12     16      24     32    40    48         56
//   +-------+---------+----------+----------+-----------+------+-------+------+-----+-----+----------+---------+
//   | magic | version | sub_bits | max_bits | n_buckets | zero | count | sum  | min | max | negative | clamped |
//   +-------+---------+----------+----------+-----------+------+-------+------+-----+-----+----------+---------+
//   64: counts[n_buckets], 8 bytes each
//
// The writer stores with relaxed order and no lock prefix; a reader takes a copy (snapshot) and works on it.
// A copy taken while the writer records may miss the newest values of some fields: totals are therefore
// always computed from the buckets of the copy.
#pragma once

#include <bit>
#include <string>
#include <type_traits>

#include "core/atomic.h"
#include "core/types.h"

namespace peregrine {

inline constexpr u32 kHistogramMagic = 0x53484750;  // "PGHS"
inline constexpr u16 kHistogramVersion = 1;

struct alignas(kCacheLine) Histogram {
  static constexpr int kSubBits = 9;
  static constexpr int kMaxBits = 42;  // 73 minutes in ns
  static constexpr u32 kBuckets = (kMaxBits - kSubBits) * (1u << (kSubBits - 1)) + (1u << kSubBits);
  static constexpr i64 kMaxValue = (i64{1} << kMaxBits) - 1;

  u32 magic = kHistogramMagic;
  u16 version = kHistogramVersion;
  u8 sub_bits = kSubBits;
  u8 max_bits = kMaxBits;
  u32 n_buckets = kBuckets;
  u32 zero = 0;
  u64 count = 0;
  u64 sum = 0;
  i64 min = INT64_MAX;  // INT64_MAX while empty
  i64 max = 0;
  u64 negative = 0;
  u64 clamped = 0;
  u64 counts[kBuckets] = {};

  static constexpr u32 bucket_of(i64 value) {
    const u64 v = static_cast<u64>(value);
    const int shift = std::bit_width(v | ((1ull << kSubBits) - 1)) - kSubBits;
    return (static_cast<u32>(shift) << (kSubBits - 1)) + static_cast<u32>(v >> shift);
  }
  static constexpr i64 lowest_of(u32 bucket) {
    const u32 half = 1u << (kSubBits - 1);
    if (bucket < 2 * half) return bucket;
    const u32 shift = bucket / half - 1;
    return static_cast<i64>(bucket - shift * half) << shift;
  }
  static constexpr i64 highest_of(u32 bucket) {
    const u32 half = 1u << (kSubBits - 1);
    if (bucket < 2 * half) return bucket;
    const u32 shift = bucket / half - 1;
    return lowest_of(bucket) + (i64{1} << shift) - 1;
  }

  // Hot path: about ten instructions, no floating point. Only the one writer may call it.
  void record(i64 value) { record_n(value, 1); }
  void record_n(i64 value, u64 n) {
    if (__builtin_expect(value < 0, 0)) {
      add_by_owner(negative, n);
      value = 0;
    } else if (__builtin_expect(value > kMaxValue, 0)) {
      add_by_owner(clamped, n);
    }
    const i64 in_range = value > kMaxValue ? kMaxValue : value;
    add_by_owner(counts[bucket_of(in_range)], n);
    add_by_owner(sum, static_cast<u64>(value) * n);
    if (value < load_relaxed(min)) store_relaxed(min, value);
    if (value > load_relaxed(max)) store_relaxed(max, value);
    add_by_owner(count, n);
  }
  // Writer only.
  void reset();

  // Cold, for readers; `this` may be in read-only shared memory.
  // True when magic, version and shape are ours.
  bool valid() const;
  // A copy made with atomic loads, its `count` set to the sum of its buckets.
  void snapshot_into(Histogram& out) const;
  // Adds all of `other` (both not being written meanwhile, or snapshots).
  void merge(const Histogram& other);
  // Smallest recorded value v so that at least `percent` % of the values are ≤ v, given as the highest value
  // of its bucket but never over max: at most 0.4 % too high. 0 when empty. percent is clamped to 0 … 100.
  i64 percentile(double percent) const;
  double mean() const;
  // From bucket midpoints.
  double standard_deviation() const;
  // Percentile distribution as text in the .hgrm form that HdrHistogram's plotter reads; values are divided
  // by `unit` (1000: ns shown as µs).
  std::string to_hgrm(double unit = 1.0, int ticks_per_half_distance = 5) const;
};

static_assert(std::is_trivially_copyable_v<Histogram>);
static_assert(offsetof(Histogram, n_buckets) == 8 && offsetof(Histogram, count) == 16);
static_assert(offsetof(Histogram, min) == 32 && offsetof(Histogram, negative) == 48);
static_assert(offsetof(Histogram, counts) == 64);
static_assert(sizeof(Histogram) == 64 + 8 * Histogram::kBuckets && sizeof(Histogram) % kCacheLine == 0);
static_assert(Histogram::bucket_of(Histogram::kMaxValue) == Histogram::kBuckets - 1);

}  // namespace peregrine
