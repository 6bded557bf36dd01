// What does one decision of a 16-64-32-32-5 network cost, quantiser and argmax included? Its shape is known only at run
// time; each decision picks the next one's features, so that nothing of two decisions overlaps. Twin: the same network
// with its shape known to the compiler, plain loops, same compiler flags; and the same loops compiled for this CPU at
// -O3. What others' runtimes take stands in the same row (bench/twins.py).
#include "core/rng.h"
#include "harness.h"
#include "spec.h"

using namespace peregrine;
using namespace peregrine::bench;

namespace {

i32 sat8(i64 v) { return static_cast<i32>(v < -128 ? -128 : v > 127 ? 127 : v); }

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define PRG_BEST __attribute__((optimize("O3"), target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")))
#endif

#define PRG_PLAIN_INLINE inline __attribute__((always_inline))

template <int In, int Out>
PRG_PLAIN_INLINE void layer(const LayerSpec& l, const i8* x, i32* acc) {
  const i8* __restrict w = l.weights;
  const i32* __restrict bias = l.bias;
  for (int o = 0; o < Out; ++o) {
    i32 sum = bias[o];
    for (int i = 0; i < In; ++i) sum += i32{w[o * In + i]} * i32{x[i]};
    acc[o] = sum;
  }
}

template <int In, int Out>
PRG_PLAIN_INLINE void hidden(const LayerSpec& l, const i8* x, i8* y) {
  i32 acc[Out];
  layer<In, Out>(l, x, acc);
  for (int o = 0; o < Out; ++o) {
    const i32 v = sat8((i64{acc[o]} + (i64{1} << (l.shift[o] - 1))) >> l.shift[o]);
    y[o] = static_cast<i8>(l.relu && v < 0 ? 0 : v);
  }
}

PRG_PLAIN_INLINE void plain_network(const PolicySpec& p, const i32* features, i32* logits) {
  i8 x[16], a[64], b[32], c[32];
  for (int i = 0; i < 16; ++i) {
    const u8 s = p.quant_s[i];
    x[i] = static_cast<i8>(sat8((i64{features[p.feature_index[i]]} * p.quant_m[i] + (s > 0 ? i64{1} << (s - 1) : 0)) >> s));
  }
  hidden<16, 64>(p.layer[0], x, a);
  hidden<64, 32>(p.layer[1], a, b);
  hidden<32, 32>(p.layer[2], b, c);
  layer<32, 5>(p.layer[3], c, logits);
}

__attribute__((noinline)) void plain(const PolicySpec& p, const i32* features, i32* logits) {
  plain_network(p, features, logits);
}
#ifdef PRG_BEST
PRG_BEST __attribute__((noinline)) void plain_best(const PolicySpec& p, const i32* features, i32* logits) {
  plain_network(p, features, logits);
}
#endif

}  // namespace

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  const Spec s(b.options().spec);
  Network n;
  load_network(s, "wide", n);
  Policy policy;
  const PolicyError error = Policy::load(n.spec, n.context, policy);
  if (!error.ok) fail(error.message);

  constexpr u64 kRows = 256;
  std::vector<i32> rows(kRows * FeatureEngine::kFeatures);
  Rng rng(5);
  for (i32& v : rows) v = static_cast<i32>(rng.next() >> (32 + rng.below(31)));
  i32 logits[kMaxActions], expected[kMaxActions];
  for (u64 r = 0; r < kRows; ++r) {
    policy.infer(&rows[r * FeatureEngine::kFeatures], logits);
    plain(n.spec, &rows[r * FeatureEngine::kFeatures], expected);
    if (std::memcmp(logits, expected, 5 * sizeof(i32)) != 0) fail("kernel and plain loops disagree");
  }
  // The row decided on next follows from the action: a chain, as one market event after the other is.
  const auto chain = [&](auto&& decide) {
    return [&rows, decide] {
      u32 at = 0;
      for (u64 r = 0; r < kRows; ++r) at = (at + 1 + decide(&rows[at * FeatureEngine::kFeatures])) % kRows;
      keep(at);
    };
  };
  const auto ours = chain([&](const i32* f) { return policy.decide(f, logits); });
  const auto naive = chain([&](const i32* f) {
    plain(n.spec, f, expected);
    return Policy::argmax(expected, 5);
  });
  Figure figure, twin;
  Twins twins;
#ifdef PRG_BEST
  if (policy.kernel() == KernelKind::kAvx512Vnni) {
    Figure again, best;
    b.in_turn(
        kRows, ours,
        chain([&](const i32* f) {
          plain_best(n.spec, f, expected);
          return Policy::argmax(expected, 5);
        }),
        again, best);
    twins.add("the same loops at -O3 for this CPU", best);
  } else {
    twins.skip("the same loops at -O3 for this CPU: compiled for AVX-512 VNNI, which is not here");
  }
#else
  twins.skip("the same loops at -O3 for this CPU: x86-64 and gcc only");
#endif
  b.in_turn(kRows, ours, naive, figure, twin);
  b.report("policy_inference", figure, "plain C++ loops of the same shape", twin,
           std::string("\"network\": \"16-64-32-32-5\", \"kernel\": \"") + kernel_name(policy.kernel()) +
               "\", \"bytes\": " + std::to_string(policy.memory_bytes()),
           twins);
}
