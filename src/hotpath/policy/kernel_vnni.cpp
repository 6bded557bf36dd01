// AVX-512 VNNI for networks of any width: 16 outputs a register, 4 inputs a step, activations in memory between layers.
//
// The chain of one decision is what counts, not throughput: each layer is (broadcast 4 bytes, vpdpbusd) per group of
// inputs. A block of 16 outputs sums its groups in up to four independent registers and several blocks go side by
// side, so the latency of vpdpbusd is hidden and the layer costs about its number of instructions.
#include "policy/kernel.h"

#if defined(__x86_64__)
#include "policy/vnni_common.h"

namespace peregrine {
namespace {

PRG_VNNI_INLINE __m512i step(__m512i sum, const i8* w, const u8* x) {
  i32 four;
  __builtin_memcpy(&four, x, 4);
  return _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(four), _mm512_load_si512(w));
}

PRG_VNNI_INLINE __m128i requantise(const PackedLayer& layer, u32 block, __m512i sum, __m512i bottom) {
  const __m512i v = _mm512_srav_epi32(sum, _mm512_load_si512(layer.shift + block * 16));
  return _mm_xor_si128(_mm512_cvtsepi32_epi8(_mm512_max_epi32(v, bottom)), _mm_set1_epi8(-128));
}

// Blocks [first, first + 4): four sums side by side, two each.
PRG_VNNI_INLINE void four_blocks(const PackedLayer& layer, u32 first, const u8* x, __m512i out[4]) {
  const std::size_t stride = std::size_t{layer.groups} * 64;
  const i8* w = layer.weights + first * stride;
  const i32* bias = layer.bias + first * 16;
  __m512i a0 = _mm512_load_si512(bias), a1 = _mm512_load_si512(bias + 16);
  __m512i a2 = _mm512_load_si512(bias + 32), a3 = _mm512_load_si512(bias + 48);
  __m512i b0 = _mm512_setzero_si512(), b1 = b0, b2 = b0, b3 = b0;
  u32 g = 0;
  for (; g + 2 <= layer.groups; g += 2, w += 128, x += 8) {
    a0 = step(a0, w, x);
    a1 = step(a1, w + stride, x);
    a2 = step(a2, w + 2 * stride, x);
    a3 = step(a3, w + 3 * stride, x);
    b0 = step(b0, w + 64, x + 4);
    b1 = step(b1, w + stride + 64, x + 4);
    b2 = step(b2, w + 2 * stride + 64, x + 4);
    b3 = step(b3, w + 3 * stride + 64, x + 4);
  }
  if (g < layer.groups) {
    a0 = step(a0, w, x);
    a1 = step(a1, w + stride, x);
    a2 = step(a2, w + 2 * stride, x);
    a3 = step(a3, w + 3 * stride, x);
  }
  out[0] = _mm512_add_epi32(a0, b0);
  out[1] = _mm512_add_epi32(a1, b1);
  out[2] = _mm512_add_epi32(a2, b2);
  out[3] = _mm512_add_epi32(a3, b3);
}

PRG_VNNI_INLINE void two_blocks(const PackedLayer& layer, u32 first, const u8* x, __m512i out[2]) {
  const std::size_t stride = std::size_t{layer.groups} * 64;
  const i8* w = layer.weights + first * stride;
  const i32* bias = layer.bias + first * 16;
  __m512i a0 = _mm512_load_si512(bias), a1 = _mm512_load_si512(bias + 16);
  __m512i b0 = _mm512_setzero_si512(), b1 = b0, c0 = b0, c1 = b0, d0 = b0, d1 = b0;
  u32 g = 0;
  for (; g + 4 <= layer.groups; g += 4, w += 256, x += 16) {
    a0 = step(a0, w, x);
    a1 = step(a1, w + stride, x);
    b0 = step(b0, w + 64, x + 4);
    b1 = step(b1, w + stride + 64, x + 4);
    c0 = step(c0, w + 128, x + 8);
    c1 = step(c1, w + stride + 128, x + 8);
    d0 = step(d0, w + 192, x + 12);
    d1 = step(d1, w + stride + 192, x + 12);
  }
  for (; g < layer.groups; ++g, w += 64, x += 4) {
    a0 = step(a0, w, x);
    a1 = step(a1, w + stride, x);
  }
  out[0] = _mm512_add_epi32(_mm512_add_epi32(a0, b0), _mm512_add_epi32(c0, d0));
  out[1] = _mm512_add_epi32(_mm512_add_epi32(a1, b1), _mm512_add_epi32(c1, d1));
}

PRG_VNNI_INLINE __m512i one_block(const PackedLayer& layer, u32 first, const u8* x) {
  const i8* w = layer.weights + std::size_t{first} * layer.groups * 64;
  __m512i a = _mm512_load_si512(layer.bias + first * 16);
  __m512i b = _mm512_setzero_si512(), c = b, d = b;
  u32 g = 0;
  for (; g + 4 <= layer.groups; g += 4, w += 256, x += 16) {
    a = step(a, w, x);
    b = step(b, w + 64, x + 4);
    c = step(c, w + 128, x + 8);
    d = step(d, w + 192, x + 12);
  }
  for (; g < layer.groups; ++g, w += 64, x += 4) a = step(a, w, x);
  return _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
}

}  // namespace

PRG_VNNI u32 infer_avx512vnni(const PackedPolicy& p, const i32* features, i32* logits) {
  alignas(kCacheLine) u8 a[kMaxActivations + 16];
  alignas(kCacheLine) u8 b[kMaxActivations + 16];
  u8* x = a;
  u8* y = b;
  for (u32 i = 0; i < p.n_inputs; i += 16) _mm_store_si128(reinterpret_cast<__m128i*>(x + i), vnni::quantise16<true>(p, features, i));
  const u32 hidden = p.n_layers - 1;
  for (u32 l = 0; l < hidden; ++l) {
    const PackedLayer& layer = p.layer[l];
    const __m512i bottom = _mm512_set1_epi32(layer.floor);
    u32 k = 0;
    __m512i sum[4];
    for (; k + 4 <= layer.blocks; k += 4) {
      four_blocks(layer, k, x, sum);
      _mm_store_si128(reinterpret_cast<__m128i*>(y + k * 16), requantise(layer, k, sum[0], bottom));
      _mm_store_si128(reinterpret_cast<__m128i*>(y + k * 16 + 16), requantise(layer, k + 1, sum[1], bottom));
      _mm_store_si128(reinterpret_cast<__m128i*>(y + k * 16 + 32), requantise(layer, k + 2, sum[2], bottom));
      _mm_store_si128(reinterpret_cast<__m128i*>(y + k * 16 + 48), requantise(layer, k + 3, sum[3], bottom));
    }
    if (k + 2 <= layer.blocks) {
      two_blocks(layer, k, x, sum);
      _mm_store_si128(reinterpret_cast<__m128i*>(y + k * 16), requantise(layer, k, sum[0], bottom));
      _mm_store_si128(reinterpret_cast<__m128i*>(y + k * 16 + 16), requantise(layer, k + 1, sum[1], bottom));
      k += 2;
    }
    if (k < layer.blocks) {
      const __m512i last = one_block(layer, k, x);
      _mm_store_si128(reinterpret_cast<__m128i*>(y + k * 16), requantise(layer, k, last, bottom));
    }
    u8* t = x;
    x = y;
    y = t;
  }
  const PackedLayer& layer = p.layer[hidden];  // at most 16 actions: one block
  return vnni::finish(one_block(layer, 0, x), layer.outputs, logits);
}

}  // namespace peregrine
#endif
