// AVX2: 8 outputs a register, 2 inputs a step. int8 weights widen to int16 and vpmaddwd adds two products in int32,
// which cannot saturate (vpmaddubsw can, and is not used).
#include "policy/kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace peregrine {
namespace {

#define PRG_AVX2 __attribute__((target("avx2")))

PRG_AVX2 inline __m256i step(const i8* w, const i16* x) {
  i32 pair;
  __builtin_memcpy(&pair, x, 4);
  const __m256i weights = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w)));
  return _mm256_madd_epi16(weights, _mm256_set1_epi32(pair));
}

// One block of 8 outputs before shifting; two sums hide the latency of the additions.
PRG_AVX2 inline __m256i block_sum(const PackedLayer& layer, u32 block, const i16* x) {
  const i8* w = layer.weights + std::size_t{block} * layer.groups * 16;
  __m256i s0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(layer.bias + block * 8));
  __m256i s1 = _mm256_setzero_si256();
  u32 g = 0;
  for (; g + 2 <= layer.groups; g += 2) {
    s0 = _mm256_add_epi32(s0, step(w + g * 16, x + g * 2));
    s1 = _mm256_add_epi32(s1, step(w + g * 16 + 16, x + g * 2 + 2));
  }
  if (g < layer.groups) s0 = _mm256_add_epi32(s0, step(w + g * 16, x + g * 2));
  return _mm256_add_epi32(s0, s1);
}

}  // namespace

PRG_AVX2 u32 infer_avx2(const PackedPolicy& p, const i32* features, i32* logits) {
  alignas(kCacheLine) i16 a[kMaxActivations + 16];
  alignas(kCacheLine) i16 b[kMaxActivations + 16];
  i16* x = a;
  i16* y = b;
  for (u32 i = 0; i < p.n_inputs; ++i) x[i] = static_cast<i16>(quantise_one(p, features, i));
  x[p.n_inputs] = 0;  // an odd number of inputs: the group's other half meets weight 0
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
      const __m128i packed = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
      _mm_store_si128(reinterpret_cast<__m128i*>(y + k * 8), packed);
    }
    i16* t = x;
    x = y;
    y = t;
  }
  return 0;  // the last layer has no shift: not reached
}

}  // namespace peregrine
#endif
