// Policies of many random shapes on every kernel of this machine, against a plain loop written here; and the feature
// engine over random events. Prints a hash of all logits: the same on every architecture (tests/policy compares a run
// for aarch64 with it). Returns nonzero with a message on the first difference.
#include <cstdio>
#include <cstring>
#include <vector>

#include "core/hash.h"
#include "core/rng.h"
#include "policy/policy_set.h"
#include "signal/features.h"

using namespace peregrine;

namespace {

struct Net {
  std::vector<u16> index;
  std::vector<i16> m;
  std::vector<u8> s;
  struct L {
    u32 inputs, outputs;
    std::vector<i8> w;
    std::vector<i32> b;
    std::vector<u8> shift;
    bool relu;
  };
  std::vector<L> layers;
  u32 n_schema;
};

Net random_net(Rng& rng) {
  Net n;
  n.n_schema = static_cast<u32>(rng.between(1, 64));
  const u32 inputs = static_cast<u32>(rng.between(1, 64));
  for (u32 i = 0; i < inputs; ++i) {
    n.index.push_back(static_cast<u16>(rng.below(n.n_schema)));
    n.m.push_back(static_cast<i16>(rng.between(-32768, 32767)));
    n.s.push_back(static_cast<u8>(rng.between(0, 46)));
  }
  const int layers = static_cast<int>(rng.between(1, 6));
  u32 width = inputs;
  for (int l = 0; l < layers; ++l) {
    const bool last = l + 1 == layers;
    const u32 outputs = static_cast<u32>(last ? rng.between(1, 16) : rng.between(1, rng.chance32(1u << 29) ? 256 : 80));
    Net::L layer{width, outputs, {}, {}, {}, !last && rng.chance32(1u << 31)};
    const int scale = static_cast<int>(rng.between(0, 4));
    for (u32 i = 0; i < width * outputs; ++i) layer.w.push_back(static_cast<i8>(rng.between(-128, 127) >> scale));
    for (u32 o = 0; o < outputs; ++o) {
      layer.b.push_back(static_cast<i32>(rng.between(-4000, 4000)));
      if (!last) layer.shift.push_back(static_cast<u8>(rng.between(4, 14)));
    }
    n.layers.push_back(layer);
    width = outputs;
  }
  return n;
}

std::vector<i32> plain(const Net& n, const i32* features) {
  std::vector<i64> x;
  for (std::size_t i = 0; i < n.index.size(); ++i) {
    const i64 half = n.s[i] > 0 ? i64{1} << (n.s[i] - 1) : 0;
    x.push_back(clamp64((i64{features[n.index[i]]} * n.m[i] + half) >> n.s[i], -128, 127));
  }
  for (const Net::L& layer : n.layers) {
    std::vector<i64> y;
    for (u32 o = 0; o < layer.outputs; ++o) {
      i64 acc = layer.b[o];
      for (u32 i = 0; i < layer.inputs; ++i) acc += x[i] * layer.w[o * layer.inputs + i];
      if (!layer.shift.empty()) {
        acc = clamp64((acc + (i64{1} << (layer.shift[o] - 1))) >> layer.shift[o], -128, 127);
        if (layer.relu && acc < 0) acc = 0;
      }
      y.push_back(acc);
    }
    x = y;
  }
  return std::vector<i32>(x.begin(), x.end());
}

bool check_policies(u64& hash) {
  Rng rng(20240607);
  for (int round = 0; round < 60; ++round) {
    const Net n = random_net(rng);
    PolicySpec spec;
    spec.n_inputs = static_cast<u32>(n.index.size());
    spec.feature_index = n.index.data();
    spec.quant_m = n.m.data();
    spec.quant_s = n.s.data();
    spec.n_layers = static_cast<u32>(n.layers.size());
    for (u32 l = 0; l < spec.n_layers; ++l) {
      const Net::L& layer = n.layers[l];
      spec.layer[l] = {layer.inputs,   layer.outputs,   layer.relu,
                       layer.w.data(), layer.b.data(), layer.shift.empty() ? nullptr : layer.shift.data()};
    }
    PolicyContext context;
    context.n_schema_features = n.n_schema;
    context.n_actions = n.layers.back().outputs;
    std::vector<i32> features(n.n_schema);
    for (int row = 0; row < 20; ++row) {
      for (i32& f : features) f = static_cast<i32>(static_cast<i32>(rng.next()) >> rng.below(31));
      const std::vector<i32> expected = plain(n, features.data());
      hash = hash_bytes(hash, expected.data(), expected.size() * 4);
      for (int k = 0; k < kKernelKinds; ++k) {
        const auto kind = static_cast<KernelKind>(k);
        if (!kernel_supported(kind)) continue;
        Policy p;
        const PolicyError e = Policy::load(spec, context, p, kind);
        std::vector<i32> logits(context.n_actions, -1);
        if (e.ok) p.infer(features.data(), logits.data());
        if (!e.ok || logits != expected) {
          std::printf("round %d row %d kernel %s: %s\n", round, row, kernel_name(kind), e.ok ? "differs" : e.message);
          return false;
        }
      }
    }
  }
  return true;
}

void run_features(u64& hash) {
  Rng rng(7);
  FeatureEngine engine(3, FeatureParams{});
  TimeNs now = i64{1} << 60;
  for (int i = 0; i < 20000; ++i) {
    now += static_cast<TimeNs>(rng.below(u64{1} << rng.between(1, 33)));
    Event e;
    e.instrument = static_cast<InstrumentIx>(rng.below(4));  // 3 is unknown
    e.ts_rx_ns = now;
    e.kind = static_cast<EventKind>(rng.below(17));
    e.side = static_cast<Side>(rng.below(2));
    e.flags = static_cast<u16>(rng.below(8));
    e.price_ticks = rng.between(1, 1 << 30);
    e.qty_lots = rng.between(0, INT64_MAX - 1) >> rng.below(63);
    const auto lots = [&rng] { return static_cast<QtyLots>(rng.next() >> (1 + rng.below(62))); };
    BookView book;
    for (int k = 0; k < BookView::kLevels; ++k) {
      book.bid_ticks[k] = 1'000'000 - k * 100 - rng.between(0, 5000);
      book.ask_ticks[k] = 1'000'000 + k * 100 + rng.between(0, 5000);
      book.bid_lots[k] = lots();
      book.ask_lots[k] = lots();
    }
    engine.on_event(e, TopView{book.bid_ticks[0], book.bid_lots[0], book.ask_ticks[0], book.ask_lots[0]});
    i32 out[FeatureEngine::kFeatures];
    const OwnState own{rng.between(-1000, 1000), lots(), lots(), lots(), -1};
    engine.compute(static_cast<InstrumentIx>(rng.below(3)), now, book, own, out);
    hash = hash_bytes(hash, out, sizeof out);
  }
  hash = hash_fold(hash, engine.state_hash());
}

}  // namespace

int main() {
  u64 hash = 0;
  if (!check_policies(hash)) return 1;
  run_features(hash);
  std::printf("policy_asan: ok %016llx\n", static_cast<unsigned long long>(hash));
  return 0;
}
