// What every order message runs: kept in a header so that the decoder and the book become one piece of code.
#pragma once

#include "core/choose.h"
#include "market/book.h"

namespace peregrine {

// A function that does nothing but prefetch looks free of effects to gcc, which drops calls it has not inlined early.
#define PRG_PREFETCH [[gnu::always_inline]] inline
// What every message runs becomes one function; what few run (levels that come and go, own orders) stays outside.
#define PRG_HOT [[gnu::always_inline]] inline

PRG_PREFETCH void BookStore::prefetch_level_at(u32 book, Side side, u32 price_ticks) const {
  levels_.prefetch(LevelKey{book << 1 | static_cast<u32>(side), price_ticks}.hash());
}

// The entries that are looked at first; not `wanted`: the side's own line instead, which is there already.
PRG_PREFETCH void BookStore::prefetch_entries(u32 book_side, bool wanted) const {
  const SideBook& s = sides_[book_side];
  const Entry* e = &entries_[s.offset + near_from(s.count)];
  __builtin_prefetch(choose(wanted, static_cast<const void*>(e), static_cast<const void*>(&s)), 1);
  __builtin_prefetch(choose(wanted, static_cast<const void*>(e + kNear / 2), static_cast<const void*>(&s)), 1);
}

// What joins a queue: the last of it, or where a new level will stand.
PRG_PREFETCH void BookStore::prefetch_append(u32 book, Side side, u32 price_ticks) const {
  const LevelKey key{book << 1 | static_cast<u32>(side), price_ticks};
  const u32 hash = key.hash();
  const u32 level = levels_.at_home(hash, key);
  const bool there = level != kNil;
  __builtin_prefetch(&orders_[levels_[choose(there, level, levels_.home(hash))].tail & orders_.mask()], 1);
  prefetch_entries(key.book, !there);
}

// What leaves the queue: its level, and those before and behind it.
[[gnu::always_inline]] inline u32 BookStore::prefetch_around(u64 ref) const {
  const u32 order = orders_.at_home(hash_of(ref), ref);
  if (order == kNil) [[unlikely]] return kNil;
  const Order& o = orders_[order];
  __builtin_prefetch(&levels_[o.level], 1);
  __builtin_prefetch(&orders_[choose(o.prev == kNil, order, o.prev)], 1);
  __builtin_prefetch(&orders_[choose(o.next == kNil, order, o.next)], 1);
  return o.level;
}

// The last order of a level takes it along; a replacement goes to another level, or else to its own.
PRG_PREFETCH void BookStore::prefetch_drop(u32 level, bool replaces, u32 new_price_ticks) const {
  const LevelNode& l = levels_[level];
  prefetch_entries(l.book, l.orders == 1);
  levels_.prefetch(LevelKey{l.book, choose(replaces, new_price_ticks, l.price_ticks)}.hash());
}

PRG_HOT u32 BookStore::level_for(LevelKey key) {
  const u32 found = levels_.find(key.hash(), key);
  return found != kNil ? found : new_level(key);
}

PRG_HOT void BookStore::append(u64 ref, u32 level, u32 shares, u32 mpid) {
  const u32 order = orders_.take(hash_of(ref));
  Order& o = orders_[order];
  LevelNode& l = levels_[level];
  o.ref = ref;
  o.shares = shares;
  o.level = level;
  o.prev = l.tail;
  o.next = kNil;
  o.age = next_age_++;
  if (mpid != 0) {
    o.attributed = 1;
    mpids_[order] = mpid;
  }
  if (l.tail == kNil) {
    l.head = order;
  } else {
    orders_[l.tail].next = order;
  }
  l.tail = order;
  l.shares += shares;
  ++l.orders;
  ++live_orders_;
  if (own_pending_ != 0) own_added(order);
}

PRG_HOT void BookStore::unlink_and_free(u32 order) {
  const Order& o = orders_[order];
  const u32 level = o.level;
  LevelNode& l = levels_[level];
  PRG_ASSERT(l.shares >= o.shares && l.orders > 0);
  l.shares -= o.shares;
  if (l.own != kNil) [[unlikely]] own_behind(order);
  if (l.orders == 1) {
    drop_level(level);
  } else {
    --l.orders;
    // At which end of the queue it stood, if at any, cannot be foretold.
    *choose(o.prev == kNil, &l.head, &orders_[o.prev].next) = o.next;
    *choose(o.next == kNil, &l.tail, &orders_[o.next].prev) = o.prev;
  }
  if (o.attributed) mpids_[order] = 0;
  orders_.vacate(order);
  --live_orders_;
}

PRG_HOT BookStore::Result BookStore::add(u32 book, u64 ref, Side side, u32 shares, u32 price_ticks, u32 mpid) {
  if (find_order(ref) != kNil) return Result::kDuplicateRef;
  if (live_orders_ == config_.max_orders) return Result::kFull;
  const u32 level = level_for({book << 1 | static_cast<u32>(side), price_ticks});
  if (level == kNil) return Result::kFull;
  append(ref, level, shares, mpid);
  return Result::kOk;
}

PRG_HOT BookStore::Result BookStore::reduce(u32 book, u64 ref, u32 shares, Touched& out) {
  const u32 order = find_order(ref);
  if (order == kNil) return Result::kUnknownRef;
  Order& o = orders_[order];
  LevelNode& l = levels_[o.level];
  if (l.of() != book) return Result::kUnknownRef;
  if (shares > o.shares) return Result::kOverExecuted;
  out = {l.side(), l.price_ticks, shares};
  if (shares == o.shares) {
    unlink_and_free(order);
    return Result::kOk;
  }
  o.shares -= shares;
  l.shares -= shares;
  if (l.own != kNil) own_passed(o.level, o.age, shares);
  return Result::kOk;
}

PRG_HOT BookStore::Result BookStore::remove(u32 book, u64 ref, Touched& out) {
  const u32 order = find_order(ref);
  if (order == kNil) return Result::kUnknownRef;
  const Order& o = orders_[order];
  const LevelNode& l = levels_[o.level];
  if (l.of() != book) return Result::kUnknownRef;
  out = {l.side(), l.price_ticks, o.shares};
  unlink_and_free(order);
  return Result::kOk;
}

PRG_HOT BookStore::Result BookStore::replace(u32 book, u64 ref, u64 new_ref, u32 shares, u32 price_ticks,
                                            Touched& out) {
  const u32 order = find_order(ref);
  if (order == kNil) return Result::kUnknownRef;
  const Order& o = orders_[order];
  const LevelNode& l = levels_[o.level];
  if (l.of() != book) return Result::kUnknownRef;
  if (find_order(new_ref) != kNil) return Result::kDuplicateRef;
  const u32 book_side = l.book;
  const u32 mpid = o.attributed ? mpids_[order] : 0;
  // The new level first, while the old one still stands: when there is no room the book stays as it was.
  const u32 level = level_for({book_side, price_ticks});
  if (level == kNil) return Result::kFull;
  out = {static_cast<Side>(book_side & 1), price_ticks, shares};
  ++levels_[level].orders;  // keeps a shared level alive while its last order leaves
  unlink_and_free(order);
  --levels_[level].orders;
  append(new_ref, level, shares, mpid);
  return Result::kOk;
}

inline Top BookStore::top(u32 book) const {
  Top t;
  const SideBook& b = sides_[book << 1];
  if (b.count != 0) {
    const LevelNode& l = levels_[b.best];
    t.bid_ticks = l.price_ticks, t.bid_lots = static_cast<QtyLots>(l.shares), t.bid_orders = l.orders;
  }
  const SideBook& a = sides_[book << 1 | 1];
  if (a.count != 0) {
    const LevelNode& l = levels_[a.best];
    t.ask_ticks = l.price_ticks, t.ask_lots = static_cast<QtyLots>(l.shares), t.ask_orders = l.orders;
  }
  return t;
}

#undef PRG_HOT
#undef PRG_PREFETCH

}  // namespace peregrine
