// One ITCH feed's state: instruments, locate map, L3 books, trading states, prints. Pure: bytes in, events out.
// All memory is taken at construction; no message can make it grow, block or throw.
#pragma once

#include <span>
#include <string_view>

#include "core/bytes.h"
#include "core/types.h"
#include "market/book.h"
#include "market/event.h"
#include "market/itch.h"

namespace peregrine {

struct MarketConfig {
  u32 max_instruments = 64;
  u32 max_orders = 1u << 17;    // live at once, all instruments
  u32 max_levels = 1u << 15;    // live at once, all instruments and sides
  u32 max_own_orders = 1024;    // followed for their queue position
  u32 max_prints = 1u << 14;    // how far back a broken trade is still found
  bool auto_instruments = false;  // add instruments as the feed names them; else only those added by hand
  TimeNs midnight_ns = 0;       // local midnight of the session, since the epoch: added to ITCH times
  char venue = 'Q';             // whose operational halts ('h') count: Q NASDAQ, B BX, X PSX
};

class Market {
 public:
  enum class Outcome : u8 {
    kApplied,
    kIgnored,            // a type that changes nothing here (L, V, K, N, O, B of an unknown print)
    kUnknownType,
    kMalformed,          // too short, impossible side, an order of zero shares
    kUnknownRef,         // also: a ref that belongs to another instrument
    kDuplicateRef,
    kOverExecuted,       // executes or cancels more than is left
    kUnknownInstrument,  // an instrument nobody asked for; not an error
    kFull,               // a pool was full: the message is dropped and the book unsound
  };
  static constexpr int kOutcomes = 9;
  static const char* outcome_name(Outcome o);

  struct Stats {
    u64 messages = 0;
    u64 outcomes[kOutcomes] = {};
    u64 types[256] = {};
    u64 broken_unknown = 0;  // broken trades whose print is not in the ring any more
    u64 unsound_marks = 0;   // how often a sound book became unsound
    u64 own_full = 0;        // own orders not followed for want of room
  };

  explicit Market(const MarketConfig& config);
  Market(const Market&) = delete;
  Market& operator=(const Market&) = delete;

  // The instrument of this symbol, added when new; kNoInstrument when the table is full.
  InstrumentIx add_instrument(std::string_view symbol);
  InstrumentIx find(std::string_view symbol) const;
  std::string_view symbol(InstrumentIx ix) const { return instruments_[ix].stock.text(); }
  u32 instruments() const { return n_instruments_; }

  // Decodes and applies one message and completes `out` (instrument, side, price and quantity filled in).
  // On anything but kApplied `out` says kNone, with instrument and order_id where they are known.
  Outcome on_message(Bytes msg, u64 feed_seq, TimeNs rx_ns, Event& out);
  // The same for snapshot (GLIMPSE) message n, counted from 1: the first clears the books, 'G' ends the snapshot.
  Outcome on_snapshot_message(Bytes msg, u64 n, TimeNs rx_ns, Event& out);
  // The messages of one datagram, before the first is applied: their cache misses run side by side instead of one
  // after the other. Changes nothing; does nothing while fewer than `from_orders` live: the books then fit into the
  // cache (2 MiB hold about that many with their levels and entries).
  static constexpr u32 kPrefetchFromOrders = 20'000;
  void prefetch(std::span<const Bytes> messages, u32 from_orders = kPrefetchFromOrders) const;

  Top top(InstrumentIx ix) const { return books_.top(ix); }
  int levels(InstrumentIx ix, Side side, Level* out, int n) const { return books_.levels(ix, side, out, n); }
  // f(i, price_ticks, qty_lots) for the n best levels, best first.
  template <class F>
  void each_level(InstrumentIx ix, Side side, int n, F&& f) const {
    books_.each_level(ix, side, n, f);
  }
  int queue(InstrumentIx ix, Side side, PriceTicks price_ticks, QueuedOrder* out, int n) const;
  QtyLots lots_at(InstrumentIx ix, Side side, PriceTicks price_ticks) const;

  // The venue's state, an operational halt counted as halted. Halted until the feed says otherwise.
  TradingState trading_state(InstrumentIx ix) const;
  bool market_open() const { return market_open_; }
  char system_event() const { return system_event_; }    // last S code, ' ' before the first
  char mwcb_level() const { return mwcb_level_; }        // market-wide breaker level passed, ' ' = none
  bool short_sale_restricted(InstrumentIx ix) const { return instruments_[ix].reg_sho != '0'; }
  u32 round_lot_lots(InstrumentIx ix) const { return instruments_[ix].round_lot; }

  bool sound(InstrumentIx ix) const { return instruments_[ix].sound; }
  void set_sound(InstrumentIx ix, bool sound);
  void set_all_sound(bool sound);
  void begin_snapshot();  // clears all books; events carry kFlagSnapshot until the end
  void end_snapshot();    // all books sound again
  bool in_snapshot() const { return in_snapshot_; }

  // Own orders: how many lots stand before ours at its price. May be called before or after the order shows up.
  bool track_own(u64 order_ref);
  void untrack_own(u64 order_ref) { books_.untrack_own(order_ref); }
  QtyLots queue_ahead_lots(u64 order_ref) const { return books_.queue_ahead_lots(order_ref); }

  // Prints: E, printable C, P and Q, less broken ones. 0 = none yet.
  PriceTicks last_trade_ticks(InstrumentIx ix) const { return instruments_[ix].last_trade; }
  PriceTicks last_execution_ticks(InstrumentIx ix) const { return instruments_[ix].last_execution; }  // E and C only
  u64 volume(InstrumentIx ix) const { return instruments_[ix].volume; }

  u32 live_orders() const { return books_.live_orders(); }
  u32 live_levels() const { return books_.live_levels(); }
  const Stats& stats() const { return stats_; }
  const MarketConfig& config() const { return config_; }
  // Over instruments by index, levels by price, orders by priority: never in hash order.
  u64 state_hash() const;
  void check() const { books_.check(); }
  template <class A>
  void archive(A& a) {
    books_.archive(a);
    a.pool(by_locate_.data(), by_locate_.size(), [](u32& l, std::size_t) { l = kNoInstrument; });
    a.pool(instruments_.data(), instruments_.size());
    a.pool(symbol_buckets_.data(), symbol_buckets_.size());
    a.pool(prints_.data(), prints_.size());
    a(n_prints_, n_instruments_, market_open_, in_snapshot_, system_event_, mwcb_level_, stats_);
    static_assert(sizeof(Market) == sizeof(BookStore) + 2280, "a member came or went: is it listed above?");
  }

 private:
  struct alignas(kCacheLine) Instrument {
    itch::Stock stock;
    u64 volume = 0;
    u32 last_trade = 0;
    u32 last_execution = 0;
    u32 round_lot = 0;
    u32 next_in_bucket = 0;
    u16 locate = 0;
    char state = 'H';
    char reg_sho = '0';
    bool halted_by_venue = false;
    bool sound = true;
  };
  static_assert(sizeof(Instrument) == 64);
  struct Print {
    u64 match;
    u64 shares;  // 0 = broken, or the slot is empty
    u32 instrument;
    u32 price_ticks;
  };

  void prefetch_some(std::span<const Bytes> messages) const;
  Outcome apply(Bytes msg, Event& out);
  template <class T>
  Outcome apply_add(const T& m, u32 mpid, Event& out);
  Outcome apply_reduction(u16 locate, u64 ref, u32 shares, EventKind kind, Event& out);
  Outcome apply_delete(Bytes msg, Event& out);
  Outcome apply_replace(Bytes msg, Event& out);
  Outcome apply_executed_price(Bytes msg, Event& out);
  Outcome apply_rare(Bytes msg, Event& out);
  Outcome apply_system(Bytes msg, Event& out);
  Outcome apply_directory(Bytes msg, Event& out);
  Outcome apply_trading_action(Bytes msg, Event& out);
  Outcome apply_operational_halt(Bytes msg, Event& out);
  Outcome apply_reg_sho(Bytes msg, Event& out);
  Outcome apply_collar(Bytes msg, Event& out);
  Outcome apply_trade(Bytes msg, Event& out);
  Outcome apply_cross(Bytes msg, Event& out);
  Outcome apply_broken(Bytes msg, Event& out);
  Outcome apply_noii(Bytes msg, Event& out);
  template <class T>
  Outcome ignore(Bytes msg) const;
  Outcome malformed_order(Bytes msg);
  Outcome from_book(BookStore::Result r, InstrumentIx ix);
  InstrumentIx by_locate(u16 locate) const;
  InstrumentIx resolve(u16 locate, const itch::Stock& stock);
  InstrumentIx resolve_new(u16 locate, const itch::Stock& stock);
  InstrumentIx add_stock(const itch::Stock& stock);
  InstrumentIx find_stock(const itch::Stock& stock) const;
  void bind_locate(u16 locate, InstrumentIx ix);
  void mark_unsound(InstrumentIx ix);
  void print(InstrumentIx ix, u64 match, u64 shares, u32 price_ticks);

  MarketConfig config_;
  BookStore books_;
  HugeArray<u32> by_locate_;  // 65,536 entries: locate -> instrument or kNoInstrument
  HugeArray<Instrument> instruments_;
  HugeArray<u32> symbol_buckets_;
  HugeArray<Print> prints_;
  u64 n_prints_ = 0;
  u32 n_instruments_ = 0;
  u32 symbol_mask_;
  bool foreign_bound_ = false;  // some locate is known to be none of ours
  bool market_open_ = false;
  bool in_snapshot_ = false;
  char system_event_ = ' ';
  char mwcb_level_ = ' ';
  Stats stats_;
};

}  // namespace peregrine
