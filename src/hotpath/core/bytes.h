// Loads and stores of fixed-width integers at any alignment, big-endian (wire) and little-endian (files).
#pragma once

#include <bit>
#include <cstring>

#include "core/types.h"

namespace peregrine {

static_assert(std::endian::native == std::endian::little, "the formats on disk and in memory are little-endian");

inline u16 load_be16(const u8* p) {
  u16 v;
  std::memcpy(&v, p, 2);
  return __builtin_bswap16(v);
}
inline u32 load_be32(const u8* p) {
  u32 v;
  std::memcpy(&v, p, 4);
  return __builtin_bswap32(v);
}
inline u64 load_be64(const u8* p) {
  u64 v;
  std::memcpy(&v, p, 8);
  return __builtin_bswap64(v);
}
// 48-bit big-endian: the ITCH timestamp.
inline u64 load_be48(const u8* p) { return (static_cast<u64>(load_be16(p)) << 32) | load_be32(p + 2); }

inline void store_be16(u8* p, u16 v) {
  v = __builtin_bswap16(v);
  std::memcpy(p, &v, 2);
}
inline void store_be32(u8* p, u32 v) {
  v = __builtin_bswap32(v);
  std::memcpy(p, &v, 4);
}
inline void store_be64(u8* p, u64 v) {
  v = __builtin_bswap64(v);
  std::memcpy(p, &v, 8);
}
inline void store_be48(u8* p, u64 v) {
  store_be16(p, static_cast<u16>(v >> 32));
  store_be32(p + 2, static_cast<u32>(v));
}

template <class T>
inline T load_le(const u8* p) {
  T v;
  std::memcpy(&v, p, sizeof(T));
  return v;
}
template <class T>
inline void store_le(u8* p, T v) {
  std::memcpy(p, &v, sizeof(T));
}

// ASCII field: left-justified, padded with spaces on the right.
inline void store_alpha(u8* p, std::size_t width, const char* s, std::size_t n) {
  std::size_t i = 0;
  for (; i < width && i < n; ++i) p[i] = static_cast<u8>(s[i]);
  for (; i < width; ++i) p[i] = ' ';
}

}  // namespace peregrine
