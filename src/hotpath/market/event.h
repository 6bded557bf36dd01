// The normalised market event: one cache line, the same for every venue.
//
//   0        8              16           24           28   29   30    32
//   +--------+--------------+------------+------------+----+----+-----+
//   | seq    | ts_event_ns  | ts_rx_ns   | instrument |kind|side|flags|
//   +--------+--------------+------------+------------+----+----+-----+
//   | order_id | price_ticks | qty_lots  | aux                        |
//   +----------+-------------+-----------+----------------------------+
//   32         40            48          56                          64
#pragma once

#include <type_traits>

#include "core/types.h"

namespace peregrine {

enum class EventKind : u8 {
  kNone = 0,          // carries nothing for a book (counted, journaled, skipped)
  kAdd = 1,           // order_id, side, price_ticks, qty_lots
  kExecute = 2,       // order_id, qty_lots; aux = match number; the book fills in side and price_ticks
  kExecuteAt = 3,     // as kExecute, price_ticks = trade price; kFlagNonPrintable when not to be counted
  kReduce = 4,        // order_id, qty_lots = amount removed; keeps priority
  kDelete = 5,        // order_id; the book fills in side, price_ticks and the removed qty_lots
  kReplace = 6,       // order_id = new id, aux = old id, price_ticks, qty_lots; the book fills in side
  kTrade = 7,         // trade against a hidden order: side, price_ticks, qty_lots, aux = match number
  kCross = 8,         // bulk cross print: price_ticks, qty_lots, aux = match number
  kBroken = 9,        // aux = match number of the print that is void
  kTradingState = 10, // aux = TradingState
  kSystem = 11,       // aux = the venue's system event code (ASCII)
  kDirectory = 12,    // aux = symbol (8 ASCII bytes, little-endian load), qty_lots = round lot
  kShortSale = 13,    // aux = Reg SHO action (ASCII)
  kImbalance = 14,    // NOII: qty_lots = imbalance, price_ticks = reference price, side = direction
  kCollar = 15,       // LULD auction collar: price_ticks = lower, aux = upper
  kOperationalHalt = 16, // aux = action (ASCII 'H' or 'T')
};

enum class TradingState : u8 { kTrading = 'T', kHalted = 'H', kPaused = 'P', kQuoteOnly = 'Q' };

inline constexpr u16 kFlagNonPrintable = 1u << 0;
inline constexpr u16 kFlagSnapshot = 1u << 1;   // came from a snapshot, not from the live stream
inline constexpr u16 kFlagAttributed = 1u << 2; // add with a participant id
inline constexpr u16 kFlagNoSide = 1u << 3;     // `side` says nothing

struct alignas(kCacheLine) Event {
  u64 seq = 0;               // feed sequence number
  TimeNs ts_event_ns = 0;    // the venue's time
  TimeNs ts_rx_ns = 0;       // our receive time
  InstrumentIx instrument = kNoInstrument;
  EventKind kind = EventKind::kNone;
  Side side = Side::kBuy;
  u16 flags = 0;
  u64 order_id = 0;
  PriceTicks price_ticks = 0;
  QtyLots qty_lots = 0;
  u64 aux = 0;
};

static_assert(sizeof(Event) == 64 && alignof(Event) == 64);
static_assert(offsetof(Event, seq) == 0 && offsetof(Event, ts_event_ns) == 8 && offsetof(Event, ts_rx_ns) == 16);
static_assert(offsetof(Event, instrument) == 24 && offsetof(Event, kind) == 28 && offsetof(Event, side) == 29);
static_assert(offsetof(Event, flags) == 30 && offsetof(Event, order_id) == 32 && offsetof(Event, price_ticks) == 40);
static_assert(offsetof(Event, qty_lots) == 48 && offsetof(Event, aux) == 56);
static_assert(std::is_trivially_copyable_v<Event>);

}  // namespace peregrine
