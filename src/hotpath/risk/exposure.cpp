#include "risk/exposure.h"

#include "core/hash.h"

namespace peregrine {
namespace {

Money magnitude(Money v) { return v < 0 ? -v : v; }

}  // namespace

Exposure::Exposure(u32 max_instruments)
    : max_instruments_(max_instruments),
      items_(std::make_unique<InstrumentExposure[]>(max_instruments)),
      contracts_(std::make_unique<Contract[]>(max_instruments)) {}

void Exposure::set_contract(InstrumentIx ix, Contract c) {
  PRG_ASSERT(ix < max_instruments_ && c.multiplier > 0 && c.shift <= 62);
  const InstrumentExposure& e = items_[ix];
  PRG_ASSERT(e.position_lots == 0 && e.working_orders[0] == 0 && e.working_orders[1] == 0);
  contracts_[ix] = c;
}

// The account's sums are kept by difference: an instrument is taken out, changed, and put back.
void Exposure::begin_change(const InstrumentExposure& e) {
  account_.working_orders -= e.working_orders[0] + e.working_orders[1];
  account_.occupied -= e.occupied() ? 1u : 0u;
  account_.working_notional = sub_sat(account_.working_notional, e.working_notional);
  account_.position_notional = sub_sat(account_.position_notional, magnitude(e.mark_value));
  account_.cost_notional = sub_sat(account_.cost_notional, magnitude(e.cost_basis));
  account_.worst_lots -= e.worst_lots();
  account_.realized = sub_sat(account_.realized, e.realized);
  account_.fees = sub_sat(account_.fees, e.fees);
  account_.unrealized = sub_sat(account_.unrealized, e.unrealized());
}

void Exposure::end_change(const InstrumentExposure& e) {
  account_.working_orders += e.working_orders[0] + e.working_orders[1];
  account_.occupied += e.occupied() ? 1u : 0u;
  account_.working_notional = add_sat(account_.working_notional, e.working_notional);
  account_.position_notional = add_sat(account_.position_notional, magnitude(e.mark_value));
  account_.cost_notional = add_sat(account_.cost_notional, magnitude(e.cost_basis));
  account_.worst_lots += e.worst_lots();
  account_.realized = add_sat(account_.realized, e.realized);
  account_.fees = add_sat(account_.fees, e.fees);
  account_.unrealized = add_sat(account_.unrealized, e.unrealized());
  if (account_.pnl() > account_.pnl_peak) account_.pnl_peak = account_.pnl();
  // A sum that reached the end of the range can no longer be taken apart: it stays counted and the gate shuts.
  for (const Money v : {account_.working_notional, account_.position_notional, account_.cost_notional,
                        account_.realized, account_.fees, account_.unrealized, e.working_notional, e.cost_basis})
    if (v == kMoneyMax || v == -kMoneyMax) ++account_.overflows;
}

// Position at the side we would close at; before any mark it is worth what it cost.
void Exposure::remark(InstrumentIx ix) {
  InstrumentExposure& e = items_[ix];
  if (e.position_lots == 0) {
    e.mark_value = 0;
    return;
  }
  PriceTicks close = e.position_lots > 0 ? e.mark_bid_ticks : e.mark_ask_ticks;
  if (close == 0) close = e.position_lots > 0 ? e.mark_ask_ticks : e.mark_bid_ticks;
  if (close == 0) {
    e.mark_value = e.cost_basis;
    return;
  }
  Money v;
  if (!notional_floor(close, e.position_lots, contracts_[ix], v)) {
    ++account_.overflows;
    v = e.position_lots > 0 ? kMoneyMax : -kMoneyMax;
  }
  e.mark_value = v;
}

void Exposure::set_position(InstrumentIx ix, QtyLots lots, Money cost_basis) {
  InstrumentExposure& e = at(ix);
  begin_change(e);
  e.position_lots = lots;
  e.cost_basis = lots == 0 ? 0 : cost_basis;
  remark(ix);
  end_change(e);
}

void Exposure::move_claim(InstrumentIx ix, Side side, const OrderClaim& before, const OrderClaim& after) {
  if (before == after) return;
  InstrumentExposure& e = at(ix);
  const int s = index(side);
  // While nothing has overflowed every sum is exact: only the three that a claim moves need to be taken apart. Sums
  // this small cannot reach the end of their range with one claim more.
  const auto small = [](Money v) { return v > -kMoneyMax / 4 && v < kMoneyMax / 4; };
  if (account_.overflows == 0 && small(account_.working_notional) && small(e.working_notional) &&
      small(before.notional) && small(after.notional)) [[likely]] {
    const QtyLots worst_before = e.worst_lots();
    const u32 occupied_before = e.occupied() ? 1u : 0u;
    e.open_lots[s] += after.open_lots - before.open_lots;
    e.unknown_lots[s] += after.unknown_lots - before.unknown_lots;
    e.working_notional += after.notional - before.notional;
    const u32 orders = (after.any() ? 1u : 0u) - (before.any() ? 1u : 0u);
    e.working_orders[s] += orders;
    account_.working_orders += orders;
    account_.unknown_orders += (after.unknown_lots != 0 ? 1u : 0u) - (before.unknown_lots != 0 ? 1u : 0u);
    account_.working_notional += after.notional - before.notional;
    account_.worst_lots += e.worst_lots() - worst_before;
    account_.occupied += (e.occupied() ? 1u : 0u) - occupied_before;
    PRG_ASSERT(e.open_lots[s] >= 0 && e.unknown_lots[s] >= 0);
    return;
  }
  begin_change(e);
  e.open_lots[s] += after.open_lots - before.open_lots;
  e.unknown_lots[s] += after.unknown_lots - before.unknown_lots;
  e.working_notional = sub_sat(add_sat(e.working_notional, after.notional), before.notional);
  if (before.any()) --e.working_orders[s];
  if (after.any()) ++e.working_orders[s];
  if (before.unknown_lots != 0) --account_.unknown_orders;
  if (after.unknown_lots != 0) ++account_.unknown_orders;
  PRG_ASSERT(e.open_lots[s] >= 0 && e.unknown_lots[s] >= 0);
  end_change(e);
}

void Exposure::set_own_best(InstrumentIx ix, Side side, PriceTicks ticks) {
  at(ix).own_best_ticks[index(side)] = ticks;
}

void Exposure::trade(InstrumentIx ix, QtyLots signed_lots, PriceTicks price_ticks, Money fee) {
  InstrumentExposure& e = at(ix);
  begin_change(e);
  const QtyLots before = e.position_lots;
  // Cash in (negative: out) for a number of lots at this price, rounded down.
  const auto cash = [&](QtyLots lots) {
    Money v;
    if (notional_floor(price_ticks, -lots, contracts_[ix], v)) return v;
    ++account_.overflows;
    return lots > 0 ? -kMoneyMax : kMoneyMax;
  };
  QtyLots closing = 0;  // signed as signed_lots
  if ((before > 0) != (signed_lots > 0) && before != 0) {
    const QtyLots most = before < 0 ? -before : before;
    const QtyLots want = signed_lots < 0 ? -signed_lots : signed_lots;
    closing = signed_lots < 0 ? -(want < most ? want : most) : (want < most ? want : most);
  }
  if (closing != 0) {
    const QtyLots closed = closing < 0 ? -closing : closing;
    const QtyLots held = before < 0 ? -before : before;
    // ceil(cost * closed / held): what the closed part cost, rounded against us.
    const Money released =
        static_cast<Money>(-floor_div128(-static_cast<i128>(e.cost_basis) * closed, static_cast<i128>(held)));
    e.realized = add_sat(e.realized, sub_sat(cash(closing), released));
    e.cost_basis = sub_sat(e.cost_basis, released);
  }
  const QtyLots opening = signed_lots - closing;
  if (opening != 0) e.cost_basis = sub_sat(e.cost_basis, cash(opening));
  e.position_lots = before + signed_lots;
  if (e.position_lots == 0) {  // nothing open, nothing cost: a leftover unit of rounding is realized
    e.realized = sub_sat(e.realized, e.cost_basis);
    e.cost_basis = 0;
  }
  e.fees = add_sat(e.fees, fee);
  remark(ix);
  end_change(e);
}

void Exposure::apply_fill(InstrumentIx ix, Side side, QtyLots lots, PriceTicks price_ticks, Money fee) {
  PRG_ASSERT(lots >= 0);
  trade(ix, side == Side::kBuy ? lots : -lots, price_ticks, fee);
  ++items_[ix].fills;
  items_[ix].traded_lots += static_cast<u64>(lots);
}

void Exposure::revert_fill(InstrumentIx ix, Side side, QtyLots lots, PriceTicks price_ticks, Money fee) {
  PRG_ASSERT(lots >= 0);
  trade(ix, side == Side::kBuy ? -lots : lots, price_ticks, -fee);
}

void Exposure::mark(InstrumentIx ix, PriceTicks bid_ticks, PriceTicks ask_ticks) {
  InstrumentExposure& e = at(ix);
  const PriceTicks bid = bid_ticks > 0 ? bid_ticks : e.mark_bid_ticks;
  const PriceTicks ask = ask_ticks > 0 ? ask_ticks : e.mark_ask_ticks;
  if (bid == e.mark_bid_ticks && ask == e.mark_ask_ticks) return;
  if (e.position_lots == 0) {
    e.mark_bid_ticks = bid;
    e.mark_ask_ticks = ask;
    return;
  }
  if (account_.overflows == 0) [[likely]] {  // every sum is exact: only what a mark moves is taken out and put back
    account_.position_notional = sub_sat(account_.position_notional, magnitude(e.mark_value));
    account_.unrealized = sub_sat(account_.unrealized, e.unrealized());
    e.mark_bid_ticks = bid;
    e.mark_ask_ticks = ask;
    remark(ix);
    account_.position_notional = add_sat(account_.position_notional, magnitude(e.mark_value));
    account_.unrealized = add_sat(account_.unrealized, e.unrealized());
    if (account_.pnl() > account_.pnl_peak) account_.pnl_peak = account_.pnl();
    for (const Money v : {account_.position_notional, account_.unrealized})
      if (v == kMoneyMax || v == -kMoneyMax) ++account_.overflows;
    return;
  }
  begin_change(e);
  e.mark_bid_ticks = bid;
  e.mark_ask_ticks = ask;
  remark(ix);
  end_change(e);
}

void Exposure::reset_peak() { account_.pnl_peak = account_.pnl(); }

u64 Exposure::state_hash(u64 h) const {
  const auto fold = [&h](auto v) { h = hash_fold(h, static_cast<u64>(v)); };
  for (u32 i = 0; i < max_instruments_; ++i) {
    const InstrumentExposure& e = items_[i];
    fold(e.position_lots);
    for (int s = 0; s < 2; ++s)
      fold(e.open_lots[s]), fold(e.unknown_lots[s]), fold(e.working_orders[s]), fold(e.own_best_ticks[s]);
    fold(e.working_notional), fold(e.cost_basis), fold(e.realized), fold(e.fees), fold(e.mark_value), fold(e.fills);
  }
  fold(account_.working_orders), fold(account_.unknown_orders), fold(account_.worst_lots), fold(account_.pnl_peak);
  return hash_fold(h, static_cast<u64>(account_.gross()));
}

}  // namespace peregrine
