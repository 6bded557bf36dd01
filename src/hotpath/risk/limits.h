// The limits of one scope: the body of a kLimits command, little-endian.
//
//   0         4            8              16           24               32
//   +---------+------------+--------------+------------+----------------+
//   | version | instrument | collar_ticks | collar_bps | max_order_lots | …
//   +---------+------------+--------------+------------+----------------+
//   per instrument, 8 bytes each from offset 8; account-wide, 8 bytes each from offset 128; 256 bytes in all
//
// instrument = 0xFFFFFFFF: the account's limits, and the default of every instrument without limits of its own.
// Otherwise only the per-instrument part counts. A limit is the largest value that passes; 0 passes nothing (there
// is no value for "unlimited"), but for max_positions and soft_positions: there 0 is "no such limit", as in journals
// of before they existed. A negative limit makes the whole struct invalid.
#pragma once

#include <type_traits>

#include "core/types.h"
#include "risk/money.h"

namespace peregrine {

inline constexpr u32 kRiskLimitsVersion = 1;

struct RiskLimits {
  u32 version = kRiskLimitsVersion;
  InstrumentIx instrument = kNoInstrument;
  // Per instrument.
  i64 collar_ticks = 0;            // how far past the opposite touch, the smaller of this …
  i64 collar_bps = 0;              // … and this share (1/10,000) of the reference
  QtyLots max_order_lots = 0;
  Money max_order_notional = 0;
  i64 max_working_orders = 0;
  Money max_working_notional = 0;
  QtyLots max_long_lots = 0;       // worst case
  QtyLots max_short_lots = 0;      // worst case, as a positive number
  i64 max_executions = 0;          // of one side within …
  TimeNs execution_window_ns = 0;
  TimeNs duplicate_window_ns = 0;  // the same side, price and quantity again within this is a duplicate
  TimeNs max_quote_age_ns = 0;
  i64 zero_instrument[3] = {0, 0, 0};
  // Account-wide.
  i64 max_account_orders = 0;
  Money max_account_notional = 0;  // of working orders
  Money max_gross = 0;
  Money max_credit = 0;
  Money max_loss = 0;
  Money max_drawdown = 0;
  i64 max_messages = 0;            // orders, replaces and cancels within …
  TimeNs message_window_ns = 0;
  i64 cancel_reserve = 0;          // … of which orders and replaces leave this many to cancels
  i64 soft_permille = 800;         // use at or above this share of a limit is the soft state (1..1000)
  i64 zero_account[3] = {0, 0, 0};
  i64 max_positions = 0;           // instruments with a position or an order that works or is unknown; 0 = no such limit
  i64 soft_positions = 0;          // above so many of them one more is opened only every …; 0 = no such level
  TimeNs soft_positions_interval_ns = 0;
};

static_assert(sizeof(RiskLimits) == 256 && std::is_trivially_copyable_v<RiskLimits>);
static_assert(offsetof(RiskLimits, collar_ticks) == 8 && offsetof(RiskLimits, max_order_lots) == 24);
static_assert(offsetof(RiskLimits, max_working_orders) == 40 && offsetof(RiskLimits, max_long_lots) == 56);
static_assert(offsetof(RiskLimits, max_executions) == 72 && offsetof(RiskLimits, duplicate_window_ns) == 88);
static_assert(offsetof(RiskLimits, max_quote_age_ns) == 96 && offsetof(RiskLimits, max_account_orders) == 128);
static_assert(offsetof(RiskLimits, max_gross) == 144 && offsetof(RiskLimits, max_messages) == 176);
static_assert(offsetof(RiskLimits, cancel_reserve) == 192 && offsetof(RiskLimits, soft_permille) == 200);
static_assert(offsetof(RiskLimits, max_positions) == 232 && offsetof(RiskLimits, soft_positions_interval_ns) == 248);

// A shard's part of the account-wide limits: the body of kLeaseGrant and kLeaseReturn. Amounts are levels, not
// increments, and an epoch not higher than the last one is refused, so a repeated grant does nothing.
//
//   0       8          16         24
//   +-------+----------+----------+
//   | epoch | notional | qty_lots |
//   +-------+----------+----------+
struct Lease {
  u64 epoch = 0;
  Money notional = 0;    // of gross exposure (positions at the mark + working orders)
  QtyLots qty_lots = 0;  // of worst-case lots summed over instruments
};
static_assert(sizeof(Lease) == 24 && std::is_trivially_copyable_v<Lease>);

}  // namespace peregrine
