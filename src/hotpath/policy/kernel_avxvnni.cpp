// AVX-VNNI (256 bits, for client CPUs without AVX-512): 8 outputs a register, 4 inputs a step.
// vpdpbusd multiplies unsigned activations (x + 128) by signed weights; the bias already holds -128 * sum(w).
#include "policy/kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace peregrine {
namespace {

#define PRG_AVXVNNI __attribute__((target("avx2,avxvnni")))

PRG_AVXVNNI inline __m256i step(__m256i sum, const i8* w, const u8* x) {
  i32 four;
  __builtin_memcpy(&four, x, 4);
  return _mm256_dpbusd_avx_epi32(sum, _mm256_set1_epi32(four), _mm256_load_si256(reinterpret_cast<const __m256i*>(w)));
}

PRG_AVXVNNI inline __m256i block_sum(const PackedLayer& layer, u32 block, const u8* x) {
  const i8* w = layer.weights + std::size_t{block} * layer.groups * 32;
  __m256i s0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(layer.bias + block * 8));
  __m256i s1 = _mm256_setzero_si256();
  u32 g = 0;
  for (; g + 2 <= layer.groups; g += 2) {
    s0 = step(s0, w + g * 32, x + g * 4);
    s1 = step(s1, w + g * 32 + 32, x + g * 4 + 4);
  }
  if (g < layer.groups) s0 = step(s0, w + g * 32, x + g * 4);
  return _mm256_add_epi32(s0, s1);
}

}  // namespace

PRG_AVXVNNI u32 infer_avxvnni(const PackedPolicy& p, const i32* features, i32* logits) {
  alignas(kCacheLine) u8 a[kMaxActivations + 16];
  alignas(kCacheLine) u8 b[kMaxActivations + 16];
  u8* x = a;
  u8* y = b;
  for (u32 i = 0; i < p.n_inputs; ++i) x[i] = static_cast<u8>(quantise_one(p, features, i) + 128);
  for (u32 i = p.n_inputs; i < p.layer[0].groups * 4; ++i) x[i] = 0;  // meets weight 0
  const __m256i top = _mm256_set1_epi32(127);
  for (u32 l = 0; l < p.n_layers; ++l) {
    const PackedLayer& layer = p.layer[l];
    if (layer.shift == nullptr) {
      alignas(32) i32 out[kMaxActions];
      for (u32 k = 0; k < layer.blocks; ++k) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + k * 8), block_sum(layer, k, x));
      }
      for (u32 o = 0; o < layer.outputs; ++o) logits[o] = out[o];
      return Policy::argmax(logits, p.n_actions);
    }
    const __m256i bottom = _mm256_set1_epi32(layer.floor);
    for (u32 k = 0; k < layer.blocks; ++k) {
      const __m256i shift = _mm256_load_si256(reinterpret_cast<const __m256i*>(layer.shift + k * 8));
      __m256i v = _mm256_srav_epi32(block_sum(layer, k, x), shift);
      v = _mm256_min_epi32(_mm256_max_epi32(v, bottom), top);
      const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
      const __m128i bytes = _mm_xor_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(-128));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(y + k * 8), bytes);
    }
    u8* t = x;
    x = y;
    y = t;
  }
  return 0;  // the last layer has no shift: not reached
}

}  // namespace peregrine
#endif
