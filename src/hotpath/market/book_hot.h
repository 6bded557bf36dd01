// What every order message runs: kept in a header so that the decoder and the book become one piece of code.
#pragma once

#include "market/book.h"

namespace peregrine {

// A function that does nothing but prefetch looks free of effects to gcc, which drops calls it has not inlined early.
#define PRG_PREFETCH [[gnu::always_inline]] inline

inline u32 BookStore::find_slot(u64 ref) const {
  const u32 tag = tag_of(ref);
  u32 i = home(tag);
  while (slots_[i].order != kNil) {
    if (slots_[i].tag == tag && orders_[slots_[i].order].ref == ref) return i;
    i = (i + 1) & slot_mask_;
  }
  return kNil;
}

inline void BookStore::insert_slot(u64 ref, u32 order) {
  const u32 tag = tag_of(ref);
  u32 i = home(tag);
  while (slots_[i].order != kNil) i = (i + 1) & slot_mask_;
  slots_[i] = {tag, order};
}

// Removes without tombstones: later members of the run move up, unless that would put them before their home.
inline void BookStore::erase_slot(u32 hole) {
  u32 i = hole;
  for (;;) {
    i = (i + 1) & slot_mask_;
    if (slots_[i].order == kNil) break;
    const u32 from_home = (i - home(slots_[i].tag)) & slot_mask_;
    if (from_home >= ((i - hole) & slot_mask_)) {
      slots_[hole] = slots_[i];
      hole = i;
    }
  }
  slots_[hole].order = kNil;
}

PRG_PREFETCH void BookStore::prefetch_order(u64 ref) const {
  const u32 tag = tag_of(ref);
  const Slot& s = slots_[home(tag)];
  if (s.tag == tag && s.order != kNil) __builtin_prefetch(&orders_[s.order], 1);
}

PRG_PREFETCH void BookStore::prefetch_level(u64 ref) const {
  const u32 tag = tag_of(ref);
  const Slot& s = slots_[home(tag)];
  if (s.tag != tag || s.order == kNil) return;
  __builtin_prefetch(&levels_[orders_[s.order].level], 1);
}

PRG_PREFETCH void BookStore::prefetch_entries(u32 book, Side side) const {
  constexpr u32 kLine = kCacheLine / sizeof(Entry);
  const SideBook& s = sides_[book << 1 | static_cast<u32>(side)];
  const Entry* best = &entries_[s.offset] + s.count;
  const u32 most = s.count < 4 * kLine ? s.count : 4 * kLine;
  for (u32 i = 1; i <= most; i += kLine) __builtin_prefetch(best - i, 1);
}

PRG_PREFETCH void BookStore::prefetch_neighbours(u64 ref) const {
  const u32 tag = tag_of(ref);
  const Slot& s = slots_[home(tag)];
  if (s.tag != tag || s.order == kNil) return;
  const Order& o = orders_[s.order];
  if (o.prev != kNil) __builtin_prefetch(&orders_[o.prev], 1);
  if (o.next != kNil) __builtin_prefetch(&orders_[o.next], 1);
}

PRG_PREFETCH void BookStore::prefetch_level_at(u32 book, Side side, u32 price_ticks) const {
  const SideBook& s = sides_[book << 1 | static_cast<u32>(side)];
  const u32 at = find_entry(s, key_of(static_cast<u32>(side), price_ticks));
  if (at != 0) __builtin_prefetch(&levels_[entries_[s.offset + at - 1].level], 1);
}

// Position one past the last entry with a key <= `key`. Most activity is near the best price: a short walk from the
// end first, halving only when that has not found it.
inline u32 BookStore::find_entry(const SideBook& s, u32 key) const {
  const Entry* e = &entries_[s.offset];
  u32 hi = s.count;
  for (int steps = 0; steps < 12; ++steps) {
    if (hi == 0 || e[hi - 1].key <= key) return hi;
    --hi;
  }
  u32 lo = 0;
  while (lo < hi) {
    const u32 mid = (lo + hi) / 2;
    if (e[mid].key <= key) {
      lo = mid + 1;
    } else {
      hi = mid;
    }
  }
  return lo;
}

inline u32 BookStore::level_for(u32 book_side, u32 price_ticks) {
  SideBook& s = sides_[book_side];
  const u32 key = key_of(book_side & 1, price_ticks);
  const u32 at = find_entry(s, key);
  if (at > 0 && entries_[s.offset + at - 1].key == key) return entries_[s.offset + at - 1].level;
  if (free_level_ == kNil || !room_for_entry(s)) return kNil;
  const u32 level = free_level_;
  LevelNode& l = levels_[level];
  free_level_ = l.head;
  l = {0, price_ticks, 0, kNil, kNil, kNil, book_side};
  Entry* e = &entries_[s.offset];
  for (u32 i = s.count; i > at; --i) e[i] = e[i - 1];
  e[at] = {key, level};
  ++s.count;
  ++live_levels_;
  return level;
}

inline void BookStore::drop_level(u32 level) {
  LevelNode& l = levels_[level];
  SideBook& s = sides_[l.book];
  const u32 at = find_entry(s, key_of(l.book & 1, l.price_ticks));
  Entry* e = &entries_[s.offset];
  PRG_ASSERT(at > 0 && e[at - 1].level == level);
  for (u32 i = at; i < s.count; ++i) e[i - 1] = e[i];
  --s.count;
  --live_levels_;
  l.head = free_level_;
  free_level_ = level;
}

inline void BookStore::append(u64 ref, u32 level, u32 shares, u32 mpid) {
  const u32 order = free_order_;
  Order& o = orders_[order];
  free_order_ = o.next;
  LevelNode& l = levels_[level];
  o = {ref, shares, level, l.tail, kNil, next_age_++, mpid};
  if (l.tail == kNil) {
    l.head = order;
  } else {
    orders_[l.tail].next = order;
  }
  l.tail = order;
  l.shares += shares;
  ++l.orders;
  ++live_orders_;
  insert_slot(ref, order);
  if (own_pending_ != 0) own_added(order);
}

inline void BookStore::unlink_and_free(u32 slot, u32 order) {
  Order& o = orders_[order];
  const u32 level = o.level;
  LevelNode& l = levels_[level];
  PRG_ASSERT(l.shares >= o.shares && l.orders > 0);
  l.shares -= o.shares;
  if (l.own != kNil) {
    own_passed(level, o.age, o.shares);
    own_gone(o.ref, level);
  }
  if (--l.orders == 0) {
    drop_level(level);
  } else {
    if (o.prev == kNil) {
      l.head = o.next;
    } else {
      orders_[o.prev].next = o.next;
    }
    if (o.next == kNil) {
      l.tail = o.prev;
    } else {
      orders_[o.next].prev = o.prev;
    }
  }
  erase_slot(slot);
  o.next = free_order_;
  free_order_ = order;
  --live_orders_;
}

inline BookStore::Result BookStore::add(u32 book, u64 ref, Side side, u32 shares, u32 price_ticks, u32 mpid) {
  if (find_slot(ref) != kNil) return Result::kDuplicateRef;
  if (free_order_ == kNil) return Result::kFull;
  const u32 level = level_for(book << 1 | static_cast<u32>(side), price_ticks);
  if (level == kNil) return Result::kFull;
  append(ref, level, shares, mpid);
  return Result::kOk;
}

inline BookStore::Result BookStore::reduce(u32 book, u64 ref, u32 shares, Touched& out) {
  const u32 slot = find_slot(ref);
  if (slot == kNil) return Result::kUnknownRef;
  const u32 order = slots_[slot].order;
  Order& o = orders_[order];
  LevelNode& l = levels_[o.level];
  if (l.book >> 1 != book) return Result::kUnknownRef;
  if (shares > o.shares) return Result::kOverExecuted;
  out = {static_cast<Side>(l.book & 1), l.price_ticks, shares};
  if (shares == o.shares) {
    unlink_and_free(slot, order);
    return Result::kOk;
  }
  o.shares -= shares;
  l.shares -= shares;
  if (l.own != kNil) own_passed(o.level, o.age, shares);
  return Result::kOk;
}

inline BookStore::Result BookStore::remove(u32 book, u64 ref, Touched& out) {
  const u32 slot = find_slot(ref);
  if (slot == kNil) return Result::kUnknownRef;
  const u32 order = slots_[slot].order;
  const LevelNode& l = levels_[orders_[order].level];
  if (l.book >> 1 != book) return Result::kUnknownRef;
  out = {static_cast<Side>(l.book & 1), l.price_ticks, orders_[order].shares};
  unlink_and_free(slot, order);
  return Result::kOk;
}

inline BookStore::Result BookStore::replace(u32 book, u64 ref, u64 new_ref, u32 shares, u32 price_ticks,
                                            Touched& out) {
  const u32 slot = find_slot(ref);
  if (slot == kNil) return Result::kUnknownRef;
  const u32 order = slots_[slot].order;
  const Order& o = orders_[order];
  const LevelNode& l = levels_[o.level];
  if (l.book >> 1 != book) return Result::kUnknownRef;
  if (find_slot(new_ref) != kNil) return Result::kDuplicateRef;
  const u32 book_side = l.book;
  const u32 mpid = o.mpid;
  // The new level first, while the old one still stands: when there is no room the book stays as it was.
  const u32 level = level_for(book_side, price_ticks);
  if (level == kNil) return Result::kFull;
  out = {static_cast<Side>(book_side & 1), price_ticks, shares};
  ++levels_[level].orders;  // keeps a shared level alive while its last order leaves
  unlink_and_free(slot, order);
  --levels_[level].orders;
  append(new_ref, level, shares, mpid);
  return Result::kOk;
}

inline Top BookStore::top(u32 book) const {
  Top t;
  const SideBook& b = sides_[book << 1];
  if (b.count != 0) {
    const LevelNode& l = levels_[entries_[b.offset + b.count - 1].level];
    t.bid_ticks = l.price_ticks, t.bid_lots = static_cast<QtyLots>(l.shares), t.bid_orders = l.orders;
  }
  const SideBook& a = sides_[book << 1 | 1];
  if (a.count != 0) {
    const LevelNode& l = levels_[entries_[a.offset + a.count - 1].level];
    t.ask_ticks = l.price_ticks, t.ask_lots = static_cast<QtyLots>(l.shares), t.ask_orders = l.orders;
  }
  return t;
}

#undef PRG_PREFETCH

}  // namespace peregrine
