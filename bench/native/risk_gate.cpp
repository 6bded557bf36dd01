// What does passing every check of the gate cost? Twin: four compares (price, quantity, notional, position).
#include "core/rng.h"
#include "harness.h"
#include "spec.h"

using namespace peregrine;
using namespace peregrine::bench;

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  const Spec s(b.options().spec);
  Gate gate{GateConfig{}};
  if (!gate.set_limits(limits_from(s, kNoInstrument))) fail("limits refused");
  gate.set_authorised(1, true);
  gate.set_journal_healthy(true);
  gate.set_session_ready(true);
  Lease lease;
  lease.epoch = 1;
  lease.notional = gate.account_limits().max_gross;
  lease.qty_lots = gate.account_limits().max_long_lots;
  gate.grant(lease);
  Exposure exposure(64);
  Contract contract;
  contract.multiplier = s.number("instrument.multiplier");
  contract.shift = static_cast<u8>(s.number("instrument.shift"));
  exposure.set_contract(0, contract);
  exposure.mark(0, 999'900, 1'000'100);

  MarketView view;
  view.bid_ticks = 999'900, view.ask_ticks = 1'000'100, view.bid_lots = view.ask_lots = 500;
  view.reference_ticks = 1'000'000, view.quote_ts_ns = 1'000'000'000;
  view.feed_live = view.sound = view.trading = view.market_open = true;
  constexpr u64 kBatch = 256;
  std::vector<OrderRequest> requests(kBatch);
  Rng rng(6);
  for (OrderRequest& r : requests) {
    r.instrument = 0;
    r.side = rng.below(2) == 0 ? Side::kBuy : Side::kSell;
    r.mark = r.side == Side::kSell ? SellMark::kShort : SellMark::kNone;
    r.strategy = 1;
    r.price_ticks = r.side == Side::kBuy ? 999'900 - 100 * static_cast<i64>(rng.below(5)) : 1'000'100;
    r.qty_lots = 100;
  }
  const RiskLimits& l = gate.limits(0);
  for (const OrderRequest& r : requests) {
    const RiskVerdict v = gate.check(r, view, exposure, 1'000'000'500);
    if (!v.pass()) fail(std::string("the gate refuses the bench's order: ") + risk_reason_name(v.reason));
  }
  Figure figure, twin;
  u64 passed = 0, compared = 0;
  b.in_turn(
      kBatch,
      [&] {
        for (const OrderRequest& r : requests) passed += gate.check(r, view, exposure, 1'000'000'500).pass();
        keep(passed);
      },
      [&] {
        for (const OrderRequest& r : requests) {
          keep(r);
          compared += (r.price_ticks <= view.ask_ticks + l.collar_ticks) & (r.qty_lots <= l.max_order_lots) &
                      (r.price_ticks * r.qty_lots <= l.max_order_notional) & (r.qty_lots <= l.max_long_lots);
        }
        keep(compared);
      },
      figure, twin);
  b.report("risk_gate", figure, "four compares", twin, "\"instruments\": 64, \"checks\": " + std::to_string(kRiskReasons - 1));
}
