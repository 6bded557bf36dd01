// The plain kernel: any machine, one output after the other. The other kernels must give its bits.
#include "policy/kernel.h"

namespace peregrine {

u32 infer_scalar(const PackedPolicy& p, const i32* features, i32* logits) {
  alignas(kCacheLine) i8 a[kMaxActivations];
  alignas(kCacheLine) i8 b[kMaxActivations];
  i8* x = a;
  i8* y = b;
  for (u32 i = 0; i < p.n_inputs; ++i) x[i] = static_cast<i8>(quantise_one(p, features, i));
  for (u32 l = 0; l < p.n_layers; ++l) {
    const PackedLayer& layer = p.layer[l];
    const i8* w = layer.weights;
    for (u32 o = 0; o < layer.outputs; ++o, w += layer.inputs) {
      i32 acc = layer.bias[o];
      for (u32 i = 0; i < layer.inputs; ++i) acc += static_cast<i32>(w[i]) * x[i];
      if (layer.shift == nullptr) {
        logits[o] = acc;
        continue;
      }
      const i32 v = acc >> layer.shift[o];
      y[o] = static_cast<i8>(v < layer.floor ? layer.floor : (v > 127 ? 127 : v));
    }
    i8* t = x;
    x = y;
    y = t;
  }
  return Policy::argmax(logits, p.n_actions);
}

}  // namespace peregrine
