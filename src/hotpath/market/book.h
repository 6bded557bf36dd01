// L3 books of every instrument of one feed: orders in time priority inside price levels, one pool for all.
//
// Order (32 bytes, found by ref):               ref | shares | level | prev | next | age | attributed, passed
// LevelNode (32 bytes, found by side and price): shares | price | book, passed | orders | head | tail | own
// Entry (8 bytes, per side):                    key | level   sorted, best last; key orders both sides the same way
//
// Both tables keep their cells where they are (pair_table.h), so that order and level name each other by index. A
// message computes where its order is, or an add where its level is; the sorted entries are touched only when a level
// appears or goes. Entries live in blocks of 16, 32, 64 … from one arena. Nothing is allocated after construction; a
// full pool is an outcome, and the book is then unchanged.
#pragma once

#include "core/assert.h"
#include "core/choose.h"
#include "core/types.h"
#include "market/huge_array.h"
#include "market/pair_table.h"

namespace peregrine {

struct Level {
  PriceTicks price_ticks = 0;
  QtyLots qty_lots = 0;
  u32 orders = 0;
};

// Best prices of both sides; lots 0 = that side is empty (its price is then 0).
struct Top {
  PriceTicks bid_ticks = 0;
  QtyLots bid_lots = 0;
  PriceTicks ask_ticks = 0;
  QtyLots ask_lots = 0;
  u32 bid_orders = 0;
  u32 ask_orders = 0;
};

// One order in the queue of its level, first in priority first.
struct QueuedOrder {
  u64 ref = 0;
  QtyLots qty_lots = 0;
  u32 mpid = 0;  // four ASCII bytes, little-endian load; 0 = not attributed
};

struct BookConfig {
  u32 max_books = 0;
  u32 max_orders = 0;  // live at once, all instruments
  u32 max_levels = 0;  // live at once, all instruments and both sides
  u32 max_own = 0;     // own orders followed at once
};

class BookStore {
 public:
  enum class Result : u8 { kOk, kUnknownRef, kDuplicateRef, kOverExecuted, kFull };
  static constexpr u32 kNil = 0xFFFFFFFFu;

  // What a message touched, for completing its event.
  struct Touched {
    Side side = Side::kBuy;
    u32 price_ticks = 0;
    u32 shares = 0;  // removed from (or added to) the level
  };

  explicit BookStore(const BookConfig& config);
  ~BookStore();
  BookStore(const BookStore&) = delete;
  BookStore& operator=(const BookStore&) = delete;

  Result add(u32 book, u64 ref, Side side, u32 shares, u32 price_ticks, u32 mpid);
  Result reduce(u32 book, u64 ref, u32 shares, Touched& out);
  Result remove(u32 book, u64 ref, Touched& out);
  Result replace(u32 book, u64 ref, u64 new_ref, u32 shares, u32 price_ticks, Touched& out);
  // Start the cache misses of a coming message, one link of its chain a call: order → level and neighbours → entries
  // for what names an order; level → tail of its queue, or entries, for what adds one. Each wants the link before
  // it to be there by now. They choose addresses, not ways: many wrong guesses cost more than the misses they save.
  void prefetch_order(u64 ref) const { orders_.prefetch(hash_of(ref)); }
  void prefetch_side(u32 book) const { __builtin_prefetch(&sides_[book << 1], 1); }
  void prefetch_level_at(u32 book, Side side, u32 price_ticks) const;
  void prefetch_append(u32 book, Side side, u32 price_ticks) const;
  u32 prefetch_around(u64 ref) const;  // its level, for the next; kNil: not known
  void prefetch_drop(u32 level, bool replaces, u32 new_price_ticks) const;

  Top top(u32 book) const;
  int levels(u32 book, Side side, Level* out, int n) const;
  // f(i, price_ticks, qty_lots) for the n best levels, best first.
  template <class F>
  void each_level(u32 book, Side side, int n, F&& f) const {
    const SideBook& s = sides_[book << 1 | static_cast<u32>(side)];
    const Entry* best = &entries_[s.offset] + s.count;
    const int have = s.count < static_cast<u32>(n) ? static_cast<int>(s.count) : n;
    for (int i = 0; i < have; ++i) {
      const LevelNode& l = levels_[best[-1 - i].level];
      f(i, static_cast<PriceTicks>(l.price_ticks), static_cast<QtyLots>(l.shares));
    }
  }
  int queue(u32 book, Side side, u32 price_ticks, QueuedOrder* out, int n) const;
  // Quantity at a price, 0 when there is no such level.
  QtyLots lots_at(u32 book, Side side, u32 price_ticks) const;
  void clear();

  bool track_own(u64 ref);  // false when the table is full
  void untrack_own(u64 ref);
  QtyLots queue_ahead_lots(u64 ref) const;  // -1: not followed, or not in the book

  u32 live_orders() const { return live_orders_; }
  u32 live_levels() const { return live_levels_; }
  u64 hash_book(u64 h, u32 book) const;
  void check() const;  // asserts every invariant; slow, for tests
  template <class A>
  void archive(A& a);

 private:
  static constexpr u64 kSpread = 0x9E3779B97F4A7C15ull;
  static u32 hash_of(u64 ref) { return static_cast<u32>((ref * kSpread) >> 32); }

  struct Order {
    static constexpr u32 kManyPassed = ~0u >> 1;  // never reached
    u64 ref;
    u32 shares;  // 0 = a free cell
    u32 level;
    u32 prev;
    u32 next;
    u32 age;  // rises with each add: who is ahead of whom
    u32 attributed : 1;  // mpids_ says to whom
    u32 passed_ : 31;

    bool live() const { return shares != 0; }
    bool is(u64 r) const { return (ref == r) & (shares != 0); }
    u32 hash() const { return hash_of(ref); }
    u32 passed() const { return passed_; }
    void pass() { ++passed_; }
    void unpass() { --passed_; }
    void wipe() {
      const u32 kept = passed_;
      *this = {};
      passed_ = kept;
    }
  };
  static_assert(sizeof(Order) == 32);
  // Which level: book index << 1 | side, and the price.
  struct LevelKey {
    u32 book;
    u32 price_ticks;
    u32 hash() const { return hash_of(static_cast<u64>(book) << 32 | price_ticks); }
  };
  struct LevelNode {
    // 7 bits are what a book's index leaves. A count that once was full stays so: searches only go on for longer.
    static constexpr u32 kManyPassed = 127;
    u64 shares;
    u32 price_ticks;
    u32 book : 25;  // book index << 1 | side
    u32 passed_ : 7;
    u32 orders;  // 0 = a free cell
    u32 head;
    u32 tail;
    u32 own;  // first own order of this level in own_, or kNil

    u32 of() const { return book >> 1; }
    Side side() const { return static_cast<Side>(book & 1); }
    bool live() const { return orders != 0; }
    bool is(const LevelKey& k) const { return (price_ticks == k.price_ticks) & (book == k.book) & (orders != 0); }
    u32 hash() const { return LevelKey{book, price_ticks}.hash(); }
    u32 passed() const { return passed_; }
    void pass() { passed_ += passed_ != kManyPassed; }
    void unpass() { passed_ -= passed_ != kManyPassed; }
    void wipe() {
      const u32 kept = passed_;
      *this = {};
      passed_ = kept;
    }
  };
  static_assert(sizeof(LevelNode) == 32);
  struct Entry {
    u32 key;
    u32 level;
  };
  static constexpr u32 kNear = 16;  // entries compared at once: two whole cache lines; also the smallest block
  static constexpr u32 kNoKey = ~0u;  // of the unused entries of a block
  struct SideBook {
    u32 offset;  // of its block in entries_
    u32 count;
    u32 block_class;  // capacity = kNear << block_class; kNil = no block yet
    u32 best;         // its best level, when count is not 0
  };
  struct Own {
    u64 ref;
    u64 ahead;
    u32 level;  // kNil = not in the book (yet, or any more)
    u32 age;
    u32 next_in_level;
    u32 next_in_bucket;  // also the free list
  };

  static u32 key_of(u32 side, u32 price_ticks) { return side == 0 ? price_ticks : ~price_ticks; }
  u32 find_order(u64 ref) const { return orders_.find(hash_of(ref), ref); }
  u32 find_entry(const SideBook& s, u32 key) const;
  static u32 near_entries(const Entry* e, u32 key);
  // Where the entries that are compared at once begin: at a cache line, and so that they reach past the best.
  static u32 near_from(u32 count) { return (count - kNear / 2 - 1) & choose(count > kNear, ~(kNear / 2 - 1), 0u); }
  void prefetch_entries(u32 book_side, bool wanted) const;
  bool room_for_entry(SideBook& s);
  // The level, made where there is none, then with 0 orders: the caller gives it one before it looks for any other.
  u32 level_for(LevelKey key);  // kNil = full
  u32 new_level(LevelKey key);
  void drop_level(u32 level);
  void append(u64 ref, u32 level, u32 shares, u32 mpid);
  void unlink_and_free(u32 order);
  void own_passed(u32 level, u32 age, u64 shares);  // lots ahead of own orders behind `age` left the queue
  void own_added(u32 order);
  void own_behind(u32 order);  // the order leaves a level with own orders; it may be one of them
  void own_gone(u64 ref, u32 level);
  u32 find_own(u64 ref) const;
  void detach_own(u32 own);

  BookConfig config_;
  u32 live_orders_ = 0;
  u32 live_levels_ = 0;
  u32 next_age_ = 0;
  u32 arena_used_ = 0;
  u32 arena_size_;
  u32 own_live_ = 0;     // own orders followed
  u32 own_pending_ = 0;  // … of which not in the book
  u32 free_own_ = kNil;
  u32 own_mask_;
  u32 free_block_[32];
  PairTable<Order> orders_;
  PairTable<LevelNode> levels_;
  HugeArray<u32> mpids_;  // of the order in the cell of the same index, where that is attributed
  HugeArray<Entry> entries_;
  HugeArray<SideBook> sides_;  // [book * 2 + side]
  HugeArray<Own> own_;
  HugeArray<u32> own_buckets_;
};

// Pools byte for byte, free lists too: which cell the next order gets is part of the state.
template <class A>
void BookStore::archive(A& a) {
  const auto chained = [](auto member, u32 n) {
    return [member, n](auto& t, std::size_t i) {
      t = {};
      t.*member = i + 1 < n ? static_cast<u32>(i) + 1 : kNil;
    };
  };
  a(live_orders_, live_levels_, next_age_, arena_used_, own_live_, own_pending_, free_own_,
    free_block_);
  a.pool(orders_.data(), orders_.size());
  a.pool(levels_.data(), levels_.size());
  a.pool(mpids_.data(), mpids_.size());
  a.pool(entries_.data(), entries_.size());
  a.pool(sides_.data(), sides_.size(), [](SideBook& s, std::size_t) { s = {0, 0, kNil, kNil}; });
  a.pool(own_.data(), own_.size(), chained(&Own::next_in_bucket, config_.max_own));
  a.pool(own_buckets_.data(), own_buckets_.size(), [](u32& b, std::size_t) { b = kNil; });
  static_assert(sizeof(BookStore) == 312, "a member came or went: is it listed above?");
}

}  // namespace peregrine

#include "market/book_hot.h"
