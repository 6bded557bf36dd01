// CRC-32 as zlib has it (polynomial 0xEDB88320, reflected), eight bytes a step.
#include "core/common.h"

static uint32_t table[8][256];

// Before main or at dlopen: no caller can be early, and nothing needs a lock later.
__attribute__((constructor)) static void make_tables(void) {
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int k = 0; k < 8; ++k) c = (c >> 1) ^ ((c & 1u) ? 0xEDB88320u : 0u);
    table[0][i] = c;
  }
  for (uint32_t i = 0; i < 256; ++i) {
    for (int t = 1; t < 8; ++t) table[t][i] = (table[t - 1][i] >> 8) ^ table[0][table[t - 1][i] & 255u];
  }
}

uint32_t pgd_crc32(uint32_t crc, const void* data, size_t bytes) {
  const unsigned char* p = data;
  uint32_t c = ~crc;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    uint32_t lo, hi;
    memcpy(&lo, p, 4);
    memcpy(&hi, p + 4, 4);
    lo ^= c;
    c = table[7][lo & 255u] ^ table[6][(lo >> 8) & 255u] ^ table[5][(lo >> 16) & 255u] ^ table[4][lo >> 24] ^
        table[3][hi & 255u] ^ table[2][(hi >> 8) & 255u] ^ table[1][(hi >> 16) & 255u] ^ table[0][hi >> 24];
  }
  for (; bytes > 0; --bytes, ++p) c = (c >> 8) ^ table[0][(c ^ *p) & 255u];
  return ~c;
}
