#include "execution/order_manager.h"

#include <bit>

#include "core/assert.h"
#include "core/hash.h"

namespace peregrine {

OrderManager::OrderManager(const OrderManagerConfig& config, const SymbolTable& symbols, Exposure& exposure)
    : config_(config),
      symbols_(symbols),
      exposure_(exposure),
      orders_(std::make_unique<Order[]>(config.capacity)),
      fills_(std::make_unique<Fill[]>(config.fill_capacity)),
      side_first_(static_cast<std::size_t>(exposure.instruments()) * 2, 0),
      mask_(config.capacity - 1) {
  PRG_ASSERT(std::has_single_bit(config.capacity) && config.max_open <= config.capacity / 2);
  PRG_ASSERT(config.fill_capacity > 0);
}

u32 OrderManager::next_user_ref_num() const {
  if (open_count_ >= config_.max_open) return 0;
  // At most half the slots are open, so a free one is near; numbers may skip, they only have to rise.
  for (u32 n = last_ref_num_ + 1; n != 0 && n - last_ref_num_ <= config_.capacity; ++n)
    if (!is_open(slot(n).state)) return n;
  return 0;
}

const Order* OrderManager::find(u32 n) const {
  const Order& o = slot(n);
  return o.state != OrderState::kFree && o.user_ref_num == n ? &o : nullptr;
}

bool OrderManager::has_unanswered() const {
  for (u32 n = open_first_; n != 0; n = slot(n).open_next)
    if (!slot(n).acked) return true;
  return false;
}

// ---- lists, claims

void OrderManager::begin(Order& o) {
  const u32 n = o.user_ref_num;
  u32 after = open_last_;  // numbers rise, so the place is the end, but for an order learnt from the venue
  while (after != 0 && after > n) after = slot(after).open_prev;
  o.open_prev = after;
  o.open_next = after == 0 ? open_first_ : slot(after).open_next;
  (after == 0 ? open_first_ : slot(after).open_next) = n;
  (o.open_next == 0 ? open_last_ : slot(o.open_next).open_prev) = n;
  ++open_count_;
  u32& first = side_first_[o.instrument * 2 + static_cast<u32>(index(o.side))];
  o.side_prev = 0;
  o.side_next = first;
  if (first != 0) slot(first).side_prev = n;
  first = n;
  refresh_best(o.instrument, o.side);
}

void OrderManager::end(Order& o) {
  (o.open_prev == 0 ? open_first_ : slot(o.open_prev).open_next) = o.open_next;
  (o.open_next == 0 ? open_last_ : slot(o.open_next).open_prev) = o.open_prev;
  --open_count_;
  u32& first = side_first_[o.instrument * 2 + static_cast<u32>(index(o.side))];
  (o.side_prev == 0 ? first : slot(o.side_prev).side_next) = o.side_next;
  if (o.side_next != 0) slot(o.side_next).side_prev = o.side_prev;
  o.open_prev = o.open_next = o.side_prev = o.side_next = 0;
  refresh_best(o.instrument, o.side);
}

void OrderManager::refresh_best(InstrumentIx ix, Side side) {
  PriceTicks best = 0;
  for (u32 n = side_first_[ix * 2 + static_cast<u32>(index(side))]; n != 0; n = slot(n).side_next) {
    const PriceTicks p = slot(n).price_ticks;
    if (best == 0 || (side == Side::kBuy ? p > best : p < best)) best = p;
  }
  exposure_.set_own_best(ix, side, best);
}

OrderClaim OrderManager::claim_of(const Order& o) const {
  OrderClaim c;
  if (!is_open(o.state)) return c;
  if (o.orig_ref_num != 0 && !o.acked) {  // its original claims the larger of both
    const Order* orig = find(o.orig_ref_num);
    if (orig && orig->state == OrderState::kPendingReplace && orig->replaced_by == o.user_ref_num) return c;
  }
  const Contract& contract = exposure_.contract(o.instrument);
  const QtyLots leaves = o.leaves_lots();
  (o.acked ? c.open_lots : c.unknown_lots) = leaves;
  if (!notional_ceil(o.price_ticks, leaves, contract, c.notional)) c.notional = kMoneyMax;
  if (o.state != OrderState::kPendingReplace) return c;
  const Order* next = find(o.replaced_by);
  if (!next) return c;
  const QtyLots open = next->total_lots > o.executed_lots ? next->total_lots - o.executed_lots : 0;
  if (open > leaves) c.unknown_lots += open - leaves;
  Money notional;
  if (!notional_ceil(next->price_ticks, open, contract, notional)) notional = kMoneyMax;
  if (notional > c.notional) c.notional = notional;
  return c;
}

void OrderManager::reclaim(Order& o) {
  const OrderClaim after = claim_of(o);
  exposure_.move_claim(o.instrument, o.side, o.claim, after);
  o.claim = after;
}

bool OrderManager::step(Order& o, OrderInput input, OrderEvent& e) {
  const Transition t = next_state(o.state, input);
  const bool was_open = is_open(o.state), open = is_open(t.next);
  o.state = t.next;
  if (was_open && !open) end(o);
  if (!was_open && open) begin(o);
  if (o.state == OrderState::kLive) o.cancel_asked = false;
  reclaim(o);
  history_ =
      hash_fold(history_, (u64{o.user_ref_num} << 32) | (static_cast<u64>(input) << 16) | static_cast<u64>(t.next));
  history_ = hash_fold(history_, static_cast<u64>(o.executed_lots));
  if (t.anomaly) {
    ++counters_.anomalies;
    e.anomaly = true;
  }
  return !t.anomaly;
}

// ---- our side

// The slot of the next order was last touched a whole ring of orders ago: its lines begin their way now.
// (Inlined by force: gcc drops calls of a function that only prefetches.)
[[gnu::always_inline]] inline void OrderManager::prefetch_next() const {
  const u8* p = reinterpret_cast<const u8*>(&slot(last_ref_num_ + 1));
  for (std::size_t i = 0; i < sizeof(Order); i += kCacheLine) __builtin_prefetch(p + i, 1);
}

void OrderManager::on_enter(u32 number, const NewOrder& n, TimeNs now) {
  PRG_ASSERT(number > last_ref_num_ && !is_open(slot(number).state) && n.instrument < exposure_.instruments());
  Order& o = slot(number);
  o = Order{};
  o.user_ref_num = number;
  o.instrument = n.instrument;
  o.side = n.side;
  o.mark = n.mark;
  o.tif = n.tif;
  o.strategy = n.strategy;
  o.price_ticks = n.price_ticks;
  o.total_lots = n.qty_lots;
  o.decision = n.decision;
  o.sent_ns = now;
  o.state = OrderState::kPendingNew;
  last_ref_num_ = number;
  begin(o);
  // What claim_of() says of an order that is new, unanswered and replaces nothing.
  OrderClaim claim;
  claim.unknown_lots = n.qty_lots;
  if (!notional_ceil(n.price_ticks, n.qty_lots, exposure_.contract(n.instrument), claim.notional)) claim.notional = kMoneyMax;
  exposure_.move_claim(n.instrument, n.side, OrderClaim{}, claim);
  o.claim = claim;
  history_ = hash_fold(history_, number);
  prefetch_next();
}

void OrderManager::on_replace(u32 orig, u32 number, PriceTicks price_ticks, QtyLots total_lots, u64 decision,
                              TimeNs now) {
  Order& old = slot(orig);
  PRG_ASSERT(find(orig) && old.state == OrderState::kLive);
  PRG_ASSERT(number > last_ref_num_ && !is_open(slot(number).state));
  Order& o = slot(number);
  o = Order{};
  o.user_ref_num = number;
  o.instrument = old.instrument;
  o.side = old.side;
  o.mark = old.mark;
  o.tif = old.tif;
  o.strategy = old.strategy;
  o.price_ticks = price_ticks;
  o.total_lots = total_lots;
  o.executed_lots = old.executed_lots;
  o.decision = decision;
  o.sent_ns = now;
  o.orig_ref_num = orig;
  o.state = OrderState::kPendingNew;
  last_ref_num_ = number;
  old.replaced_by = number;
  OrderEvent unused;
  step(old, OrderInput::kAskReplace, unused);
  begin(o);
  reclaim(o);
  history_ = hash_fold(history_, number);
  prefetch_next();
}

void OrderManager::on_cancel_sent(u32 number, bool full, TimeNs now) {
  Order& o = slot(number);
  PRG_ASSERT(find(number) && is_open(o.state));
  OrderEvent unused;
  step(o, OrderInput::kAskCancel, unused);
  o.asked_ns = now;
  if (full) o.cancel_asked = true, o.cancel_wanted = false;
}

void OrderManager::set_cancel_wanted(u32 number, bool wanted) {
  if (find(number) && is_open(slot(number).state)) slot(number).cancel_wanted = wanted;
}

OrderRequest OrderManager::replace_request(const Order& o, PriceTicks price_ticks, QtyLots total_lots) const {
  OrderRequest r;
  r.kind = RequestKind::kReplace;
  r.instrument = o.instrument;
  r.side = o.side;
  r.mark = o.mark;
  r.strategy = o.strategy;
  r.price_ticks = price_ticks;
  r.qty_lots = total_lots - o.executed_lots;
  r.old_open_lots = o.claim.open_lots + o.claim.unknown_lots;
  r.old_notional = o.claim.notional;
  return r;
}

// ---- the connection's side

void OrderManager::on_connection_lost() {
  OrderEvent unused;
  for (u32 n = open_first_; n != 0; n = slot(n).open_next) {
    Order& o = slot(n);
    step(o, o.acked ? OrderInput::kLostAnswered : OrderInput::kLostUnanswered, unused);
    o.cancel_asked = false;
  }
}

bool OrderManager::reconcile_one(u32 n, OrderEvent& e) {
  Order& o = slot(n);
  if (o.acked) return false;
  e.kind = OrderEventKind::kDead;
  e.before = o.state;
  e.user_ref_num = n;
  e.instrument = o.instrument;
  e.side = o.side;
  e.lots = o.leaves_lots();
  e.price_ticks = o.price_ticks;
  step(o, OrderInput::kReconciled, e);
  e.after = o.state;
  if (o.orig_ref_num != 0 && find(o.orig_ref_num)) {
    Order& orig = slot(o.orig_ref_num);
    if (orig.state == OrderState::kPendingReplace && orig.replaced_by == n) {
      orig.replaced_by = 0;
      step(orig, OrderInput::kReplaceRejected, e);
      e.other_ref_num = orig.user_ref_num;
    }
  }
  return true;
}

OrderEvent OrderManager::kill_one(u32 n) {
  OrderEvent e;
  Order& o = slot(n);
  e.kind = OrderEventKind::kDead;
  e.before = o.state;
  e.user_ref_num = n;
  e.instrument = o.instrument;
  e.side = o.side;
  e.lots = o.leaves_lots();
  e.price_ticks = o.price_ticks;
  e.old_order_ref = o.order_ref;
  step(o, OrderInput::kSessionOver, e);
  e.after = o.state;
  return e;
}

void OrderManager::forget_above(u32 limit) {
  OrderEvent unused;
  for (u32 n = open_last_; n > limit;) {
    const u32 prev = slot(n).open_prev;
    Order& o = slot(n);
    if (!o.acked) {
      step(o, OrderInput::kNeverSent, unused);
      if (o.orig_ref_num != 0 && find(o.orig_ref_num)) {
        Order& orig = slot(o.orig_ref_num);
        if (orig.state == OrderState::kPendingReplace && orig.replaced_by == n) {
          orig.replaced_by = 0;
          step(orig, OrderInput::kReplaceRejected, unused);
        }
      }
      o = Order{};
    }
    n = prev;
  }
  if (last_ref_num_ > limit) last_ref_num_ = limit > venue_ref_num_ ? limit : venue_ref_num_;
}

u64 OrderManager::state_hash(u64 h) const {
  h = hash_fold(h, history_);
  h = hash_fold(h, last_ref_num_);
  h = hash_fold(h, fill_count_);
  for (u32 n = open_first_; n != 0; n = slot(n).open_next) {
    const Order& o = slot(n);
    h = hash_fold(h, (u64{n} << 32) | o.instrument);
    h = hash_fold(h, (static_cast<u64>(o.state) << 8) | static_cast<u64>(index(o.side)) | (o.acked ? 2u : 0u) |
                         (o.cancel_asked ? 4u : 0u) | (o.cancel_wanted ? 8u : 0u));
    h = hash_fold(h, static_cast<u64>(o.price_ticks));
    h = hash_fold(h, static_cast<u64>(o.total_lots));
    h = hash_fold(h, static_cast<u64>(o.executed_lots));
    h = hash_fold(h, static_cast<u64>(o.canceled_lots));
    h = hash_fold(h, o.order_ref);
  }
  return h;
}

}  // namespace peregrine
