// What a policy artifact becomes before it is loaded: any sizes and numbers, in arrays of exactly the size they claim.
// Refused with a message, or loaded; then every kernel of this machine gives the logits that plain 64-bit loops give,
// on any features, and nothing leaves 32 bits.
#include "fuzz.h"
#include "policy/policy.h"

using namespace peregrine;

namespace {

template <class T>
std::unique_ptr<T[]> array(fuzz::Input& in, std::size_t n) {
  auto a = std::make_unique<T[]>(n);
  const Bytes b = in.take(n * sizeof(T));
  if (!b.empty()) std::memcpy(a.get(), b.data(), b.size());
  return a;
}

// A size that is mostly small and sometimes anything.
u32 sized(fuzz::Input& in, u32 small) {
  const u8 b = in.byte();
  return b >= 0xF8 ? in.u32be() : b % small;
}

std::vector<i64> plain(const PolicySpec& s, const i32* features) {
  std::vector<i64> x;
  for (u32 i = 0; i < s.n_inputs; ++i) {
    const i64 half = s.quant_s[i] > 0 ? i64{1} << (s.quant_s[i] - 1) : 0;
    x.push_back(clamp64((i64{features[s.feature_index[i]]} * s.quant_m[i] + half) >> s.quant_s[i], -128, 127));
  }
  for (u32 l = 0; l < s.n_layers; ++l) {
    const LayerSpec& layer = s.layer[l];
    std::vector<i64> y;
    for (u32 o = 0; o < layer.outputs; ++o) {
      i64 acc = layer.bias[o];
      for (u32 i = 0; i < layer.inputs; ++i) acc += x[i] * layer.weights[std::size_t{o} * layer.inputs + i];
      FUZZ_CHECK(acc > -(1 << 24) && acc < 1 << 24);
      if (layer.shift != nullptr) {
        acc = clamp64((acc + (i64{1} << (layer.shift[o] - 1))) >> layer.shift[o], -128, 127);
        if (layer.relu && acc < 0) acc = 0;
      }
      y.push_back(acc);
    }
    x = y;
  }
  return x;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  fuzz::Input in(data, size);
  PolicyContext context;
  context.n_schema_features = 1 + in.byte() % kMaxSchemaFeatures;
  context.n_actions = 1 + in.byte() % 20;
  PolicySpec spec;
  const u8 hashes = in.byte();
  if (hashes == 1) spec.schema_hash.bytes[hashes % 32] = 1;
  if (hashes == 2) spec.action_map_hash.bytes[31] = 1;
  // An array never claims more than it has: sizes beyond these are for the checks to refuse before they look.
  constexpr u32 kHeld = 300;
  spec.n_inputs = sized(in, 20);
  const u32 held_inputs = spec.n_inputs <= kHeld ? spec.n_inputs : kHeld;
  const auto feature_index = array<u16>(in, held_inputs);
  const auto quant_m = array<i16>(in, held_inputs);
  const auto quant_s = array<u8>(in, held_inputs);
  if (hashes & 4)
    for (u32 i = 0; i < held_inputs; ++i) {
      feature_index[i] = static_cast<u16>(feature_index[i] % context.n_schema_features);
      quant_s[i] %= 47;
    }
  spec.feature_index = feature_index.get();
  spec.quant_m = quant_m.get();
  spec.quant_s = quant_s.get();
  spec.n_layers = sized(in, 8);
  std::unique_ptr<i8[]> weights[kMaxPolicyLayers];
  std::unique_ptr<i32[]> bias[kMaxPolicyLayers];
  std::unique_ptr<u8[]> shift[kMaxPolicyLayers];
  u32 width = spec.n_inputs;
  for (u32 l = 0; l < spec.n_layers && l < kMaxPolicyLayers; ++l) {
    const bool last = l + 1 == spec.n_layers;
    const u8 how = in.byte();
    LayerSpec& layer = spec.layer[l];
    layer.inputs = how & 1 ? sized(in, 20) : width;
    layer.outputs = last && !(how & 2) ? context.n_actions : sized(in, how & 4 ? 255 : 24);
    layer.relu = last ? (how & 0x60) == 0x60 : (how & 32) != 0;
    const u32 i = layer.inputs <= kHeld ? layer.inputs : kHeld, o = layer.outputs <= kHeld ? layer.outputs : kHeld;
    weights[l] = array<i8>(in, std::size_t{i} * o);
    bias[l] = array<i32>(in, o);
    shift[l] = array<u8>(in, o);
    if (how & 8) {
      for (u32 k = 0; k < o; ++k) bias[l][k] >>= 12;
      for (u32 k = 0; k < o; ++k) shift[l][k] = static_cast<u8>(1 + shift[l][k] % 24);
    }
    layer.weights = weights[l].get();
    layer.bias = bias[l].get();
    layer.shift = last != ((how & 0x90) == 0x90) ? nullptr : shift[l].get();
    width = layer.outputs;
  }
  const PolicyError checked = Policy::check(spec, context);
  FUZZ_CHECK(checked.ok == (checked.message[0] == 0));
  std::vector<i32> features(context.n_schema_features);
  for (i32& f : features) f = static_cast<i32>(in.u32be()) >> (in.byte() & 31);
  for (int k = 0; k < kKernelKinds; ++k) {
    const auto kind = static_cast<KernelKind>(k);
    if (!kernel_supported(kind)) continue;
    Policy p;
    const PolicyError loaded = Policy::load(spec, context, p, kind);
    FUZZ_CHECK(loaded.ok == checked.ok && p.loaded() == checked.ok);
    if (!loaded.ok) continue;
    const std::vector<i64> want = plain(spec, features.data());
    std::vector<i32> logits(context.n_actions, -1);
    p.infer(features.data(), logits.data());
    FUZZ_CHECK(want.size() == logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) FUZZ_CHECK(want[i] == logits[i]);
  }
  return 0;
}
