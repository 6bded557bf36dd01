// A hash table whose cells stay where they were put, two to a cache line: an index is good for as long as its cell
// lives, and a search reads one line, its key's home, unless that was full.
//
//   0                                 32                                64
//   +---------------------------------+---------------------------------+
//   | cell 2n        (n = home(hash)) | cell 2n + 1                     |   a free cell is all zero, but for `passed`
//   +---------------------------------+---------------------------------+
//     └ passed: how many live cells had to go to a later line, this one being full. 0 = no search need go on
//
// At most half the cells live at once, so that few lines are full and a free cell is always found. The count of those
// that passed needs no tombstone, and no cell to move when one is freed.
//
// A Cell says is(key), hash() of its own key, live(), wipe(), and passed(), pass(), unpass() for the count, which may
// stop at kManyPassed for good.
#pragma once

#include <bit>
#include <cstring>

#include "core/assert.h"
#include "core/choose.h"
#include "core/types.h"
#include "market/huge_array.h"

namespace peregrine {

template <class Cell>
class PairTable {
  static_assert(2 * sizeof(Cell) == kCacheLine);

 public:
  static constexpr u32 kNil = 0xFFFFFFFFu;

  // Room for `most` live cells; the owner sees to it that there are never more.
  explicit PairTable(u32 most)
      : shift_(32 - static_cast<u32>(std::countr_zero(lines_for(most)))),
        mask_(2 * lines_for(most) - 1),
        cells_(2 * static_cast<std::size_t>(lines_for(most))) {}

  Cell& operator[](u32 i) { return cells_[i]; }
  const Cell& operator[](u32 i) const { return cells_[i]; }
  std::size_t size() const { return cells_.size(); }
  u32 mask() const { return mask_; }  // any index & mask() is one of the table's
  Cell* data() { return cells_.data(); }

  // `hash` is spread over 32 bits, the highest best.
  u32 home(u32 hash) const { return hash >> shift_ << 1; }
  void prefetch(u32 hash) const { __builtin_prefetch(&cells_[home(hash)], 1); }

  template <class Key>
  u32 find(u32 hash, const Key& key) const {
    u32 at = home(hash);
    for (;;) {
      // Both cells are looked at before one branch: which of the two it is cannot be foretold.
      const u32 second = cells_[at + 1].is(key);
      if (opaque(cells_[at].is(key) | second)) [[likely]] return at + second;
      if (cells_[at].passed() == 0) [[likely]] return kNil;
      at = (at + 2) & mask_;
    }
  }
  // The key's cell, where its home line holds it, else kNil: what a prefetch may look at without waiting for another.
  template <class Key>
  u32 at_home(u32 hash, const Key& key) const {
    const u32 at = home(hash);
    const u32 second = cells_[at + 1].is(key);
    return choose(cells_[at].is(key) | second, at + second, kNil);
  }

  // A free cell for a key that is not there; the caller makes it live.
  u32 take(u32 hash) {
    u32 at = home(hash);
    while (int{cells_[at].live()} & int{cells_[at + 1].live()}) [[unlikely]] {
      cells_[at].pass();
      at = (at + 2) & mask_;
    }
    return at + cells_[at].live();
  }
  void vacate(u32 i) {
    const u32 line = i & ~1u;
    for (u32 at = home(cells_[i].hash()); at != line; at = (at + 2) & mask_) {
      PRG_ASSERT(cells_[at].passed() != 0);
      cells_[at].unpass();
    }
    cells_[i].wipe();
  }
  // Slowly, for tests: how many cells live, and whether the lines counted those that passed.
  u32 check() const {
    u32 n = 0;
    u64 passed = 0, counted = 0;
    bool many = false;
    for (u32 i = 0; i <= mask_; ++i) {
      if (i % 2 == 0) counted += cells_[i].passed(), many |= cells_[i].passed() == Cell::kManyPassed;
      if (!cells_[i].live()) continue;
      ++n;
      passed += (((i & ~1u) - home(cells_[i].hash())) & mask_) / 2;
    }
    PRG_ASSERT(many || passed == counted);
    return n;
  }
  void clear() { std::memset(static_cast<void*>(cells_.data()), 0, cells_.size() * sizeof(Cell)); }

 private:
  static u32 lines_for(u32 most) { return std::bit_ceil(most < 32 ? 32u : most); }

  u32 shift_;
  u32 mask_;
  HugeArray<Cell> cells_;
};

}  // namespace peregrine
