// Levels that come and go: the sorted entries of a side. Four in a hundred messages of one busy book, nearly half of
// those of many thin ones.
#include <cstring>

#include "market/book.h"

namespace peregrine {

// How many of kNear entries have a key <= `key`: all are compared, four words at a time, for where the answer lies
// cannot be foretold and each wrong guess costs more than the whole lot.
u32 BookStore::near_entries(const Entry* e, u32 key) {
  using Words = u32 __attribute__((vector_size(16)));  // key, level, key, level
  const Words wanted = {key, key, key, key};
  Words beyond = {};
  for (u32 i = 0; i < kNear; i += 2) {
    Words two;
    std::memcpy(&two, e + i, sizeof two);
    beyond += static_cast<Words>(two > wanted);  // true = -1; what this says of the levels is not used
  }
  return kNear + beyond[0] + beyond[2];
}

// Position one past the last entry with a key <= `key`. Most activity is near the best price: the last kNear first.
u32 BookStore::find_entry(const SideBook& s, u32 key) const {
  const Entry* e = &entries_[s.offset];
  const u32 base = near_from(s.count);
  const u32 near = base + near_entries(e + base, key);
  // Behind the best price stand kNoKey entries up to the end of the block, which a key of that value would count.
  if (near != base || base == 0) [[likely]] return near < s.count ? near : s.count;
  u32 lo = 0;
  for (u32 n = base; n > 0;) {
    const u32 half = (n + 1) / 2;
    lo = e[lo + half - 1].key <= key ? lo + half : lo;
    n -= half;
  }
  return lo;
}

// Makes sure the side's block has room for one entry more; false when the arena is used up.
bool BookStore::room_for_entry(SideBook& s) {
  if (s.block_class != kNil && s.count < kNear << s.block_class) return true;
  const u32 next_class = s.block_class == kNil ? 0 : s.block_class + 1;
  if (next_class >= 28) return false;
  u32 offset = free_block_[next_class];
  if (offset != kNil) {
    free_block_[next_class] = entries_[offset].level;
  } else {
    const u32 size = kNear << next_class;
    if (arena_size_ - arena_used_ < size) return false;
    offset = arena_used_;
    arena_used_ += size;
  }
  for (u32 i = 0; i < s.count; ++i) entries_[offset + i] = entries_[s.offset + i];
  for (u32 i = s.count; i < kNear << next_class; ++i) entries_[offset + i] = {kNoKey, 0};
  if (s.block_class != kNil) {
    entries_[s.offset].level = free_block_[s.block_class];
    free_block_[s.block_class] = s.offset;
  }
  s.offset = offset;
  s.block_class = next_class;
  return true;
}

u32 BookStore::new_level(LevelKey key) {
  SideBook& s = sides_[key.book];
  if (live_levels_ == config_.max_levels || !room_for_entry(s)) return kNil;
  const u32 level = levels_.take(key.hash());
  LevelNode& l = levels_[level];
  l.price_ticks = key.price_ticks;
  l.book = key.book;
  l.tail = l.own = kNil;
  const u32 sort_key = key_of(key.book & 1, key.price_ticks);
  const u32 at = find_entry(s, sort_key);
  Entry* e = &entries_[s.offset];
  std::memmove(&e[at + 1], &e[at], (s.count - at) * sizeof(Entry));
  e[at] = {sort_key, level};
  s.best = e[s.count++].level;
  ++live_levels_;
  return level;
}

void BookStore::drop_level(u32 level) {
  const LevelNode& l = levels_[level];
  SideBook& s = sides_[l.book];
  const u32 at = find_entry(s, key_of(l.book & 1, l.price_ticks));
  Entry* e = &entries_[s.offset];
  PRG_ASSERT(at > 0 && e[at - 1].level == level);
  std::memmove(&e[at - 1], &e[at], (s.count - at) * sizeof(Entry));
  e[--s.count].key = kNoKey;
  s.best = s.count == 0 ? kNil : e[s.count - 1].level;
  --live_levels_;
  levels_.vacate(level);
}

}  // namespace peregrine
