// What a shard owns and what it may still come to own: positions, open and unknown orders, money.
//
// Worst case of a side = position + every lot of that side that is open or unknown (an order whose fate the
// venue has not told us). During a replace an order claims the larger of its old and its new quantity and notional.
// Unknown is never flat. Execution updates this; the gate only reads it.
//
// P&L is average cost, in integers: cost_basis is what the open position cost (negative for a short: what it
// brought in); a fill that reduces the position releases cost_basis * closed / |position|, rounded up, and books
// proceeds - released as realized. Rounding therefore only moves a unit between realized and unrealized.
#pragma once

#include <memory>

#include "core/assert.h"
#include "core/types.h"
#include "risk/money.h"

namespace peregrine {

// What one order claims of the limits. All zero = nothing (the order is done).
struct OrderClaim {
  QtyLots open_lots = 0;     // the venue has acknowledged these
  QtyLots unknown_lots = 0;  // sent, or perhaps sent; no answer yet
  Money notional = 0;        // of both, at the order's own limit price, rounded up
  bool operator==(const OrderClaim&) const = default;
  bool any() const { return open_lots != 0 || unknown_lots != 0; }
};

struct InstrumentExposure {
  QtyLots position_lots = 0;          // signed; start-of-day position included
  QtyLots open_lots[2] = {0, 0};      // by side: acknowledged and working
  QtyLots unknown_lots[2] = {0, 0};   // by side: sent, unanswered
  u32 working_orders[2] = {0, 0};     // by side: orders with a claim
  Money working_notional = 0;         // both sides
  PriceTicks own_best_ticks[2] = {0, 0};  // best price of our own working orders by side; valid when working_orders > 0
  Money cost_basis = 0;
  Money realized = 0;                 // before fees
  Money fees = 0;                     // paid is positive
  PriceTicks mark_bid_ticks = 0;      // last good bid and ask, 0 = never seen
  PriceTicks mark_ask_ticks = 0;
  Money mark_value = 0;               // position at the side we would close at, rounded down
  u64 fills = 0;
  u64 traded_lots = 0;

  QtyLots worst_long_lots() const { return position_lots + open_lots[0] + unknown_lots[0]; }
  QtyLots worst_short_lots() const { return -position_lots + open_lots[1] + unknown_lots[1]; }
  // The larger of both worst cases, never negative.
  QtyLots worst_lots() const {
    const QtyLots l = worst_long_lots(), s = worst_short_lots();
    const QtyLots m = l > s ? l : s;
    return m > 0 ? m : 0;
  }
  Money unrealized() const { return sub_sat(mark_value, cost_basis); }
  // A position, or an order that works or whose fate is unknown.
  bool occupied() const { return position_lots != 0 || (working_orders[0] | working_orders[1]) != 0; }
};

struct AccountExposure {
  u32 working_orders = 0;
  u32 unknown_orders = 0;        // orders with unknown lots
  u32 occupied = 0;              // instruments that are
  u32 zero = 0;
  Money working_notional = 0;
  Money position_notional = 0;   // sum over instruments of |mark_value|
  Money cost_notional = 0;       // sum over instruments of |cost_basis|
  QtyLots worst_lots = 0;        // sum over instruments of worst_lots()
  Money realized = 0;
  Money fees = 0;
  Money unrealized = 0;
  Money pnl_peak = 0;            // highest pnl() seen, at least 0
  u64 overflows = 0;             // products that did not fit; the totals are then saturated

  // If every working order filled at its limit: positions at the mark plus orders.
  Money gross() const { return add_sat(position_notional, working_notional); }
  // Capital tied up: cost of positions (longs and shorts alike), working orders, and net loss so far.
  Money credit_used() const {
    const Money net = sub_sat(realized, fees);
    return add_sat(add_sat(cost_notional, working_notional), net < 0 ? -net : 0);
  }
  Money pnl() const { return sub_sat(add_sat(realized, unrealized), fees); }
  Money loss() const { return pnl() < 0 ? -pnl() : 0; }
  Money drawdown() const { return sub_sat(pnl_peak, pnl()); }
};

class Exposure {
 public:
  explicit Exposure(u32 max_instruments);

  u32 instruments() const { return max_instruments_; }
  const InstrumentExposure& of(InstrumentIx ix) const {
    PRG_ASSERT(ix < max_instruments_);
    return items_[ix];
  }
  const AccountExposure& account() const { return account_; }
  const Contract& contract(InstrumentIx ix) const {
    PRG_ASSERT(ix < max_instruments_);
    return contracts_[ix];
  }
  void set_contract(InstrumentIx ix, Contract c);  // before any position or order

  // Start-of-day or corrected position: replaces position and cost basis; realized and fees stay.
  void set_position(InstrumentIx ix, QtyLots lots, Money cost_basis);

  // An order's claim changes from `before` to `after` (either may be empty).
  void move_claim(InstrumentIx ix, Side side, const OrderClaim& before, const OrderClaim& after);
  // Best price of our own working orders; 0 = none.
  void set_own_best(InstrumentIx ix, Side side, PriceTicks ticks);

  // A fill of `lots` > 0. fee is paid when positive, earned when negative.
  void apply_fill(InstrumentIx ix, Side side, QtyLots lots, PriceTicks price_ticks, Money fee);
  // Takes a fill back (broken trade): position, cash and fee move the other way.
  void revert_fill(InstrumentIx ix, Side side, QtyLots lots, PriceTicks price_ticks, Money fee);

  // A sound top of book. A side given as 0 keeps its last good price. Marks position, P&L and peak.
  void mark(InstrumentIx ix, PriceTicks bid_ticks, PriceTicks ask_ticks);
  // The drawdown is measured from here again (a journaled command).
  void reset_peak();

  u64 state_hash(u64 h) const;
  template <class A>
  void archive(A& a) {
    a.pool(items_.get(), max_instruments_);
    a.pool(contracts_.get(), max_instruments_);
    a(account_);
    static_assert(sizeof(Exposure) == 24 + sizeof(AccountExposure), "a member came or went: is it listed above?");
  }

 private:
  InstrumentExposure& at(InstrumentIx ix) {
    PRG_ASSERT(ix < max_instruments_);
    return items_[ix];
  }
  void trade(InstrumentIx ix, QtyLots signed_lots, PriceTicks price_ticks, Money fee);
  void remark(InstrumentIx ix);
  void begin_change(const InstrumentExposure& e);  // takes the instrument out of the account's sums
  void end_change(const InstrumentExposure& e);    // puts it back

  u32 max_instruments_;
  std::unique_ptr<InstrumentExposure[]> items_;
  std::unique_ptr<Contract[]> contracts_;
  AccountExposure account_;
};

}  // namespace peregrine
