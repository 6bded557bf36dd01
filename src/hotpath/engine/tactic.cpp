#include "engine/tactic.h"

namespace peregrine::engine {

namespace {

bool should_cancel(const TacticConfig& c, const Quote& q, PriceTicks best, QtyLots best_lots, TimeNs now) {
  if (q.user_ref_num == 0 || q.pending) return false;
  if (now - q.since_ns >= c.max_resting_ns) return true;
  if (best_lots == 0) return false;
  const PriceTicks away = q.price_ticks > best ? q.price_ticks - best : best - q.price_ticks;
  return away > c.max_away_ticks;
}

bool room_for(const TacticConfig& c, QtyLots position, Side side) {
  return (side == Side::kBuy ? position : -position) + c.order_qty_lots <= c.max_inventory_lots;
}

}  // namespace

int plan(const TacticConfig& c, const TacticInput& in, Op* out) {
  int n = 0;
  const PriceTicks best[2] = {in.top.bid_ticks, in.top.ask_ticks};
  const QtyLots best_lots[2] = {in.top.bid_lots, in.top.ask_lots};
  bool cancelled[2] = {false, false};
  for (int s = 0; s < 2; ++s) {
    if (!should_cancel(c, in.quote[s], best[s], best_lots[s], in.now_ns)) continue;
    cancelled[s] = true;
    out[n++] = Op{OpKind::kCancel, static_cast<Side>(s), false, in.quote[s].user_ref_num, 0, 0};
  }
  if (in.action == Action::kHold) return n;

  const bool buys = in.action == Action::kJoinBid || in.action == Action::kTakeAsk;
  const bool takes = in.action == Action::kTakeAsk || in.action == Action::kTakeBid;
  const Side side = buys ? Side::kBuy : Side::kSell;
  const int s = index(side), o = 1 - s;
  // One-sided or crossed books say nothing about where to quote.
  if (best_lots[0] == 0 || best_lots[1] == 0 || best[0] >= best[1]) return n;
  if (!room_for(c, in.position_lots, side)) return n;

  if (takes) {
    if (in.last_take_ns != 0 && in.now_ns - in.last_take_ns < c.take_interval_ns) return n;
    const Quote& own_other = in.quote[o];
    if (own_other.user_ref_num != 0 && own_other.price_ticks == best[o]) return n;  // it would meet our own quote
    const QtyLots qty = c.order_qty_lots < best_lots[o] ? c.order_qty_lots : best_lots[o];
    out[n++] = Op{OpKind::kEnter, side, true, 0, best[o], qty};
    return n;
  }

  const Quote& q = in.quote[s];
  if (q.user_ref_num == 0) {
    out[n++] = Op{OpKind::kEnter, side, false, 0, best[s], c.order_qty_lots};
  } else if (!q.pending && !cancelled[s] && q.price_ticks != best[s] && in.now_ns - q.since_ns >= c.min_resting_ns) {
    out[n++] = Op{OpKind::kReplace, side, false, q.user_ref_num, best[s], q.open_lots};
  }
  return n;
}

}  // namespace peregrine::engine
