// AVX-512 VNNI for networks whose layers have at most 64 outputs, on schemas of at most 32 features: between two layers the activations stay in a register.
//
// One decision is one chain of dependent instructions, so what counts is its latency. Through memory a layer's outputs
// would be narrowed, stored, and read back four bytes at a time; here they are packed in place and spread from there:
//
//   sums of up to four blocks A B C D (16 int32 each)  ── shift, saturating packs ──▶  one register of 64 bytes, in which
//   128-bit lane L holds  A[4L..4L+3] B[4L..4L+3] C[4L..4L+3] D[4L..4L+3]
//
// so that the four inputs of group g (outputs 4g … 4g+3, of block g / 4) are dword 4 * (g % 4) + g / 4 of it. A step is
// one spread of that dword over a register and one vpdpbusd a block. The quantised inputs lie in order: dword g.
#include "policy/kernel.h"

#if defined(__x86_64__)
#include "policy/vnni_common.h"

namespace peregrine {
namespace {

constexpr u32 kMaxGroups = kNarrowOutputs / 4;

// Every lane the same: which dword a spread takes.
struct alignas(kCacheLine) Spread {
  i32 lane[16];
};
template <bool kPacked>
constexpr auto make_spreads() {
  struct {
    Spread of[kMaxGroups];
  } t{};
  for (u32 g = 0; g < kMaxGroups; ++g) {
    for (i32& l : t.of[g].lane) l = static_cast<i32>(kPacked ? 4 * (g % 4) + g / 4 : g);
  }
  return t;
}
constexpr auto kInOrder = make_spreads<false>();
constexpr auto kAsPacked = make_spreads<true>();

template <u32 kBlocks>
PRG_VNNI_INLINE void step(__m512i sum[kBlocks], const i8* w, std::size_t stride, const Spread* spread, __m512i x) {
  const __m512i four = _mm512_permutexvar_epi32(_mm512_load_si512(spread), x);
#pragma GCC unroll 4
  for (u32 k = 0; k < kBlocks; ++k) sum[k] = _mm512_dpbusd_epi32(sum[k], four, _mm512_load_si512(w + k * stride));
}

// Sums of kBlocks blocks over kGroups groups, unrolled, enough of them side by side to hide the latency of a step.
// kGroups 0: as many as the layer says, in a loop.
template <u32 kBlocks, u32 kGroups>
PRG_VNNI_INLINE void sums(const PackedLayer& layer, const Spread* spread, __m512i x, __m512i* out) {
  constexpr u32 kChains = kGroups == 0 ? 1 : kBlocks == 4 ? 2 : 4;
  const u32 groups = kGroups != 0 ? kGroups : layer.groups;
  const std::size_t stride = std::size_t{groups} * 64;
  __m512i sum[kChains][kBlocks];
#pragma GCC unroll 4
  for (u32 k = 0; k < kBlocks; ++k) {
    sum[0][k] = _mm512_load_si512(layer.bias + k * 16);
#pragma GCC unroll 4
    for (u32 c = 1; c < kChains; ++c) sum[c][k] = _mm512_setzero_si512();
  }
  if constexpr (kGroups != 0) {
#pragma GCC unroll 16
    for (u32 g = 0; g < kGroups; ++g) step<kBlocks>(sum[g % kChains], layer.weights + g * 64, stride, &spread[g], x);
  } else {
#pragma GCC unroll 1
    for (u32 g = 0; g < groups; ++g) step<kBlocks>(sum[0], layer.weights + g * 64, stride, &spread[g], x);
  }
#pragma GCC unroll 4
  for (u32 k = 0; k < kBlocks; ++k) {
    out[k] = sum[0][k];
    if constexpr (kChains >= 2) out[k] = _mm512_add_epi32(out[k], sum[1][k]);
    if constexpr (kChains == 4) out[k] = _mm512_add_epi32(out[k], _mm512_add_epi32(sum[2][k], sum[3][k]));
  }
}

template <u32 kBlocks, u32 kGroups>
PRG_VNNI_INLINE __m512i hidden(const PackedLayer& layer, const Spread* spread, __m512i x) {
  __m512i v[4];
  sums<kBlocks, kGroups>(layer, spread, x, v);
#pragma GCC unroll 4
  for (u32 k = 0; k < kBlocks; ++k) v[k] = _mm512_srav_epi32(v[k], _mm512_load_si512(layer.shift + k * 16));
#pragma GCC unroll 4
  for (u32 k = kBlocks; k < 4; ++k) v[k] = v[0];  // meets weight 0
  const __m512i words_ab = _mm512_packs_epi32(v[0], v[1]);
  const __m512i words_cd = kBlocks > 2 ? _mm512_packs_epi32(v[2], v[3]) : words_ab;
  // Saturating to int16 and then to int8 is saturating to int8.
  const __m512i bytes = _mm512_max_epi8(_mm512_packs_epi16(words_ab, words_cd),
                                        _mm512_set1_epi8(static_cast<char>(layer.floor)));
  return _mm512_xor_si512(bytes, _mm512_set1_epi8(-128));
}

// The group counts of usual widths are known to the compiler, which then unrolls them.
template <u32 kBlocks>
PRG_VNNI_INLINE __m512i hidden_of(const PackedLayer& layer, const Spread* spread, __m512i x) {
  switch (layer.groups) {
    case 4: return hidden<kBlocks, 4>(layer, spread, x);
    case 8: return hidden<kBlocks, 8>(layer, spread, x);
    case 16: return hidden<kBlocks, 16>(layer, spread, x);
    default: return hidden<kBlocks, 0>(layer, spread, x);
  }
}

PRG_VNNI_INLINE __m512i quantised(const PackedPolicy& p, const i32* features) {
  __m512i x = _mm512_castsi128_si512(vnni::quantise16<false>(p, features, 0));
  if (p.n_inputs > 16) x = _mm512_inserti64x2(x, vnni::quantise16<false>(p, features, 16), 1);
  if (p.n_inputs > 32) x = _mm512_inserti64x2(x, vnni::quantise16<false>(p, features, 32), 2);
  if (p.n_inputs > 48) x = _mm512_inserti64x2(x, vnni::quantise16<false>(p, features, 48), 3);
  return x;
}

}  // namespace

PRG_VNNI u32 infer_avx512vnni_narrow(const PackedPolicy& p, const i32* features, i32* logits) {
  __m512i x = quantised(p, features);
  const Spread* spread = kInOrder.of;
  const u32 last = p.n_layers - 1;
  for (u32 l = 0; l < last; ++l) {
    const PackedLayer& layer = p.layer[l];
    if (layer.blocks == 2) {
      x = hidden_of<2>(layer, spread, x);
    } else if (layer.blocks == 1) {
      x = hidden_of<1>(layer, spread, x);
    } else if (layer.blocks == 4) {
      x = hidden_of<4>(layer, spread, x);
    } else {
      x = hidden<3, 0>(layer, spread, x);
    }
    spread = kAsPacked.of;
  }
  const PackedLayer& layer = p.layer[last];  // at most 16 actions: one block
  __m512i sum;
  if (layer.groups == 8) {
    sums<1, 8>(layer, spread, x, &sum);
  } else {
    sums<1, 0>(layer, spread, x, &sum);
  }
  return vnni::finish(sum, layer.outputs, logits);
}

}  // namespace peregrine
#endif
