// A network's own arrays, as the artifact had them. Kernels read a packed copy; a device driver reads this.
#pragma once

#include <vector>

#include "policy/policy.h"

namespace peregrine {

struct PolicySource {
  struct Layer {
    u32 inputs = 0, outputs = 0;
    bool relu = false;
    std::vector<i8> weights;  // [outputs][inputs]
    std::vector<i32> bias;    // [outputs]
    std::vector<u8> shift;    // [outputs]; empty in the last layer
  };
  std::vector<u16> feature_index;  // which feature of the schema each input is
  std::vector<i16> quant_m;
  std::vector<u8> quant_s;
  std::vector<Layer> layer;

  static std::shared_ptr<const PolicySource> of(const PolicySpec& spec) {
    auto source = std::make_shared<PolicySource>();
    source->feature_index.assign(spec.feature_index, spec.feature_index + spec.n_inputs);
    source->quant_m.assign(spec.quant_m, spec.quant_m + spec.n_inputs);
    source->quant_s.assign(spec.quant_s, spec.quant_s + spec.n_inputs);
    for (u32 l = 0; l < spec.n_layers; ++l) {
      const LayerSpec& from = spec.layer[l];
      Layer to{from.inputs, from.outputs, from.relu, {}, {}, {}};
      to.weights.assign(from.weights, from.weights + std::size_t{from.inputs} * from.outputs);
      to.bias.assign(from.bias, from.bias + from.outputs);
      if (from.shift != nullptr) to.shift.assign(from.shift, from.shift + from.outputs);
      source->layer.push_back(std::move(to));
    }
    return source;
  }
};

}  // namespace peregrine
