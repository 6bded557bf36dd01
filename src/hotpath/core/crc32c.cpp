// Tables and the SSE4.2 instruction (Intel SDM volume 2A, CRC32).
#include "core/crc32c.h"

#include <array>
#include <atomic>
#include <cstring>

#include "core/cpu.h"
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace peregrine {

namespace {

constexpr u32 kPolynomial = 0x82F63B78u;

// table[k][b]: the CRC of byte b followed by k zero bytes, so that eight bytes are looked up side by side.
constexpr std::array<std::array<u32, 256>, 8> make_tables() {
  std::array<std::array<u32, 256>, 8> t{};
  for (u32 b = 0; b < 256; ++b) {
    u32 crc = b;
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    t[0][b] = crc;
  }
  for (u32 k = 1; k < 8; ++k)
    for (u32 b = 0; b < 256; ++b) t[k][b] = (t[k - 1][b] >> 8) ^ t[0][t[k - 1][b] & 0xFF];
  return t;
}
constexpr auto kTables = make_tables();

#if defined(__x86_64__)
[[gnu::target("sse4.2")]] u32 crc_sse42(u32 crc, const void* data, std::size_t n) {
  const u8* p = static_cast<const u8*>(data);
  u64 c = ~crc;
  for (; n >= 8; n -= 8, p += 8) {
    u64 w;
    std::memcpy(&w, p, 8);
    c = __builtin_ia32_crc32di(c, w);
  }
  u32 r = static_cast<u32>(c);
  for (; n > 0; --n, ++p) r = __builtin_ia32_crc32qi(r, *p);
  return ~r;
}
#endif

using CrcFunction = u32 (*)(u32, const void*, std::size_t);

u32 choose(u32 crc, const void* data, std::size_t n);
constinit std::atomic<CrcFunction> g_chosen{&choose};

// The first call: also right when it comes from another file's static initialiser.
u32 choose(u32 crc, const void* data, std::size_t n) {
#if defined(__x86_64__)
  const CrcFunction f = crc32c_has_hardware() ? &crc_sse42 : &crc32c_table;
#else
  const CrcFunction f = &crc32c_table;
#endif
  g_chosen.store(f, std::memory_order_relaxed);
  return f(crc, data, n);
}

}  // namespace

bool crc32c_has_hardware() { return cpu_features().sse42; }

u32 crc32c_table(u32 crc, const void* data, std::size_t n) {
  const u8* p = static_cast<const u8*>(data);
  u32 c = ~crc;
  for (; n >= 8; n -= 8, p += 8) {
    u64 w;
    std::memcpy(&w, p, 8);
    w ^= c;
    c = kTables[7][w & 0xFF] ^ kTables[6][(w >> 8) & 0xFF] ^ kTables[5][(w >> 16) & 0xFF] ^
        kTables[4][(w >> 24) & 0xFF] ^ kTables[3][(w >> 32) & 0xFF] ^ kTables[2][(w >> 40) & 0xFF] ^
        kTables[1][(w >> 48) & 0xFF] ^ kTables[0][w >> 56];
  }
  for (; n > 0; --n, ++p) c = (c >> 8) ^ kTables[0][(c ^ *p) & 0xFF];
  return ~c;
}

u32 crc32c_hardware(u32 crc, const void* data, std::size_t n) {
#if defined(__x86_64__)
  if (crc32c_has_hardware()) return crc_sse42(crc, data, n);
#endif
  return crc32c_table(crc, data, n);
}

u32 crc32c(u32 crc, const void* data, std::size_t n) {
  return g_chosen.load(std::memory_order_relaxed)(crc, data, n);
}

}  // namespace peregrine
