// What readers of a histogram ask: cold, floating point allowed.
#include "core/histogram.h"

#include <cmath>
#include <cstdio>

namespace peregrine {

void Histogram::reset() {
  for (u64& c : counts) store_relaxed(c, 0);
  store_relaxed(sum, 0);
  store_relaxed(min, INT64_MAX);
  store_relaxed(max, 0);
  store_relaxed(negative, 0);
  store_relaxed(clamped, 0);
  store_relaxed(count, 0);
}

bool Histogram::valid() const {
  return load_relaxed(magic) == kHistogramMagic && version == kHistogramVersion && sub_bits == kSubBits &&
         max_bits == kMaxBits && n_buckets == kBuckets;
}

void Histogram::snapshot_into(Histogram& out) const {
  u64 total = 0;
  for (u32 i = 0; i < kBuckets; ++i) {
    out.counts[i] = load_relaxed(counts[i]);
    total += out.counts[i];
  }
  out.magic = kHistogramMagic;
  out.version = kHistogramVersion;
  out.sub_bits = kSubBits;
  out.max_bits = kMaxBits;
  out.n_buckets = kBuckets;
  out.zero = 0;
  out.count = total;
  out.sum = load_relaxed(sum);
  out.min = load_relaxed(min);
  out.max = load_relaxed(max);
  out.negative = load_relaxed(negative);
  out.clamped = load_relaxed(clamped);
}

void Histogram::merge(const Histogram& other) {
  for (u32 i = 0; i < kBuckets; ++i) {
    const u64 n = load_relaxed(other.counts[i]);
    if (n != 0) add_by_owner(counts[i], n);
  }
  add_by_owner(sum, load_relaxed(other.sum));
  add_by_owner(negative, load_relaxed(other.negative));
  add_by_owner(clamped, load_relaxed(other.clamped));
  add_by_owner(count, load_relaxed(other.count));
  if (load_relaxed(other.min) < load_relaxed(min)) store_relaxed(min, load_relaxed(other.min));
  if (load_relaxed(other.max) > load_relaxed(max)) store_relaxed(max, load_relaxed(other.max));
}

i64 Histogram::percentile(double percent) const {
  u64 total = 0;
  for (u32 i = 0; i < kBuckets; ++i) total += load_relaxed(counts[i]);
  if (total == 0) return 0;
  const double p = percent > 0.0 ? (percent < 100.0 ? percent : 100.0) : 0.0;
  const double exact = p / 100.0 * static_cast<double>(total);
  // The factor undoes the rounding of the product, or 99.9 % of 1000 would be rank 1000.
  u64 rank = static_cast<u64>(std::ceil(exact * (1.0 - 1e-15)));
  if (rank < 1) rank = 1;
  if (rank > total) rank = total;
  const i64 largest = load_relaxed(max);
  u64 seen = 0;
  for (u32 i = 0; i < kBuckets; ++i) {
    seen += load_relaxed(counts[i]);
    if (seen >= rank) {
      // The last bucket also holds what was clamped: only max is known of it.
      const i64 high = i == kBuckets - 1 ? largest : highest_of(i);
      return high < largest ? high : largest;
    }
  }
  return largest;
}

double Histogram::mean() const {
  u64 total = 0;
  for (u32 i = 0; i < kBuckets; ++i) total += load_relaxed(counts[i]);
  return total == 0 ? 0.0 : static_cast<double>(load_relaxed(sum)) / static_cast<double>(total);
}

double Histogram::standard_deviation() const {
  const double m = mean();
  double squares = 0.0;
  u64 total = 0;
  for (u32 i = 0; i < kBuckets; ++i) {
    const u64 n = load_relaxed(counts[i]);
    if (n == 0) continue;
    const double mid = 0.5 * (static_cast<double>(lowest_of(i)) + static_cast<double>(highest_of(i)));
    squares += static_cast<double>(n) * (mid - m) * (mid - m);
    total += n;
  }
  return total == 0 ? 0.0 : std::sqrt(squares / static_cast<double>(total));
}

std::string Histogram::to_hgrm(double unit, int ticks_per_half_distance) const {
  u64 total = 0;
  for (u32 i = 0; i < kBuckets; ++i) total += load_relaxed(counts[i]);
  const double ticks_per_half = ticks_per_half_distance > 0 ? ticks_per_half_distance : 5;
  std::string out = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n";
  char line[160];
  // One line at each step of the percentile; steps halve with each halving of the distance to 100 %.
  double level = 0.0;
  u64 seen = 0;
  for (u32 i = 0; i < kBuckets && total > 0; ++i) {
    const u64 n = load_relaxed(counts[i]);
    if (n == 0) continue;
    seen += n;
    const double at = 100.0 * static_cast<double>(seen) / static_cast<double>(total);
    const i64 top = i == kBuckets - 1 || highest_of(i) > load_relaxed(max) ? load_relaxed(max) : highest_of(i);
    const double value = static_cast<double>(top) / unit;
    if (seen == total) {
      std::snprintf(line, sizeof(line), "%12.3f %14.12f %10llu\n", value, 1.0, static_cast<unsigned long long>(seen));
      out += line;
      break;
    }
    if (at < level) continue;
    std::snprintf(line, sizeof(line), "%12.3f %14.12f %10llu %14.2f\n", value, at / 100.0,
                  static_cast<unsigned long long>(seen), 1.0 / (1.0 - at / 100.0));
    out += line;
    while (level <= at && level < 100.0) {
      const double halvings = std::floor(std::log2(100.0 / (100.0 - level))) + 1.0;
      const double next = level + 100.0 / (ticks_per_half * std::exp2(halvings));
      if (next == level) break;
      level = next;
    }
  }
  std::snprintf(line, sizeof(line), "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", mean() / unit,
                standard_deviation() / unit);
  out += line;
  std::snprintf(line, sizeof(line), "#[Max     = %12.3f, Total count    = %12llu]\n",
                static_cast<double>(load_relaxed(max)) / unit, static_cast<unsigned long long>(total));
  out += line;
  std::snprintf(line, sizeof(line), "#[Buckets = %12d, SubBuckets     = %12d]\n", kMaxBits - kSubBits + 1,
                1 << kSubBits);
  return out + line;
}

}  // namespace peregrine
