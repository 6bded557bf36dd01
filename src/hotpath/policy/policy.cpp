#include "policy/policy.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "core/assert.h"
#include "policy/kernel.h"
#include "policy/policy_source.h"

namespace peregrine {
namespace {

constexpr i64 kAccumulatorBound = 1 << 24;

__attribute__((format(printf, 1, 2))) PolicyError refuse(const char* format, ...) {
  PolicyError e;
  e.ok = false;
  va_list args;
  va_start(args, format);
  std::vsnprintf(e.message, sizeof e.message, format, args);
  va_end(args);
  return e;
}

PolicyError refuse_hash(const char* what, const Sha256Digest& found, const Sha256Digest& expected) {
  char f[65];
  char x[65];
  sha256_hex(found.bytes, f);
  sha256_hex(expected.bytes, x);
  return refuse("%s: found %.16s..., expected %.16s... (the policy was made for another one)", what, f, x);
}

PolicyError check_quantiser(const PolicySpec& spec, u32 n_schema) {
  if (spec.n_inputs < 1 || spec.n_inputs > kMaxPolicyInputs) {
    return refuse("inputs: found %u, expected 1..%u", spec.n_inputs, kMaxPolicyInputs);
  }
  for (u32 i = 0; i < spec.n_inputs; ++i) {
    if (spec.feature_index[i] >= n_schema) {
      return refuse("feature_index[%u]: found %u, expected below %u", i, spec.feature_index[i], n_schema);
    }
    if (spec.quant_s[i] > 46) return refuse("quant_s[%u]: found %u, expected 0..46", i, spec.quant_s[i]);
  }
  return {};
}

PolicyError check_layer(const LayerSpec& layer, u32 l, bool last) {
  for (u32 o = 0; o < layer.outputs; ++o) {
    const i8* w = layer.weights + std::size_t{o} * layer.inputs;
    i64 magnitude = 0;
    for (u32 i = 0; i < layer.inputs; ++i) magnitude += w[i] < 0 ? -i64{w[i]} : i64{w[i]};
    const i64 bias = layer.bias[o] < 0 ? -i64{layer.bias[o]} : i64{layer.bias[o]};
    i64 round = 0;
    if (!last) {
      if (layer.shift[o] < 1 || layer.shift[o] > 24) {
        return refuse("layer %u shift[%u]: found %u, expected 1..24", l, o, layer.shift[o]);
      }
      round = i64{1} << (layer.shift[o] - 1);
    }
    const i64 bound = 128 * magnitude + bias + round;
    if (bound >= kAccumulatorBound) {
      return refuse("layer %u channel %u: 128*sum|w| + |b| + rounding = %lld, expected below 2^24 = %lld", l, o,
                    static_cast<long long>(bound), static_cast<long long>(kAccumulatorBound));
    }
  }
  return {};
}

std::size_t lines(std::size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine; }

// Bias as the kernel adds it: correction of unsigned activations and half of the last bit folded in.
i32 folded_bias(const LayerSpec& layer, u32 o, bool unsigned_inputs) {
  i32 b = layer.bias[o];
  if (layer.shift != nullptr) b += 1 << (layer.shift[o] - 1);
  if (unsigned_inputs) {
    const i8* w = layer.weights + std::size_t{o} * layer.inputs;
    for (u32 i = 0; i < layer.inputs; ++i) b -= 128 * w[i];
  }
  return b;
}

void pack_weights(const LayerSpec& layer, const PackedLayer& packed, KernelShape shape, i8* out) {
  if (shape.lanes == 1) {
    std::memcpy(out, layer.weights, std::size_t{layer.inputs} * layer.outputs);
    return;
  }
  for (u32 o = 0; o < layer.outputs; ++o) {
    for (u32 i = 0; i < layer.inputs; ++i) {
      const u32 block = o / shape.lanes;
      const u32 group = i / shape.group;
      const std::size_t at = ((std::size_t{block} * packed.groups + group) * shape.lanes + o % shape.lanes) * shape.group;
      out[at + i % shape.group] = layer.weights[std::size_t{o} * layer.inputs + i];
    }
  }
}

void pack(const PolicySpec& spec, u32 n_schema, KernelKind kernel, PackedPolicy& p) {
  const KernelShape shape = kernel_shape(kernel);
  p.n_inputs = spec.n_inputs;
  p.n_layers = spec.n_layers;
  p.n_schema = n_schema;
  p.n_actions = spec.layer[spec.n_layers - 1].outputs;
  for (u32 i = 0; i < spec.n_inputs; ++i) {
    p.feature_index[i] = spec.feature_index[i];
    p.quant_m[i] = spec.quant_m[i];
    p.quant_s[i] = spec.quant_s[i];
    p.quant_round[i] = spec.quant_s[i] > 0 ? i64{1} << (spec.quant_s[i] - 1) : 0;
  }

  std::size_t total = 0;
  for (u32 l = 0; l < spec.n_layers; ++l) {
    const LayerSpec& layer = spec.layer[l];
    PackedLayer& out = p.layer[l];
    out.inputs = layer.inputs;
    out.outputs = layer.outputs;
    out.groups = (layer.inputs + shape.group - 1) / shape.group;
    out.blocks = (layer.outputs + shape.lanes - 1) / shape.lanes;
    out.floor = layer.relu ? 0 : -128;
    total += lines(std::size_t{out.blocks} * shape.lanes * out.groups * shape.group);
    total += 2 * lines(std::size_t{out.blocks} * shape.lanes * 4);
  }
  p.memory.assign(total, PackedLine{});

  std::size_t at = 0;
  for (u32 l = 0; l < spec.n_layers; ++l) {
    const LayerSpec& layer = spec.layer[l];
    PackedLayer& out = p.layer[l];
    const std::size_t lanes = std::size_t{out.blocks} * shape.lanes;
    i8* weights = reinterpret_cast<i8*>(p.memory.data() + at);
    at += lines(lanes * out.groups * shape.group);
    i32* bias = reinterpret_cast<i32*>(p.memory.data() + at);
    at += lines(lanes * 4);
    i32* shift = reinterpret_cast<i32*>(p.memory.data() + at);
    at += lines(lanes * 4);
    pack_weights(layer, out, shape, weights);
    for (u32 o = 0; o < layer.outputs; ++o) {
      bias[o] = folded_bias(layer, o, shape.unsigned_inputs);
      if (layer.shift != nullptr) shift[o] = layer.shift[o];
    }
    out.weights = weights;
    out.bias = bias;
    out.shift = layer.shift != nullptr ? shift : nullptr;
  }
  PRG_ASSERT(at == total);
}

[[maybe_unused]] bool is_narrow(const PolicySpec& spec, u32 n_schema) {
  bool narrow = n_schema <= kNarrowSchema;
  for (u32 l = 0; l < spec.n_layers; ++l) narrow &= spec.layer[l].outputs <= kNarrowOutputs;
  return narrow;
}

}  // namespace

Policy::Policy() = default;
Policy::~Policy() = default;
Policy::Policy(Policy&&) noexcept = default;
Policy& Policy::operator=(Policy&&) noexcept = default;

PolicyError Policy::check(const PolicySpec& spec, const PolicyContext& context) {
  PRG_ASSERT(context.n_schema_features >= 1 && context.n_schema_features <= kMaxSchemaFeatures);
  if (!(spec.schema_hash == context.schema_hash)) {
    return refuse_hash("schema hash", spec.schema_hash, context.schema_hash);
  }
  if (!(spec.action_map_hash == context.action_map_hash)) {
    return refuse_hash("action-map hash", spec.action_map_hash, context.action_map_hash);
  }
  if (const PolicyError e = check_quantiser(spec, context.n_schema_features); !e.ok) return e;
  if (spec.n_layers < 1 || spec.n_layers > kMaxPolicyLayers) {
    return refuse("layers: found %u, expected 1..%u", spec.n_layers, kMaxPolicyLayers);
  }
  u32 inputs = spec.n_inputs;
  for (u32 l = 0; l < spec.n_layers; ++l) {
    const LayerSpec& layer = spec.layer[l];
    const bool last = l + 1 == spec.n_layers;
    if (layer.inputs != inputs) {
      return refuse("layer %u inputs: found %u, expected %u (what comes before it)", l, layer.inputs, inputs);
    }
    if (layer.outputs < 1 || layer.outputs > kMaxLayerOutputs) {
      return refuse("layer %u outputs: found %u, expected 1..%u", l, layer.outputs, kMaxLayerOutputs);
    }
    if (last && layer.outputs != context.n_actions) {
      return refuse("layer %u (last) outputs: found %u, expected %u actions", l, layer.outputs, context.n_actions);
    }
    if (last && layer.relu) return refuse("layer %u (last): found relu, expected none: it gives logits", l);
    if (last != (layer.shift == nullptr)) {
      return refuse(last ? "layer %u (last): found shifts, expected none: it gives int32 logits"
                         : "layer %u: found no shifts, expected one a channel", l);
    }
    if (const PolicyError e = check_layer(layer, l, last); !e.ok) return e;
    inputs = layer.outputs;
  }
  if (context.n_actions > kMaxActions) return refuse("actions: found %u, expected 1..%u", context.n_actions, kMaxActions);
  return {};
}

PolicyError Policy::load(const PolicySpec& spec, const PolicyContext& context, Policy& out, KernelKind kernel) {
  if (const PolicyError e = check(spec, context); !e.ok) return e;
  if (!kernel_supported(kernel)) return refuse("kernel %s: this CPU does not run it", kernel_name(kernel));
  Policy p;
  p.packed_ = std::make_unique<PackedPolicy>();
  pack(spec, context.n_schema_features, kernel, *p.packed_);
  p.fn_ = infer_scalar;
#if defined(__x86_64__)
  if (kernel == KernelKind::kAvx2) p.fn_ = infer_avx2;
  if (kernel == KernelKind::kAvxVnni) p.fn_ = infer_avxvnni;
  if (kernel == KernelKind::kAvx512Vnni) p.fn_ = is_narrow(spec, context.n_schema_features) ? infer_avx512vnni_narrow : infer_avx512vnni;
#endif
  p.n_actions_ = p.packed_->n_actions;
  p.n_schema_features_ = context.n_schema_features;
  p.kernel_ = kernel;
  p.artifact_hash_ = spec.artifact_hash;
  p.action_map_hash_ = spec.action_map_hash;
  p.source_ = PolicySource::of(spec);
  out = std::move(p);
  return {};
}

std::size_t Policy::memory_bytes() const {
  return packed_ == nullptr ? 0 : sizeof(PackedPolicy) + packed_->memory.size() * sizeof(PackedLine);
}

}  // namespace peregrine
