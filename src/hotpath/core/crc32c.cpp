// Tables, and the instructions of SSE4.2 and PCLMULQDQ (Intel SDM volume 2, CRC32).
#include "core/crc32c.h"

#include <array>
#include <atomic>
#include <cstring>

#include "core/cpu.h"
#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
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
// kShift[w] moves a CRC past w words of eight bytes by one carry-less multiplication: x^(64 w - 33) mod P, reflected.
// The product is then folded into the last of those words before the instruction takes it (M. Adler's and P. Cawley's
// way of joining streams).
constexpr std::size_t kMaxShift = 64;
constexpr std::array<u32, kMaxShift + 1> make_shifts() {
  std::array<u32, kMaxShift + 1> t{};
  u32 power = 0x80000000u;  // x^0
  for (u64 n = 1; n <= 64 * kMaxShift - 33; ++n) {
    power = (power >> 1) ^ ((power & 1) ? kPolynomial : 0);
    if ((n + 33) % 64 == 0) t[(n + 33) / 64] = power;
  }
  return t;
}
constexpr auto kShift = make_shifts();

inline u64 word_at(const u8* p, std::size_t i) {
  u64 w;
  std::memcpy(&w, p + 8 * i, 8);
  return w;
}

[[gnu::target("sse4.2,pclmul")]] inline u64 shifted(u64 crc, std::size_t words) {
  const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<i64>(crc)),
                                               _mm_cvtsi32_si128(static_cast<i32>(kShift[words])), 0);
  return static_cast<u64>(_mm_cvtsi128_si64(product));
}

// Three streams side by side: the instruction takes three cycles and begins one each cycle. A decision's record (192
// bytes) costs about 45 cycles instead of 75, and the combined cost of joining pays from kLanesFrom words on.
constexpr std::size_t kLanesFrom = 10;

[[gnu::target("sse4.2,pclmul")]] u64 crc_lanes(u64 a, const u8* p, std::size_t words) {
  const std::size_t k = words / 3;  // the third stream takes what is left over
  u64 b = 0, c = 0;
  for (std::size_t i = 0; i < k - 1; ++i) {
    a = __builtin_ia32_crc32di(a, word_at(p, i));
    b = __builtin_ia32_crc32di(b, word_at(p, k + i));
    c = __builtin_ia32_crc32di(c, word_at(p, 2 * k + i));
  }
  a = __builtin_ia32_crc32di(a, word_at(p, k - 1));
  b = __builtin_ia32_crc32di(b, word_at(p, 2 * k - 1));
  for (std::size_t i = 3 * k - 1; i + 1 < words; ++i) c = __builtin_ia32_crc32di(c, word_at(p, i));
  return __builtin_ia32_crc32di(c, word_at(p, words - 1) ^ shifted(a, words - k) ^ shifted(b, words - 2 * k));
}

[[gnu::target("sse4.2,pclmul")]] u32 crc_sse42(u32 crc, const void* data, std::size_t n) {
  const u8* p = static_cast<const u8*>(data);
  u64 c = ~crc;
  for (constexpr std::size_t kMost = kMaxShift * 3 / 2; n >= 8 * kLanesFrom;) {
    const std::size_t words = n / 8 < kMost ? n / 8 : kMost;
    c = crc_lanes(c, p, words);
    p += 8 * words, n -= 8 * words;
  }
  for (; n >= 8; n -= 8, p += 8) c = __builtin_ia32_crc32di(c, word_at(p, 0));
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

bool crc32c_has_hardware() { return cpu_features().sse42 && cpu_features().pclmul; }

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
