// From a consensus action to order operations: what the five actions of action map v1 mean in the market.
//
//   hold      leave what is there
//   join_bid  one post-only buy of order_qty_lots at the best bid; a working one elsewhere is moved there
//   join_ask  the mirror
//   take_ask  an immediate-or-cancel buy of at most order_qty_lots and of what stands at the best ask
//   take_bid  the mirror
//
// Besides, at every decision, a resting quote further than max_away_ticks from its best price, or older than
// max_resting_ns, is cancelled. Pure: what it is given is all it knows.
#pragma once

#include "core/types.h"
#include "market/book.h"

namespace peregrine::engine {

enum class Action : u8 { kHold = 0, kJoinBid = 1, kJoinAsk = 2, kTakeAsk = 3, kTakeBid = 4 };
inline constexpr u8 kNoAction = 0xFF;

struct TacticConfig {
  QtyLots order_qty_lots = 100;
  QtyLots max_inventory_lots = 1000;  // asks for nothing that would take the position beyond this
  PriceTicks increment_ticks = 100;
  PriceTicks max_away_ticks = 500;
  TimeNs min_resting_ns = 20'000'000;   // a quote is not moved before this
  TimeNs max_resting_ns = 5'000'000'000;
  TimeNs take_interval_ns = 50'000'000; // between two takes of one instrument
};

// Our own resting quote of one side; user_ref_num 0 = none.
struct Quote {
  u32 user_ref_num = 0;
  bool pending = false;  // an answer of the venue is outstanding: hands off
  PriceTicks price_ticks = 0;
  QtyLots open_lots = 0;
  TimeNs since_ns = 0;
};

enum class OpKind : u8 { kEnter, kReplace, kCancel };

struct Op {
  OpKind kind = OpKind::kEnter;
  Side side = Side::kBuy;
  bool immediate = false;  // IOC; else a post-only day order
  u32 user_ref_num = 0;    // replace and cancel: the order acted on
  PriceTicks price_ticks = 0;
  QtyLots qty_lots = 0;
};

struct TacticInput {
  Action action = Action::kHold;
  Top top;
  Quote quote[2];  // by side
  QtyLots position_lots = 0;
  TimeNs last_take_ns = 0;
  TimeNs now_ns = 0;
};

// Writes at most kMaxOps operations, cancels first. Returns how many.
inline constexpr int kMaxOps = 4;
int plan(const TacticConfig& config, const TacticInput& in, Op* out);

}  // namespace peregrine::engine
