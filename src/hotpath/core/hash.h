// State and order hashes: a fixed 64-bit hash, the same on every machine, folded in a stated order.
#pragma once

#include <cstring>

#include "core/types.h"

namespace peregrine {

// One folding step; order matters, so folding the same words in another order gives another hash.
constexpr u64 hash_fold(u64 h, u64 v) {
  h ^= v + 0x9E3779B97F4A7C15ull + (h << 6) + (h >> 2);
  h *= 0xFF51AFD7ED558CCDull;
  return h ^ (h >> 33);
}

// Folds the bytes eight at a time, then the zero-extended tail, then the length.
inline u64 hash_bytes(u64 h, const void* data, std::size_t n) {
  const u8* p = static_cast<const u8*>(data);
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    u64 w;
    std::memcpy(&w, p + i, 8);
    h = hash_fold(h, w);
  }
  u64 tail = 0;
  if (i < n) std::memcpy(&tail, p + i, n - i);
  h = hash_fold(h, tail);
  return hash_fold(h, n);
}

}  // namespace peregrine
