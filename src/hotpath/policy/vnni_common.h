// What both AVX-512 VNNI kernels begin and end with: the quantiser, and logits with their argmax.
#pragma once

#include "policy/kernel.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
// gcc 12's own header builds "undefined" registers by self-assignment and then warns about them where it inlines.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#define PRG_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define PRG_VNNI_INLINE PRG_VNNI __attribute__((always_inline)) inline

namespace peregrine::vnni {

// The features of inputs [i, i + 8), one in the low half of each 64-bit lane; what the high half holds is not looked at.
// kGather: of a schema of any size. Up to 32 features lie in two registers and are picked from there.
template <bool kGather>
PRG_VNNI_INLINE __m512i pick8(const PackedPolicy& p, const i32* features, u32 i) {
  const __m512i index = _mm512_load_si512(p.feature_index + i);
  if constexpr (kGather) return _mm512_cvtepi32_epi64(_mm512_i64gather_epi32(index, features, 4));
  const u32 rest = p.n_schema > 16 ? p.n_schema - 16 : 0;
  const __mmask16 low = static_cast<__mmask16>(p.n_schema >= 16 ? 0xFFFF : (1u << p.n_schema) - 1);
  const __mmask16 high = static_cast<__mmask16>((1u << rest) - 1);
  return _mm512_permutex2var_epi32(_mm512_maskz_loadu_epi32(low, features), index,
                                   _mm512_maskz_loadu_epi32(high, features + 16));
}

template <bool kGather>
PRG_VNNI_INLINE __m128i quantise8(const PackedPolicy& p, const i32* features, u32 i) {
  const __m512i product = _mm512_mul_epi32(pick8<kGather>(p, features, i), _mm512_load_si512(p.quant_m + i));
  const __m512i rounded = _mm512_add_epi64(product, _mm512_load_si512(p.quant_round + i));
  return _mm512_cvtsepi64_epi8(_mm512_srav_epi64(rounded, _mm512_load_si512(p.quant_s + i)));
}

// Inputs [i, i + 16) as the layers take them, x + 128. Padded inputs have m = 0, so they become 0 (128 as stored) and
// meet weight 0.
template <bool kGather>
PRG_VNNI_INLINE __m128i quantise16(const PackedPolicy& p, const i32* features, u32 i) {
  const __m128i q = _mm_unpacklo_epi64(quantise8<kGather>(p, features, i), quantise8<kGather>(p, features, i + 8));
  return _mm_xor_si128(q, _mm_set1_epi8(-128));
}

// Writes n <= 16 logits; returns the lowest index of the largest. Its key is logit * 16 + (15 - index), which fits: a
// logit stays below 2^24 (the load-time bound), and of two alike the lower index has the larger key.
PRG_VNNI_INLINE u32 finish(__m512i logits, u32 n, i32* out) {
  const __mmask16 used = static_cast<__mmask16>((1u << n) - 1);
  const __m512i place = _mm512_set_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i key = _mm512_mask_or_epi32(_mm512_set1_epi32(INT32_MIN), used, _mm512_slli_epi32(logits, 4), place);
  _mm512_mask_storeu_epi32(out, used, logits);
  __m256i best = _mm512_castsi512_si256(key);
  if (n > 8) best = _mm256_max_epi32(best, _mm512_extracti64x4_epi64(key, 1));
  __m128i v = _mm_max_epi32(_mm256_castsi256_si128(best), _mm256_extracti128_si256(best, 1));
  v = _mm_max_epi32(v, _mm_shuffle_epi32(v, 0x4E));
  v = _mm_max_epi32(v, _mm_shuffle_epi32(v, 0xB1));
  return 15 - (static_cast<u32>(_mm_cvtsi128_si32(v)) & 15);
}

}  // namespace peregrine::vnni
#endif
