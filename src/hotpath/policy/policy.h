// One loaded int8 network: quantiser, up to 6 layers of up to 256 outputs, int32 logits. Arithmetic as docs/formats.md:
//
//   quantise   q = sat8((int64(f) * m + (s > 0 ? 1 << (s-1) : 0)) >> s)          m int16, 0 <= s <= 46
//   layer      acc = sum w*x + bias;  y = sat8((acc + (1 << (s-1))) >> s)        1 <= s <= 24 per channel
//              with relu: y = max(y, 0); the last layer gives acc itself
//   argmax     lowest index on ties
//
// Everything is checked at load; infer() then runs without a branch on data, without allocation, on any int32 input.
#pragma once

#include <memory>
#include <vector>

#include "core/sha256.h"
#include "core/types.h"
#include "policy/dispatch.h"

namespace peregrine {

inline constexpr u32 kMaxPolicyInputs = 64;
inline constexpr u32 kMaxPolicyLayers = 6;
inline constexpr u32 kMaxLayerOutputs = 256;
inline constexpr u32 kMaxActions = 16;
inline constexpr u32 kMaxSchemaFeatures = 64;

struct LayerSpec {
  u32 inputs = 0;
  u32 outputs = 0;
  bool relu = false;
  const i8* weights = nullptr;  // [outputs][inputs]
  const i32* bias = nullptr;    // [outputs]
  const u8* shift = nullptr;    // [outputs]; nullptr for the last layer
};

// Views of the caller's arrays; load() copies what it keeps.
struct PolicySpec {
  u32 n_inputs = 0;
  const u16* feature_index = nullptr;  // [n_inputs] which feature of the schema, in the network's input order
  const i16* quant_m = nullptr;        // [n_inputs]
  const u8* quant_s = nullptr;         // [n_inputs]
  u32 n_layers = 0;
  LayerSpec layer[kMaxPolicyLayers];
  Sha256Digest schema_hash{};
  Sha256Digest action_map_hash{};
  Sha256Digest artifact_hash{};  // of the whole file: the policy's name
};

// What the engine that loads it has: the policy must have been made for exactly this.
struct PolicyContext {
  u32 n_schema_features = 0;
  u32 n_actions = 0;
  Sha256Digest schema_hash{};
  Sha256Digest action_map_hash{};
};

struct PolicyError {
  bool ok = true;
  char message[200] = "";  // what was found, where, and what was expected
};

// Layout as the kernels read it; see kernel.h.
struct PackedPolicy;
// The arrays as they were loaded, for a device that packs them its own way; see policy_source.h.
struct PolicySource;

class Policy {
 public:
  Policy();
  ~Policy();
  Policy(Policy&&) noexcept;
  Policy& operator=(Policy&&) noexcept;
  Policy(const Policy&) = delete;
  Policy& operator=(const Policy&) = delete;

  // Checks everything, then packs for `kernel`. On an error `out` is left as it was.
  static PolicyError load(const PolicySpec& spec, const PolicyContext& context, Policy& out,
                          KernelKind kernel = best_kernel());
  // The checks alone.
  static PolicyError check(const PolicySpec& spec, const PolicyContext& context);

  bool loaded() const { return packed_ != nullptr; }
  // features: the schema's int32 numbers; logits: n_actions() numbers.
  void infer(const i32* features, i32* logits) const { (void)fn_(*packed_, features, logits); }
  u32 decide(const i32* features, i32* logits) const { return fn_(*packed_, features, logits); }
  static u32 argmax(const i32* v, u32 n) {
    u32 best = 0;
    for (u32 i = 1; i < n; ++i) best = v[i] > v[best] ? i : best;
    return best;
  }

  u32 n_actions() const { return n_actions_; }
  u32 n_schema_features() const { return n_schema_features_; }
  KernelKind kernel() const { return kernel_; }
  const Sha256Digest& artifact_hash() const { return artifact_hash_; }
  const Sha256Digest& action_map_hash() const { return action_map_hash_; }
  std::size_t memory_bytes() const;
  // What it was loaded from, kept as long as anyone holds it.
  const std::shared_ptr<const PolicySource>& source() const { return source_; }

 private:
  using InferFn = u32 (*)(const PackedPolicy&, const i32*, i32*);
  std::unique_ptr<PackedPolicy> packed_;
  std::shared_ptr<const PolicySource> source_;
  InferFn fn_ = nullptr;
  u32 n_actions_ = 0;
  u32 n_schema_features_ = 0;
  KernelKind kernel_ = KernelKind::kScalar;
  Sha256Digest artifact_hash_{};
  Sha256Digest action_map_hash_{};
};

}  // namespace peregrine
