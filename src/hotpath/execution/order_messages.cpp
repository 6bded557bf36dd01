// The venue's messages applied to our orders.
#include "core/assert.h"
#include "core/hash.h"
#include "execution/order_manager.h"

namespace peregrine {
namespace {

SellMark mark_of(u8 ouch_side) {
  switch (ouch_side) {
    case 'S': return SellMark::kLong;
    case 'T': return SellMark::kShort;
    case 'E': return SellMark::kShortExempt;
    default: return SellMark::kNone;
  }
}

void describe(OrderEvent& e, const Order& o) {
  e.before = o.state;
  e.user_ref_num = o.user_ref_num;
  e.instrument = o.instrument;
  e.side = o.side;
}

}  // namespace

Money OrderManager::fee_of(u8 liquidity, QtyLots lots) const {
  const Money per_lot = ouch::is_added(liquidity)     ? config_.fees.added
                        : ouch::is_removed(liquidity) ? config_.fees.removed
                                                      : config_.fees.other;
  const i128 fee = static_cast<i128>(per_lot) * lots;
  return fee > kMoneyMax ? kMoneyMax : (fee < -kMoneyMax ? -kMoneyMax : static_cast<Money>(fee));
}

Order* OrderManager::known(u32 n, OrderEvent& e) {
  Order& o = slot(n);
  if (o.state != OrderState::kFree && o.user_ref_num == n) {
    describe(e, o);
    return &o;
  }
  ++counters_.unknown_numbers;
  e.kind = OrderEventKind::kUnknownNumber;
  e.user_ref_num = n;
  e.anomaly = true;
  return nullptr;
}

// An order the venue holds and this journal never sent (an older run's): it is ours, so it counts.
Order* OrderManager::adopt(u32 number, const ouch::Symbol& symbol, u8 side, QtyLots lots, u64 price, OrderEvent& e,
                           TimeNs now) {
  ++counters_.unknown_numbers;
  e.anomaly = true;
  e.user_ref_num = number;
  const InstrumentIx ix = symbols_.find(symbol);
  if (number == 0 || ix == kNoInstrument || ix >= exposure_.instruments() || is_open(slot(number).state)) {
    e.kind = OrderEventKind::kUnknownNumber;
    return nullptr;
  }
  ++counters_.adopted;
  Order& o = slot(number);
  o = Order{};
  o.user_ref_num = number;
  o.instrument = ix;
  o.side = ouch::side_of(side);
  o.mark = mark_of(side);
  o.price_ticks = static_cast<PriceTicks>(price & 0x7FFF'FFFF'FFFF'FFFFull);
  o.total_lots = lots;
  o.sent_ns = now;
  o.adopted = true;
  o.state = OrderState::kPendingNew;
  use_up_to(number);
  begin(o);
  reclaim(o);
  describe(e, o);
  return &o;
}

void OrderManager::apply(const ouch::Accepted& m, OrderEvent& e, TimeNs now) {
  e.kind = OrderEventKind::kAccepted;
  const Order* held = find(m.user_ref_num);
  Order* o = held ? known(m.user_ref_num, e) : adopt(m.user_ref_num, m.symbol, m.side, m.quantity, m.price, e, now);
  if (!o) return;
  if (symbols_.find(m.symbol) != o->instrument || ouch::side_of(m.side) != o->side) {
    ++counters_.anomalies;  // not the order we sent: its numbers are not taken over
    e.anomaly = true;
  } else {
    if (o->total_lots != m.quantity && o->executed_lots == 0 && o->canceled_lots == 0) {
      if (m.quantity > o->total_lots) ++counters_.anomalies, e.anomaly = true;
      o->total_lots = m.quantity;
    }
    const auto price = static_cast<PriceTicks>(m.price & 0x7FFF'FFFF'FFFF'FFFFull);
    if (o->price_ticks != price) {
      o->price_ticks = price;
      if (is_open(o->state)) refresh_best(o->instrument, o->side);
    }
  }
  if (o->state == OrderState::kDead) ++counters_.resurrected;
  o->acked = true;
  o->order_ref = m.order_ref;
  const bool dead = m.state == ouch::kStateDead || o->leaves_lots() == 0;
  step(*o, dead ? OrderInput::kAcceptedDead : OrderInput::kAcceptedLive, e);
  e.lots = o->leaves_lots();
  e.price_ticks = o->price_ticks;
  e.order_ref = m.order_ref;
}

void OrderManager::apply(const ouch::Replaced& m, OrderEvent& e, TimeNs now) {
  e.kind = OrderEventKind::kReplaced;
  const bool had = find(m.user_ref_num) != nullptr;
  const bool has_old = m.orig_ref_num != m.user_ref_num && find(m.orig_ref_num) != nullptr;
  Order* o = had ? known(m.user_ref_num, e) : adopt(m.user_ref_num, m.symbol, m.side, m.quantity, m.price, e, now);
  Order* old = has_old && slot(m.orig_ref_num).user_ref_num == m.orig_ref_num ? &slot(m.orig_ref_num) : nullptr;
  if (o && old == o) old = nullptr;
  if (!old) ++counters_.anomalies, e.anomaly = true;
  e.other_ref_num = m.orig_ref_num;
  const bool wanted = old && (old->cancel_wanted || (old->cancel_asked && o && !o->cancel_asked));
  if (old) {
    e.old_order_ref = old->order_ref;
    if (o) old->replaced_by = m.user_ref_num;
    step(*old, OrderInput::kReplacedAway, e);
  }
  if (!o) return;
  if (had && o->orig_ref_num != m.orig_ref_num) ++counters_.anomalies, e.anomaly = true;
  // The note's quantity may be the total or what is open; our own request says which total it is.
  const QtyLots executed = old && old->executed_lots > o->executed_lots ? old->executed_lots : o->executed_lots;
  const QtyLots asked = had ? (o->total_lots > executed ? o->total_lots - executed : 0) : QtyLots{m.quantity};
  const QtyLots open = asked < m.quantity ? asked : QtyLots{m.quantity};
  o->executed_lots = executed;
  o->total_lots = executed + open + o->canceled_lots;
  o->orig_ref_num = m.orig_ref_num;
  o->price_ticks = static_cast<PriceTicks>(m.price & 0x7FFF'FFFF'FFFF'FFFFull);
  if (o->state == OrderState::kDead) ++counters_.resurrected;
  o->acked = true;
  o->order_ref = m.order_ref;
  if (wanted) o->cancel_wanted = true;
  if (is_open(o->state)) refresh_best(o->instrument, o->side);
  const bool dead = m.state == ouch::kStateDead || open == 0;
  step(*o, dead ? OrderInput::kReplacedDead : OrderInput::kReplacedLive, e);
  e.lots = o->leaves_lots();
  e.price_ticks = o->price_ticks;
  e.order_ref = m.order_ref;
}

void OrderManager::book(const Order& o, QtyLots lots, PriceTicks price, u8 liquidity, u64 match, OrderEvent& e) {
  e.fee = fee_of(liquidity, lots);
  exposure_.apply_fill(o.instrument, o.side, lots, price, e.fee);
  fills_[fill_count_++ % config_.fill_capacity] = {match, o.user_ref_num, o.instrument, o.side,
                                                   true,  lots,           price,        e.fee};
}

void OrderManager::apply(const ouch::Executed& m, OrderEvent& e) {
  e.kind = OrderEventKind::kExecuted;
  Order* o = known(m.user_ref_num, e);
  e.lots = m.quantity;
  e.price_ticks = static_cast<PriceTicks>(m.price & 0x7FFF'FFFF'FFFF'FFFFull);
  e.liquidity = m.liquidity;
  e.match_number = m.match_number;
  if (!o) {
    ++counters_.unknown_fills;
    return;
  }
  if (is_terminal(o->state)) ++counters_.late_fills;
  if (o->state == OrderState::kDead) ++counters_.resurrected;
  o->executed_lots += m.quantity;
  o->acked = true;
  if (o->executed_lots > o->total_lots) {
    ++counters_.overfills;
    e.anomaly = true;
  }
  book(*o, m.quantity, e.price_ticks, m.liquidity, m.match_number, e);
  e.old_order_ref = o->order_ref;
  const OrderState before = o->state;
  step(*o, o->leaves_lots() > 0 ? OrderInput::kExecutedPart : OrderInput::kExecutedAll, e);
  if (before == OrderState::kPendingReplace && is_terminal(o->state)) original_died(*o, e);
  // A fill of a number that already lives on under another one eats from the same chain.
  for (u32 hop = 0, n = o->replaced_by; o->state == OrderState::kReplaced && n != 0 && hop < 64; ++hop) {
    if (!find(n)) break;
    Order& next = slot(n);
    next.executed_lots += m.quantity;
    if (next.state != OrderState::kReplaced) {
      step(next, next.leaves_lots() > 0 ? OrderInput::kExecutedPart : OrderInput::kExecutedAll, e);
      break;
    }
    n = next.replaced_by;
  }
}

void OrderManager::original_died(Order& o, OrderEvent& e) {
  const u32 n = o.replaced_by;
  if (n == 0 || !find(n)) return;
  Order& next = slot(n);
  if (!is_open(next.state) || next.acked) return;
  o.replaced_by = 0;
  e.other_ref_num = n;
  step(next, OrderInput::kOriginalGone, e);
}

void OrderManager::apply_removed(u32 number, QtyLots lots, u8 reason, OrderEvent& e) {
  e.kind = OrderEventKind::kCanceled;
  e.reason = reason;
  Order* o = known(number, e);
  e.lots = lots;
  if (!o) return;
  const QtyLots leaves = o->leaves_lots();
  if (lots > leaves) {
    ++counters_.over_cancels;
    e.anomaly = true;
    lots = leaves;
  }
  o->canceled_lots += lots;
  o->acked = true;
  e.price_ticks = o->price_ticks;
  const OrderState before = o->state;
  step(*o, o->leaves_lots() > 0 ? OrderInput::kCanceledPart : OrderInput::kCanceledAll, e);
  if (is_terminal(o->state)) e.old_order_ref = o->order_ref;
  if (before == OrderState::kPendingReplace && is_terminal(o->state)) original_died(*o, e);
}

void OrderManager::apply(const ouch::Rejected& m, OrderEvent& e) {
  e.kind = OrderEventKind::kRejected;
  e.reason = m.reason;
  Order* o = known(m.user_ref_num, e);
  if (!o) return;
  e.lots = o->leaves_lots();
  e.price_ticks = o->price_ticks;
  if (o->acked && is_open(o->state)) {  // it works at the venue: a refusal cannot be meant for it
    ++counters_.anomalies;
    e.anomaly = true;
    return;
  }
  step(*o, OrderInput::kRejected, e);
  if (o->orig_ref_num == 0 || !find(o->orig_ref_num)) return;
  Order& orig = slot(o->orig_ref_num);
  if (orig.state != OrderState::kPendingReplace || orig.replaced_by != o->user_ref_num) return;
  const bool asked = orig.cancel_asked;
  orig.replaced_by = 0;
  e.other_ref_num = orig.user_ref_num;
  step(orig, OrderInput::kReplaceRejected, e);
  if (asked) {
    step(orig, OrderInput::kAskCancel, e);
    orig.cancel_asked = true;
  }
}

OrderManager::Fill* OrderManager::find_fill(u64 match_number, u32 user_ref_num) {
  const u64 held = fill_count_ < config_.fill_capacity ? fill_count_ : config_.fill_capacity;
  for (u64 k = 0; k < held; ++k) {  // newest first; breaks are rare
    Fill& f = fills_[(fill_count_ - 1 - k) % config_.fill_capacity];
    if (f.match_number == match_number && f.user_ref_num == user_ref_num) return &f;
  }
  return nullptr;
}

void OrderManager::apply(const ouch::BrokenTrade& m, OrderEvent& e) {
  e.kind = OrderEventKind::kBroken;
  e.reason = m.reason;
  e.match_number = m.match_number;
  const Order* o = known(m.user_ref_num, e);
  Fill* f = find_fill(m.match_number, m.user_ref_num);
  if (o) e.after = o->state;
  if (!f || !f->booked) {
    ++counters_.unknown_matches;
    e.anomaly = true;
    return;
  }
  ++counters_.breaks;
  f->booked = false;
  exposure_.revert_fill(f->instrument, f->side, f->lots, f->price_ticks, f->fee);
  history_ = hash_fold(history_, m.match_number);
  e.kind = OrderEventKind::kBroken;
  e.instrument = f->instrument;
  e.side = f->side;
  e.lots = f->lots;
  e.price_ticks = f->price_ticks;
  e.fee = -f->fee;
}

void OrderManager::apply(const ouch::TradeCorrection& m, OrderEvent& e) {
  e.kind = OrderEventKind::kCorrected;
  e.reason = m.reason;
  e.match_number = m.match_number;
  e.liquidity = m.liquidity;
  const Order* o = known(m.user_ref_num, e);
  Fill* f = find_fill(m.match_number, m.user_ref_num);
  if (o) e.after = o->state;
  if (!f || !f->booked) {
    ++counters_.unknown_matches;
    e.anomaly = true;
    return;
  }
  ++counters_.corrections;
  exposure_.revert_fill(f->instrument, f->side, f->lots, f->price_ticks, f->fee);
  f->lots = m.quantity;
  f->price_ticks = static_cast<PriceTicks>(m.price & 0x7FFF'FFFF'FFFF'FFFFull);
  f->fee = fee_of(m.liquidity, m.quantity);
  exposure_.apply_fill(f->instrument, f->side, f->lots, f->price_ticks, f->fee);
  history_ = hash_fold(history_, m.match_number);
  e.kind = OrderEventKind::kCorrected;
  e.instrument = f->instrument;
  e.side = f->side;
  e.lots = f->lots;
  e.price_ticks = f->price_ticks;
  e.fee = f->fee;
}

void OrderManager::apply(const ouch::PriorityUpdate& m, OrderEvent& e) {
  e.kind = OrderEventKind::kPriority;
  Order* o = known(m.user_ref_num, e);
  if (!o) return;
  e.old_order_ref = o->order_ref;
  o->order_ref = m.order_ref;
  o->price_ticks = static_cast<PriceTicks>(m.price & 0x7FFF'FFFF'FFFF'FFFFull);
  if (is_open(o->state)) refresh_best(o->instrument, o->side), reclaim(*o);
  e.order_ref = m.order_ref;
  e.price_ticks = o->price_ticks;
  e.lots = o->leaves_lots();
}

void OrderManager::apply(const ouch::Modified& m, OrderEvent& e) {
  e.kind = OrderEventKind::kModified;
  Order* o = known(m.user_ref_num, e);
  if (!o) return;
  if (ouch::side_of(m.side) != o->side) {
    ++counters_.anomalies;
    e.anomaly = true;
    return;
  }
  if (o->side == Side::kSell) o->mark = mark_of(m.side);
  if (m.quantity < o->total_lots) {
    const QtyLots cut = o->total_lots - m.quantity, leaves = o->leaves_lots();
    o->total_lots -= cut < leaves ? cut : leaves;
  }
  e.lots = o->leaves_lots();
  if (!is_open(o->state)) return;
  if (e.lots == 0) {
    const OrderState before = o->state;
    step(*o, OrderInput::kCanceledAll, e);
    if (before == OrderState::kPendingReplace) original_died(*o, e);
  } else {
    reclaim(*o);
  }
}

void OrderManager::apply(const ouch::Restated& m, OrderEvent& e) {
  e.kind = OrderEventKind::kRestated;
  e.reason = m.reason;
  Order* o = known(m.user_ref_num, e);
  if (!o) return;
  const Bytes ref = ouch::find_tag(m.appendage, ouch::kTagSecondaryOrderRef);
  if (ref.size() == 8) {  // a refreshed display stands in the feed under another reference
    e.old_order_ref = o->order_ref;
    o->order_ref = load_be64(ref.data());
  }
  e.order_ref = o->order_ref;
  e.lots = o->leaves_lots();
  e.price_ticks = o->price_ticks;
}

OrderEvent OrderManager::on_message(Bytes msg, TimeNs now) {
  OrderEvent e;
  bool good = false;
  const auto take = [&](auto m) {
    good = ouch::decode(msg, m);
    return m;
  };
  if (msg.empty()) {
    ++counters_.malformed;
    e.kind = OrderEventKind::kMalformed;
    return e;
  }
  switch (msg[0]) {
    case 'A':
      if (const auto m = take(ouch::Accepted{}); good) apply(m, e, now);
      break;
    case 'U':
      if (const auto m = take(ouch::Replaced{}); good) apply(m, e, now);
      break;
    case 'E':
      if (const auto m = take(ouch::Executed{}); good) apply(m, e);
      break;
    case 'C':
      if (const auto m = take(ouch::Canceled{}); good) apply_removed(m.user_ref_num, m.quantity, m.reason, e);
      break;
    case 'D':
      if (const auto m = take(ouch::AiqCanceled{}); good) apply_removed(m.user_ref_num, m.quantity, m.reason, e);
      break;
    case 'J':
      if (const auto m = take(ouch::Rejected{}); good) apply(m, e);
      break;
    case 'B':
      if (const auto m = take(ouch::BrokenTrade{}); good) apply(m, e);
      break;
    case 'F':
      if (const auto m = take(ouch::TradeCorrection{}); good) apply(m, e);
      break;
    case 'T':
      if (const auto m = take(ouch::PriorityUpdate{}); good) apply(m, e);
      break;
    case 'M':
      if (const auto m = take(ouch::Modified{}); good) apply(m, e);
      break;
    case 'R':
      if (const auto m = take(ouch::Restated{}); good) apply(m, e);
      break;
    case 'P':
      if (const auto m = take(ouch::CancelPending{}); good) {
        e.kind = OrderEventKind::kCancelPending;
        if (Order* o = known(m.user_ref_num, e)) step(*o, OrderInput::kCancelPending, e);
      }
      break;
    case 'I':
      if (const auto m = take(ouch::CancelReject{}); good) {
        e.kind = OrderEventKind::kCancelRejected;
        if (Order* o = known(m.user_ref_num, e)) {
          step(*o, OrderInput::kCancelRejected, e);
          o->cancel_asked = false;
        }
      }
      break;
    case 'S':
    case 'Q':
    case 'X':
    case 'G':
    case 'K': e.kind = OrderEventKind::kNotOrder; return e;
    default:
      ++counters_.unknown_types;
      e.kind = OrderEventKind::kUnknownType;
      return e;
  }
  if (!good) {
    ++counters_.malformed;
    e = OrderEvent{};
    e.kind = OrderEventKind::kMalformed;
    return e;
  }
  if (const Order* o = find(e.user_ref_num); o && e.kind != OrderEventKind::kUnknownNumber) e.after = o->state;
  return e;
}

}  // namespace peregrine
