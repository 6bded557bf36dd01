// What does it cost to follow an event and to compute the 22 features? Twin: five features in double precision from
// the top of the book, with exponential averages in place of exact windows.
#include "harness.h"
#include "itch_stream.h"
#include "market/market.h"
#include "signal/features.h"

using namespace peregrine;
using namespace peregrine::bench;

namespace {

struct DoubleFeatures {
  double mid = 0, flow = 0, variance = 0, rate = 0, imbalance = 0;
  TimeNs last = 0;
  void on(const Event& e, const Top& t) {
    const double dt = static_cast<double>(e.ts_rx_ns - last) * 1e-9;
    last = e.ts_rx_ns;
    const double decay = 1.0 / (1.0 + dt);
    const double m = 0.5 * static_cast<double>(t.bid_ticks + t.ask_ticks);
    const double d = m - mid;
    mid = m;
    const double signed_lots = e.side == Side::kBuy ? static_cast<double>(e.qty_lots) : -static_cast<double>(e.qty_lots);
    flow = flow * decay + signed_lots;
    variance = variance * decay + d * d;
    rate = rate * decay + 1;
    const double both = static_cast<double>(t.bid_lots + t.ask_lots);
    imbalance = both > 0 ? static_cast<double>(t.bid_lots - t.ask_lots) / both : 0;
  }
};

}  // namespace

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  const ItchStream s = ItchStreamMaker(1, 5'000, 3).make(100'000);
  MarketConfig config;
  config.max_instruments = 1;
  config.auto_instruments = true;
  Market market(config);
  FeatureEngine features(1, FeatureParams{});
  DoubleFeatures naive;
  u64 seq = 0;
  TimeNs now = 1'700'000'000'000'000'000;
  Event e;
  for (const Message& m : s.setup) {
    if (market.on_message(s.at(m), ++seq, now += 1000, e) == Market::Outcome::kApplied) features.on_event(e, market);
  }
  // The book stays; the events of a stretch of the stream are applied first, their features measured as a batch.
  constexpr u64 kBatch = 64;
  Event events[kBatch];
  std::size_t at = 0;
  i32 out[FeatureEngine::kFeatures];
  Figure figure, twin;
  const u64 end = b.ticks() + static_cast<u64>(b.options().seconds * static_cast<double>(b.clock().frequency_hz()));
  while (b.ticks() < end) {
    for (u64 i = 0; i < kBatch; ++i) {
      if (at == s.steady.size()) {
        market.begin_snapshot(), market.end_snapshot(), at = 0;
        for (const Message& m : s.setup) market.on_message(s.at(m), ++seq, now, e);
      }
      market.on_message(s.at(s.steady[at++]), ++seq, now += 250'000, events[i]);
    }
    OwnState own;
    own.position_lots = 100;
    const u64 t0 = b.ticks();
    for (u64 i = 0; i < kBatch; ++i) {
      features.on_event(events[i], market);
      features.compute(0, events[i].ts_rx_ns, market, own, out);
      keep(out[0]);
    }
    const u64 t1 = b.ticks();
    for (u64 i = 0; i < kBatch; ++i) {
      naive.on(events[i], market.top(0));
      keep(naive);
    }
    const u64 t2 = b.ticks();
    figure.record(b.ps(t1 - t0), kBatch);
    twin.record(b.ps(t2 - t1), kBatch);
  }
  b.report("features", figure, "5 features in double, top of book", twin,
           "\"symbols\": 1, \"live_orders\": 5000, \"features\": 22, \"event_spacing_ns\": 250000");
}
