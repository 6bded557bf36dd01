// The venue's own record: every order event of every port, the judge of what a client claims.
#pragma once

#include "core/types.h"

namespace peregrine::venue {

enum class RecordKind : u8 {
  kAccepted = 1,
  kReplaced = 2,   // orig_urn -> urn
  kCanceled = 3,   // qty removed
  kExecuted = 4,   // qty, price, match
  kRejected = 5,   // reason = reject code
  kIgnored = 6,    // a request that had no effect: URN not rising, order not live, superfluous
  kPrevented = 7,  // self-trade prevention: qty = decrement
  kModified = 8,
  kBroken = 9,  // match
  kMalformed = 10,
  kMassCancel = 11,
  kDisabled = 12,
  kEnabled = 13,
  kQuery = 14,
};

struct RecordEntry {
  i64 ts_ns = 0;
  u64 ref = 0;
  u64 match = 0;
  i64 price_ticks = 0;
  u32 port = 0;
  u32 urn = 0;
  u32 orig_urn = 0;
  u32 symbol = 0;
  u32 qty = 0;
  u32 open = 0;         // open quantity of the order after this event
  u32 executed = 0;     // of the chain, after this event
  u32 contra_port = 0;  // port index + 1 of the other side of an execution, 0 = background
  RecordKind kind = RecordKind::kAccepted;
  u8 side = 0;       // as in OUCH: B S T E
  u8 message = 0;    // type byte of the request that caused it
  u8 liquidity = 0;  // executions
  u16 reason = 0;    // cancel reason (ASCII) or reject code
  u16 zero = 0;
};
static_assert(sizeof(RecordEntry) == 72);

}  // namespace peregrine::venue
