// The engine's kernels as device.h's cpu backend takes them (drivers/include/device_kernel.h): the same Policy, the
// same dispatch. int8 inputs go through a second packing whose quantiser is the identity (m = 1, s = 0).
#include "device_kernel.h"

#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include "policy/policy.h"

namespace peregrine {
namespace {

struct DeviceNetwork {
  Policy of_features;
  Policy of_int8;
  u32 n_inputs = 0;
};

PolicySpec spec_of(const pgd_policy& policy, const u16* index, const i16* m, const u8* s) {
  PolicySpec spec;
  spec.n_inputs = policy.n_inputs;
  spec.feature_index = index;
  spec.quant_m = m;
  spec.quant_s = s;
  spec.n_layers = policy.n_layers;
  for (u32 l = 0; l < policy.n_layers && l < kMaxPolicyLayers; ++l) {
    const pgd_layer& from = policy.layer[l];
    spec.layer[l] = {from.inputs, from.outputs, from.relu != 0, from.weights, from.bias, from.shift};
  }
  return spec;
}

template <KernelKind kind>
void* make(const pgd_policy* policy, pgd_reason* reason) {
  u16 index[kMaxPolicyInputs];
  i16 one[kMaxPolicyInputs];
  const u8 zero[kMaxPolicyInputs] = {};
  for (u32 i = 0; i < kMaxPolicyInputs; ++i) {
    index[i] = static_cast<u16>(i);
    one[i] = 1;
  }
  PolicyContext context;
  context.n_schema_features = policy->n_inputs;
  context.n_actions = policy->layer[policy->n_layers - 1].outputs;
  std::unique_ptr<DeviceNetwork> made = std::make_unique<DeviceNetwork>();
  PolicyError error = Policy::load(spec_of(*policy, index, policy->quant_m, policy->quant_s), context,
                                   made->of_features, kind);
  if (error.ok) error = Policy::load(spec_of(*policy, index, one, zero), context, made->of_int8, kind);
  if (!error.ok) {
    if (reason != nullptr) {
      std::snprintf(reason->found, sizeof reason->found, "%s", error.message);
      reason->hint[0] = 0;
    }
    return nullptr;
  }
  made->n_inputs = policy->n_inputs;
  return made.release();
}

void infer(const void* network, std::uint32_t kind, const void* inputs, std::int32_t* logits) {
  const auto& n = *static_cast<const DeviceNetwork*>(network);
  if (kind == PGD_KIND_FEATURES) {
    n.of_features.infer(static_cast<const i32*>(inputs), logits);
    return;
  }
  i32 wide[kMaxPolicyInputs];
  const i8* from = static_cast<const i8*>(inputs);
  for (u32 i = 0; i < n.n_inputs; ++i) wide[i] = from[i];
  n.of_int8.infer(wide, logits);
}

void release(void* network) { std::default_delete<DeviceNetwork>{}(static_cast<DeviceNetwork*>(network)); }

constexpr pgd_kernel kKernels[kKernelKinds] = {
    {"scalar", make<KernelKind::kScalar>, infer, release},
    {"avx2", make<KernelKind::kAvx2>, infer, release},
    {"avxvnni", make<KernelKind::kAvxVnni>, infer, release},
    {"avx512vnni", make<KernelKind::kAvx512Vnni>, infer, release},
};

}  // namespace
}  // namespace peregrine

extern "C" const pgd_kernel* peregrine_device_kernel(const char* name) {
  using namespace peregrine;
  if (name == nullptr || *name == 0) return &kKernels[static_cast<int>(best_kernel())];
  for (int k = 0; k < kKernelKinds; ++k) {
    if (std::strcmp(kKernels[k].name, name) == 0 && kernel_supported(static_cast<KernelKind>(k))) return &kKernels[k];
  }
  return nullptr;
}
