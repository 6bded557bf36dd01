// What the kernels read: a policy packed into one 64-byte aligned block. Each kernel kind has its own packing.
//
//   lanes   outputs side by side in one register: 1 (scalar), 8 (AVX2, AVX-VNNI), 16 (AVX-512)
//   group   inputs consumed in one step: 1 (scalar), 2 (AVX2), 4 (VNNI)
//
// Weights of a layer: [block of `lanes` outputs][group of inputs][lane][input in the group], int8, zero padded, so a
// step is one broadcast of `group` activations times one register of weights, and no sum ever runs across lanes.
// Scalar: [output][input].
// Bias of a layer: int32[blocks * lanes], with everything that can be added beforehand folded in:
//   VNNI multiplies u8 by i8: activations are stored as x + 128, so bias -= 128 * sum(w);
//   a layer that is shifted: bias += 1 << (shift - 1).
// The load-time bound (128 * sum|w| + |b| + 2^(s-1) < 2^24) keeps all of it far inside int32.
#pragma once

#include <vector>

#include "core/types.h"
#include "policy/policy.h"

namespace peregrine {

struct PackedLayer {
  u32 inputs = 0;
  u32 outputs = 0;
  u32 groups = 0;  // groups of inputs
  u32 blocks = 0;  // blocks of outputs
  i32 floor = 0;   // 0 with relu, -128 without: the lower bound of y
  const i8* weights = nullptr;
  const i32* bias = nullptr;
  const i32* shift = nullptr;  // nullptr in the last layer
};

struct alignas(kCacheLine) PackedLine {
  u8 bytes[kCacheLine];
};

struct PackedPolicy {
  u32 n_inputs = 0;
  u32 n_layers = 0;
  u32 n_actions = 0;
  u32 n_schema = 0;
  PackedLayer layer[kMaxPolicyLayers];
  // Quantiser, padded to a multiple of 16 with m = 0 (a padded input quantises to 0). All in 64-bit lanes, as the product
  // is made: an index picks a feature straight into the lane that multiplies it.
  alignas(kCacheLine) i64 feature_index[kMaxPolicyInputs] = {};
  alignas(kCacheLine) i64 quant_m[kMaxPolicyInputs] = {};
  alignas(kCacheLine) i64 quant_s[kMaxPolicyInputs] = {};
  alignas(kCacheLine) i64 quant_round[kMaxPolicyInputs] = {};
  std::vector<PackedLine> memory;  // everything the layers point to
};

struct KernelShape {
  u32 lanes;
  u32 group;
  bool unsigned_inputs;
};

constexpr KernelShape kernel_shape(KernelKind k) {
  switch (k) {
    case KernelKind::kAvx2: return {8, 2, false};
    case KernelKind::kAvxVnni: return {8, 4, true};
    case KernelKind::kAvx512Vnni: return {16, 4, true};
    default: return {1, 1, false};
  }
}

// Layers of at most this many outputs, and as many inputs, lie in one 512-bit register of bytes: such a network takes the
// kernel that keeps its activations there from the first layer to the last.
inline constexpr u32 kNarrowOutputs = 64;
inline constexpr u32 kNarrowSchema = 32;  // features, so that they are picked out of two registers

// Activations never exceed this; rounded up so that whole registers may be stored and whole groups read.
inline constexpr u32 kMaxActivations = kMaxLayerOutputs;

// Each writes the logits and returns the argmax.
u32 infer_scalar(const PackedPolicy& p, const i32* features, i32* logits);
#if defined(__x86_64__)
u32 infer_avx2(const PackedPolicy& p, const i32* features, i32* logits);
u32 infer_avxvnni(const PackedPolicy& p, const i32* features, i32* logits);
u32 infer_avx512vnni(const PackedPolicy& p, const i32* features, i32* logits);
u32 infer_avx512vnni_narrow(const PackedPolicy& p, const i32* features, i32* logits);
#endif

// Scalar quantiser, shared by the kernels without 64-bit arithmetic shifts.
inline i32 quantise_one(const PackedPolicy& p, const i32* features, u32 i) {
  const i64 v = (static_cast<i64>(features[p.feature_index[i]]) * p.quant_m[i] + p.quant_round[i]) >> p.quant_s[i];
  return static_cast<i32>(v < -128 ? -128 : (v > 127 ? 127 : v));
}

}  // namespace peregrine
