// The rarer half of the book: construction, growing a side, own orders, looking at it, checking it.
#include "market/book.h"

#include <bit>

#include "core/hash.h"

namespace peregrine {
namespace {

// A side that grows to n levels has used blocks of 16 + 32 + … + 2n entries, and the smaller ones are free again.
u32 arena_for(const BookConfig& c, u32 smallest) { return 4 * c.max_levels + 2 * smallest * (2 * c.max_books + 8); }

}  // namespace

BookStore::BookStore(const BookConfig& config)
    : config_(config),
      arena_size_(arena_for(config, kNear)),
      own_mask_(std::bit_ceil(config.max_own < 8 ? 8u : config.max_own) - 1),
      orders_(config.max_orders),
      levels_(config.max_levels),
      mpids_(orders_.size()),
      entries_(arena_size_),
      sides_(2 * static_cast<std::size_t>(config.max_books)),
      own_(config.max_own),
      own_buckets_(own_mask_ + 1) {
  PRG_ASSERT(config.max_orders >= 1 && config.max_orders <= 1u << 29);
  PRG_ASSERT(config.max_levels >= 1 && config.max_levels <= 1u << 28);
  PRG_ASSERT(config.max_books <= 1u << 24);
  for (u32 i = 0; i <= own_mask_; ++i) own_buckets_[i] = kNil;
  for (u32 i = 0; i < config.max_own; ++i) own_[i].next_in_bucket = i + 1 < config.max_own ? i + 1 : kNil;
  free_own_ = config.max_own > 0 ? 0 : kNil;
  clear();
}

BookStore::~BookStore() = default;

void BookStore::clear() {
  orders_.clear();
  levels_.clear();
  std::memset(mpids_.data(), 0, mpids_.size() * sizeof(u32));
  for (u32 i = 0; i < 2 * config_.max_books; ++i) sides_[i] = {0, 0, kNil, kNil};
  for (u32& b : free_block_) b = kNil;
  arena_used_ = 0;
  live_orders_ = live_levels_ = 0;
  own_pending_ = own_live_;
  for (u32 b = 0; b <= own_mask_; ++b) {
    for (u32 i = own_buckets_[b]; i != kNil; i = own_[i].next_in_bucket) own_[i].level = kNil;
  }
}

int BookStore::levels(u32 book, Side side, Level* out, int n) const {
  const SideBook& s = sides_[book << 1 | static_cast<u32>(side)];
  int i = 0;
  for (; i < n && static_cast<u32>(i) < s.count; ++i) {
    const LevelNode& l = levels_[entries_[s.offset + s.count - 1 - static_cast<u32>(i)].level];
    out[i] = {l.price_ticks, static_cast<QtyLots>(l.shares), l.orders};
  }
  return i;
}

QtyLots BookStore::lots_at(u32 book, Side side, u32 price_ticks) const {
  const SideBook& s = sides_[book << 1 | static_cast<u32>(side)];
  const u32 key = key_of(static_cast<u32>(side), price_ticks);
  const u32 at = find_entry(s, key);
  if (at == 0 || entries_[s.offset + at - 1].key != key) return 0;
  return static_cast<QtyLots>(levels_[entries_[s.offset + at - 1].level].shares);
}

int BookStore::queue(u32 book, Side side, u32 price_ticks, QueuedOrder* out, int n) const {
  const SideBook& s = sides_[book << 1 | static_cast<u32>(side)];
  const u32 key = key_of(static_cast<u32>(side), price_ticks);
  const u32 at = find_entry(s, key);
  if (at == 0 || entries_[s.offset + at - 1].key != key) return 0;
  int i = 0;
  for (u32 o = levels_[entries_[s.offset + at - 1].level].head; o != kNil && i < n; o = orders_[o].next) {
    out[i++] = {orders_[o].ref, orders_[o].shares, orders_[o].attributed ? mpids_[o] : 0};
  }
  return i;
}

u32 BookStore::find_own(u64 ref) const {
  u32 i = own_buckets_[hash_of(ref) & own_mask_];
  while (i != kNil && own_[i].ref != ref) i = own_[i].next_in_bucket;
  return i;
}

bool BookStore::track_own(u64 ref) {
  if (find_own(ref) != kNil) return true;
  if (free_own_ == kNil) return false;
  const u32 i = free_own_;
  free_own_ = own_[i].next_in_bucket;
  u32& bucket = own_buckets_[hash_of(ref) & own_mask_];
  own_[i] = {ref, 0, kNil, 0, kNil, bucket};
  bucket = i;
  ++own_live_;
  ++own_pending_;
  const u32 order = find_order(ref);
  if (order != kNil) own_added(order);
  return true;
}

// An order of ours is in the book: everything before it in the queue is ahead of it.
void BookStore::own_added(u32 order) {
  const Order& o = orders_[order];
  const u32 i = find_own(o.ref);
  if (i == kNil || own_[i].level != kNil) return;
  u64 ahead = 0;
  if (o.next == kNil) {
    ahead = levels_[o.level].shares - o.shares;
  } else {
    for (u32 p = o.prev; p != kNil; p = orders_[p].prev) ahead += orders_[p].shares;
  }
  own_[i].ahead = ahead;
  own_[i].level = o.level;
  own_[i].age = o.age;
  own_[i].next_in_level = levels_[o.level].own;
  levels_[o.level].own = i;
  --own_pending_;
}

void BookStore::own_passed(u32 level, u32 age, u64 shares) {
  for (u32 i = levels_[level].own; i != kNil; i = own_[i].next_in_level) {
    if (static_cast<i32>(own_[i].age - age) > 0) {
      PRG_ASSERT(own_[i].ahead >= shares);
      own_[i].ahead -= shares;
    }
  }
}

void BookStore::own_behind(u32 order) {
  const Order& o = orders_[order];
  own_passed(o.level, o.age, o.shares);
  own_gone(o.ref, o.level);
}

void BookStore::own_gone(u64 ref, u32 level) {
  for (u32 i = levels_[level].own; i != kNil; i = own_[i].next_in_level) {
    if (own_[i].ref != ref) continue;
    detach_own(i);
    return;
  }
}

// Takes an own order out of its level's list; it is then not in the book.
void BookStore::detach_own(u32 own) {
  u32* link = &levels_[own_[own].level].own;
  while (*link != own) link = &own_[*link].next_in_level;
  *link = own_[own].next_in_level;
  own_[own].level = kNil;
  ++own_pending_;
}

void BookStore::untrack_own(u64 ref) {
  const u32 i = find_own(ref);
  if (i == kNil) return;
  if (own_[i].level != kNil) detach_own(i);
  u32* link = &own_buckets_[hash_of(ref) & own_mask_];
  while (*link != i) link = &own_[*link].next_in_bucket;
  *link = own_[i].next_in_bucket;
  own_[i].next_in_bucket = free_own_;
  free_own_ = i;
  --own_live_;
  --own_pending_;
}

QtyLots BookStore::queue_ahead_lots(u64 ref) const {
  const u32 i = find_own(ref);
  return i == kNil || own_[i].level == kNil ? -1 : static_cast<QtyLots>(own_[i].ahead);
}

u64 BookStore::hash_book(u64 h, u32 book) const {
  for (u32 side = 0; side < 2; ++side) {
    const SideBook& s = sides_[book << 1 | side];
    h = hash_fold(h, s.count);
    for (u32 i = s.count; i-- > 0;) {
      const LevelNode& l = levels_[entries_[s.offset + i].level];
      h = hash_fold(h, l.price_ticks);
      for (u32 o = l.head; o != kNil; o = orders_[o].next) {
        h = hash_fold(hash_fold(h, orders_[o].ref), orders_[o].shares);
      }
    }
  }
  return h;
}

void BookStore::check() const {
  u32 n_orders = 0, n_levels = 0;
  for (u32 b = 0; b < 2 * config_.max_books; ++b) {
    const SideBook& s = sides_[b];
    const u32 capacity = s.block_class == kNil ? 0 : kNear << s.block_class;
    PRG_ASSERT(s.best == (s.count == 0 ? kNil : entries_[s.offset + s.count - 1].level));
    for (u32 i = s.count; i < capacity; ++i) PRG_ASSERT(entries_[s.offset + i].key == kNoKey);
    for (u32 i = 0; i < s.count; ++i) {
      const Entry& e = entries_[s.offset + i];
      PRG_ASSERT(i == 0 || entries_[s.offset + i - 1].key < e.key);
      const LevelNode& l = levels_[e.level];
      PRG_ASSERT(l.book == b && key_of(b & 1, l.price_ticks) == e.key && l.orders > 0);
      const LevelKey key{b, l.price_ticks};
      PRG_ASSERT(levels_.find(key.hash(), key) == e.level);
      u64 shares = 0;
      u32 orders = 0, prev = kNil;
      for (u32 o = l.head; o != kNil; prev = o, o = orders_[o].next) {
        PRG_ASSERT(orders_[o].level == e.level && orders_[o].prev == prev && orders_[o].shares > 0);
        PRG_ASSERT(find_order(orders_[o].ref) == o && (orders_[o].attributed != 0) == (mpids_[o] != 0));
        const u32 own = find_own(orders_[o].ref);
        PRG_ASSERT(own == kNil || (own_[own].level == e.level && own_[own].ahead == shares));
        shares += orders_[o].shares;
        ++orders;
      }
      PRG_ASSERT(l.tail == prev && l.shares == shares && l.orders == orders);
      n_orders += orders;
      ++n_levels;
    }
  }
  PRG_ASSERT(n_orders == live_orders_ && n_levels == live_levels_);
  PRG_ASSERT(orders_.check() == live_orders_ && levels_.check() == live_levels_);
}

}  // namespace peregrine
