// Our own orders: one slot per order number in a ring sized at construction, driven by what we send and by the
// venue's sequenced messages. Books every fill into Exposure whatever the order's state (a fill is a fact), and
// keeps each order's claim on the limits there. Duplicates after a replay are the session's business: it hands
// each sequence number on once. Iterates by order number.
#pragma once

#include <memory>
#include <vector>

#include "core/types.h"
#include "execution/order_state.h"
#include "execution/ouch.h"
#include "execution/symbols.h"
#include "risk/exposure.h"
#include "risk/gate.h"

namespace peregrine {

struct Order {
  u32 user_ref_num = 0;
  InstrumentIx instrument = kNoInstrument;
  OrderState state = OrderState::kFree;
  Side side = Side::kBuy;
  SellMark mark = SellMark::kNone;
  u8 tif = ouch::kTifDay;
  bool acked = false;          // the venue has said something that proves it has this order
  bool cancel_asked = false;   // a full cancel was sent on this connection
  bool cancel_wanted = false;  // a full cancel is held: throttled, or the session is not ready
  bool adopted = false;        // learnt from the venue, not sent by this journal
  u32 orig_ref_num = 0;        // the order this one replaces
  u32 replaced_by = 0;         // its unanswered (PendingReplace) or taken (Replaced) replacement
  u32 strategy = 0;
  PriceTicks price_ticks = 0;
  QtyLots total_lots = 0;      // liable, executions of the whole chain included
  QtyLots executed_lots = 0;   // of the whole chain
  QtyLots canceled_lots = 0;   // of this number
  u64 order_ref = 0;           // the venue's: finds the order in the feed
  u64 decision = 0;
  TimeNs sent_ns = 0;
  TimeNs asked_ns = 0;         // when the last cancel was sent
  OrderClaim claim;            // as booked in Exposure
  u32 open_prev = 0, open_next = 0;  // list of open orders by number (numbers; 0 = end)
  u32 side_prev = 0, side_next = 0;  // list of open orders of one instrument and side

  QtyLots leaves_lots() const {
    const QtyLots n = total_lots - executed_lots - canceled_lots;
    return n > 0 ? n : 0;
  }
};

struct NewOrder {
  InstrumentIx instrument = kNoInstrument;
  Side side = Side::kBuy;
  SellMark mark = SellMark::kNone;
  u8 tif = ouch::kTifDay;
  u32 strategy = 0;
  PriceTicks price_ticks = 0;
  QtyLots qty_lots = 0;
  u64 decision = 0;
};

enum class OrderEventKind : u8 {
  kNone = 0, kAccepted = 1, kReplaced = 2, kExecuted = 3, kCanceled = 4, kRejected = 5, kBroken = 6, kCorrected = 7,
  kRestated = 8, kPriority = 9, kModified = 10, kCancelPending = 11, kCancelRejected = 12, kDead = 13,
  kUnknownNumber = 14, kMalformed = 15, kUnknownType = 16, kNotOrder = 17,  // kNotOrder: S Q X G K
};

// What a message did, for the engine (gate, own-order tracking, records).
struct OrderEvent {
  OrderEventKind kind = OrderEventKind::kNone;
  OrderState before = OrderState::kFree;
  OrderState after = OrderState::kFree;
  Side side = Side::kBuy;
  u8 liquidity = 0;
  bool anomaly = false;
  u16 reason = 0;              // cancel reason letter, reject code, …
  u32 user_ref_num = 0;
  u32 other_ref_num = 0;       // replaced: the old number; rejected replacement: the original
  InstrumentIx instrument = kNoInstrument;
  QtyLots lots = 0;            // executed, removed, corrected to
  PriceTicks price_ticks = 0;
  u64 order_ref = 0;           // accepted, replaced: the venue's reference now
  u64 old_order_ref = 0;       // replaced, canceled, filled: the reference that is gone
  u64 match_number = 0;
  Money fee = 0;
};

struct FeeSchedule {  // money units per lot; negative = rebate
  Money added = 0;
  Money removed = 0;
  Money other = 0;
};

struct OrderManagerConfig {
  u32 capacity = 4096;       // order numbers remembered: a power of two
  u32 max_open = 1024;       // at most capacity / 2
  u32 fill_capacity = 4096;  // executions remembered for breaks and corrections
  FeeSchedule fees;
};

struct OrderCounters {
  u64 unknown_numbers = 0;   // messages for an order this manager does not know
  u64 unknown_fills = 0;     // of these, executions: the position is wrong
  u64 unknown_matches = 0;   // breaks and corrections of a match not remembered
  u64 anomalies = 0;         // transitions that should not happen
  u64 late_fills = 0;        // executions of an order already terminal
  u64 overfills = 0;         // more executed than ever ordered
  u64 over_cancels = 0;      // more removed than was left
  u64 adopted = 0;
  u64 resurrected = 0;       // the venue answered for an order held to be dead
  u64 malformed = 0;
  u64 unknown_types = 0;
  u64 breaks = 0;
  u64 corrections = 0;
};

class OrderManager {
 public:
  OrderManager(const OrderManagerConfig& config, const SymbolTable& symbols, Exposure& exposure);

  // The next order number: above all before it, its slot free. 0 = no room (too many open orders).
  u32 next_user_ref_num() const;
  u32 last_user_ref_num() const { return last_ref_num_; }
  // The venue says that all numbers up to `n` are used up.
  void use_up_to(u32 n) {
    if (n > venue_ref_num_) venue_ref_num_ = n;
    if (n > last_ref_num_) last_ref_num_ = n;
  }
  // A mass cancel takes a number but no slot. Precondition: n == last_user_ref_num() + 1.
  void take_number(u32 n) { last_ref_num_ = n; }
  // Recovery: numbers above `n` that the venue never mentioned were never sent; they become free again.
  void forget_above(u32 n);

  const Order* find(u32 user_ref_num) const;
  u32 open_orders() const { return open_count_; }
  u32 first_open() const { return open_first_; }                       // 0 = none; ascending numbers
  u32 next_open(u32 user_ref_num) const { return slot(user_ref_num).open_next; }
  bool has_unanswered() const;

  // Our side. Precondition: number == next_user_ref_num().
  void on_enter(u32 number, const NewOrder& n, TimeNs now);
  // Precondition: the original is kLive. total_lots includes executions of the chain.
  void on_replace(u32 orig, u32 number, PriceTicks price_ticks, QtyLots total_lots, u64 decision, TimeNs now);
  void on_cancel_sent(u32 number, bool full, TimeNs now);
  void set_cancel_wanted(u32 number, bool wanted);
  void forget_cancel(u32 number) { slot(number).cancel_asked = false; }  // to ask again
  // What the gate has to see for a replacement (quantity still open under the new total).
  OrderRequest replace_request(const Order& o, PriceTicks price_ticks, QtyLots total_lots) const;

  // The venue's side: one sequenced OUCH message. Any bytes are taken.
  OrderEvent on_message(Bytes msg, TimeNs now);

  // The connection's side.
  void on_connection_lost();
  // Unanswered orders become kDead. out(event) for each.
  template <class F>
  void reconcile(F&& out) {
    for (u32 n = open_first_; n != 0;) {
      const u32 next = slot(n).open_next;
      OrderEvent e;
      if (reconcile_one(n, e)) out(e);
      n = next;
    }
  }
  template <class F>
  void end_session(F&& out) {
    while (open_first_ != 0) out(kill_one(open_first_));
  }

  const OrderCounters& counters() const { return counters_; }
  const OrderManagerConfig& config() const { return config_; }
  u64 state_hash(u64 h) const;
  template <class A>
  void archive(A& a) {
    a.pool(orders_.get(), config_.capacity);
    a.pool(fills_.get(), config_.fill_capacity);
    a.pool(side_first_.data(), side_first_.size());
    a(last_ref_num_, venue_ref_num_, open_first_, open_last_, open_count_, fill_count_, history_, counters_);
    static_assert(sizeof(OrderManager) == 240, "a member came or went: is it listed above?");
  }

 private:
  struct Fill {
    u64 match_number = 0;
    u32 user_ref_num = 0;
    InstrumentIx instrument = kNoInstrument;
    Side side = Side::kBuy;
    bool booked = false;
    QtyLots lots = 0;
    PriceTicks price_ticks = 0;
    Money fee = 0;
  };

  Order& slot(u32 n) { return orders_[n & mask_]; }
  const Order& slot(u32 n) const { return orders_[n & mask_]; }
  void prefetch_next() const;
  Order* known(u32 n, OrderEvent& e);
  bool step(Order& o, OrderInput input, OrderEvent& e);  // applies next_state; keeps lists and claim; false = anomaly
  void begin(Order& o);                                   // links a new open order
  void end(Order& o);                                     // unlinks
  void reclaim(Order& o);                                 // recomputes the claim
  OrderClaim claim_of(const Order& o) const;
  void refresh_best(InstrumentIx ix, Side side);
  void original_died(Order& o, OrderEvent& e);
  Order* adopt(u32 number, const ouch::Symbol& symbol, u8 side, QtyLots lots, u64 price, OrderEvent& e, TimeNs now);
  bool reconcile_one(u32 n, OrderEvent& e);
  OrderEvent kill_one(u32 n);
  Money fee_of(u8 liquidity, QtyLots lots) const;
  Fill* find_fill(u64 match_number, u32 user_ref_num);
  void book(const Order& o, QtyLots lots, PriceTicks price_ticks, u8 liquidity, u64 match_number, OrderEvent& e);

  void apply(const ouch::Accepted& m, OrderEvent& e, TimeNs now);
  void apply(const ouch::Replaced& m, OrderEvent& e, TimeNs now);
  void apply(const ouch::Executed& m, OrderEvent& e);
  void apply_removed(u32 number, QtyLots lots, u8 reason, OrderEvent& e);
  void apply(const ouch::Rejected& m, OrderEvent& e);
  void apply(const ouch::BrokenTrade& m, OrderEvent& e);
  void apply(const ouch::TradeCorrection& m, OrderEvent& e);
  void apply(const ouch::PriorityUpdate& m, OrderEvent& e);
  void apply(const ouch::Modified& m, OrderEvent& e);
  void apply(const ouch::Restated& m, OrderEvent& e);

  OrderManagerConfig config_;
  const SymbolTable& symbols_;
  Exposure& exposure_;
  std::unique_ptr<Order[]> orders_;
  std::unique_ptr<Fill[]> fills_;
  std::vector<u32> side_first_;  // by instrument * 2 + side
  u32 mask_;
  u32 last_ref_num_ = 0;
  u32 venue_ref_num_ = 0;  // highest the venue has told of
  u32 open_first_ = 0, open_last_ = 0, open_count_ = 0;
  u64 fill_count_ = 0;
  u64 history_ = 0;  // every transition so far, folded
  OrderCounters counters_;
};

}  // namespace peregrine
