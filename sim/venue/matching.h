// Price-time matching of many symbols. Pure: no sockets, no clock, no randomness; all memory at construction.
//
// A price level keeps two queues, displayed and hidden: at one price displayed orders trade first, each queue
// first come first served. Executions are at the resting order's price.
#pragma once

#include <vector>

#include "core/types.h"

namespace peregrine::venue {

// Names a live order: generation << 32 | slot. A handle of a dead order is recognised, never reused.
using OrderHandle = u64;
inline constexpr OrderHandle kNoOrder = 0;

inline constexpr PriceTicks kMarketPriceTicks = 0x7FFFFFFF;  // OUCH's market order price

enum class Tif : u8 { kDay = 0, kIoc = 1 };

// What happens when an order would trade against one of its own self-trade group.
enum class StpMode : u8 {
  kOff = 0,
  kCancelResting = 1,   // the resting order is cancelled whole, the incoming one goes on
  kCancelIncoming = 2,  // the incoming remainder is cancelled
  kDecrementBoth = 3,   // both lose the smaller of the two quantities
};

enum class BookMode : u8 {
  kContinuous = 0,
  kNoCross = 1,  // orders rest; one that would trade is refused (before the open, quotation only)
  kHalted = 2,   // nothing may be entered; orders stay and can be cancelled
  kCollect = 3,  // orders rest even crossed, until `cross` uncrosses them (opening, reopening)
};

struct OrderSpec {
  u32 symbol = 0;
  Side side = Side::kBuy;
  Tif tif = Tif::kDay;
  bool hidden = false;
  bool post_only = false;
  PriceTicks price_ticks = 0;
  u32 qty = 0;
  u32 min_qty = 0;    // IOC only: trade at least this much at once, or nothing; qty = fill or kill
  u32 owner = 0;      // who is told of the fills
  u32 stp_group = 0;  // 0 = none: never self-matched
  u64 tag = 0;        // the owner's own name of the order, handed back in fills
};

enum class EnterOutcome : u8 {
  kRested = 0,         // something rests (perhaps after fills)
  kFilled = 1,         // nothing left
  kIocRemainder = 2,   // the rest was cancelled: immediate or cancel, or a market order
  kMinQtyMissed = 3,   // less than min_qty was to be had: nothing traded
  kPostOnlyTakes = 4,  // would have taken: nothing traded
  kSelfMatch = 5,      // the remainder was cancelled by self-trade prevention
  kWouldCross = 6,     // refused: BookMode::kNoCross
  kHalted = 7,         // refused
  kFull = 8,           // refused: no slot or no level left
  kBadSpec = 9,        // refused: symbol, quantity or price out of range
};

constexpr bool refused(EnterOutcome o) { return o >= EnterOutcome::kWouldCross; }

struct EnterResult {
  EnterOutcome outcome = EnterOutcome::kBadSpec;
  OrderHandle handle = kNoOrder;  // of the resting order
  u64 ref = 0;                    // venue-wide order reference; 0 when refused
  u32 filled = 0;
  u32 left = 0;       // resting, or cancelled when nothing rests
  u32 prevented = 0;  // taken off the incoming order by self-trade prevention
};

struct Fill {
  u64 match;
  u32 symbol;
  Side taker_side;
  bool maker_hidden;
  bool taker_hidden;
  PriceTicks price_ticks;
  u32 qty;
  u32 maker_left;
  OrderHandle maker;
  u64 maker_ref;
  u64 maker_tag;
  u32 maker_owner;
  u32 taker_owner;
  u64 taker_ref;
  u64 taker_tag;
};

// A trade that self-trade prevention stopped; decrements are what each side lost.
struct Prevented {
  u32 symbol;
  Side resting_side;
  bool resting_hidden;
  PriceTicks price_ticks;
  u32 qty;  // that would have traded
  u32 resting_decrement;
  u32 incoming_decrement;
  u32 resting_left;
  OrderHandle resting;
  u64 resting_ref;
  u64 resting_tag;
  u32 resting_owner;
  u32 incoming_owner;
  u64 incoming_ref;
  u64 incoming_tag;
};

class MatchSink {
 public:
  virtual void on_fill(const Fill& fill) = 0;
  virtual void on_prevented(const Prevented& prevented) = 0;

 protected:
  ~MatchSink() = default;
};

// A live order as seen from outside.
struct OrderView {
  u64 ref = 0;
  u64 tag = 0;
  u32 symbol = 0;
  u32 owner = 0;
  u32 qty = 0;
  Side side = Side::kBuy;
  bool hidden = false;
  PriceTicks price_ticks = 0;
  OrderHandle handle = kNoOrder;
};

struct LevelView {
  PriceTicks price_ticks = 0;
  u64 displayed_qty = 0;
  u64 hidden_qty = 0;
  u32 displayed_orders = 0;
  u32 hidden_orders = 0;
};

struct MatchingConfig {
  u32 symbols = 1;
  u32 max_orders = 1u << 16;       // live at once, all symbols
  u32 max_levels_per_side = 4096;  // of each symbol
  StpMode stp = StpMode::kCancelResting;
};

class Matching {
 public:
  Matching(const MatchingConfig& config, MatchSink* sink);

  // Enters an order: matches it, rests what may rest. Fills and preventions go to the sink before it returns.
  EnterResult enter(const OrderSpec& spec);
  // Removes an order; false when the handle is not live. `view` (optional) gets the order as it was.
  bool cancel(OrderHandle handle, OrderView* view = nullptr);
  // Cuts the open quantity by `qty`, keeping priority; at least the whole = cancel. Returns what was removed.
  u32 reduce(OrderHandle handle, u32 qty);
  // Would an order of this side at this price trade now?
  bool would_take(u32 symbol, Side side, PriceTicks price_ticks) const;

  // Uncrosses a book in BookMode::kCollect: most volume, then least imbalance, then nearest `reference_ticks`.
  // Fills go to the sink with one price (maker = buy order, taker = sell order) and one match number each.
  struct CrossResult {
    PriceTicks price_ticks = 0;
    u64 qty = 0;
  };
  CrossResult cross(u32 symbol, PriceTicks reference_ticks);

  void set_mode(u32 symbol, BookMode mode) { books_[symbol].mode = mode; }
  BookMode mode(u32 symbol) const { return books_[symbol].mode; }

  bool live(OrderHandle handle) const;
  bool view(OrderHandle handle, OrderView& out) const;
  // Best level of a side, hidden orders counted too; false = empty.
  bool best(u32 symbol, Side side, LevelView& out) const;
  // Best displayed price of a side; false = none displayed.
  bool best_displayed(u32 symbol, Side side, LevelView& out) const;
  // The displayed order that would trade first; false = none displayed.
  bool front(u32 symbol, Side side, OrderView& out) const;
  // Best first; returns how many were written.
  int levels(u32 symbol, Side side, LevelView* out, int n) const;
  // Orders of one side in priority order (price, displayed before hidden, time).
  template <class F>
  void for_each_order(u32 symbol, Side side, F&& f) const {
    const SideBook& book = books_[symbol].sides[index(side)];
    for (std::size_t i = book.levels.size(); i-- > 0;) {
      const Level& level = levels_[book.levels[i].level];
      for (int hidden = 0; hidden < 2; ++hidden) {
        for (u32 slot = level.queue[hidden].head; slot != kNil; slot = orders_[slot].next) f(order_view(slot));
      }
    }
  }

  u32 symbols() const { return static_cast<u32>(books_.size()); }
  u32 live_orders() const { return live_orders_; }
  u64 next_ref() const { return next_ref_; }
  u64 next_match() const { return next_match_; }
  u64 traded_qty(u32 symbol) const { return books_[symbol].traded_qty; }
  u64 state_hash() const;  // by symbol, side, price and priority
  void check() const;      // asserts every invariant; slow, for tests

 private:
  static constexpr u32 kNil = 0xFFFFFFFFu;

  struct alignas(64) Order {
    PriceTicks price_ticks;
    u64 ref;
    u64 tag;
    u32 next, prev;
    u32 generation;  // odd = live
    u32 level;
    u32 symbol;
    u32 qty;
    u32 owner;
    u32 stp_group;
    Side side;
    bool hidden;
  };
  struct Queue {
    u32 head, tail;
    u64 qty;
    u32 orders;
  };
  struct Level {
    PriceTicks price_ticks;
    Queue queue[2];  // displayed, hidden
  };
  struct LevelRef {
    PriceTicks price_ticks;
    u32 level;
  };
  struct SideBook {
    std::vector<LevelRef> levels;  // worst first, best at the back; capacity fixed
  };
  struct Book {
    SideBook sides[2];
    BookMode mode = BookMode::kContinuous;
    u64 traded_qty = 0;
  };

  OrderHandle handle_of(u32 slot) const { return (static_cast<u64>(orders_[slot].generation) << 32) | slot; }
  OrderView order_view(u32 slot) const;
  LevelView level_view(const Level& level) const;
  bool crosses(Side taker, PriceTicks limit, PriceTicks resting) const {
    return taker == Side::kBuy ? resting <= limit : resting >= limit;
  }
  u64 available(const OrderSpec& spec) const;
  void match(const OrderSpec& spec, u64 ref, EnterResult& result, bool& self_cancelled);
  bool rest(const OrderSpec& spec, u64 ref, EnterResult& result);
  u32 find_or_add_level(u32 symbol, Side side, PriceTicks price_ticks);
  void remove_slot(u32 slot);
  void remove_level_if_empty(u32 symbol, Side side, u32 level);

  MatchingConfig config_;
  MatchSink* sink_;
  std::vector<Order> orders_;
  std::vector<u32> free_orders_;
  std::vector<Level> levels_;
  std::vector<u32> free_levels_;
  std::vector<Book> books_;
  u32 live_orders_ = 0;
  u64 next_ref_ = 1;
  u64 next_match_ = 1;
};

}  // namespace peregrine::venue
