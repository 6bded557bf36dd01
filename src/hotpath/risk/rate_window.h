// How many events happened in the last window_ns of input time: exact, in a ring sized at construction.
#pragma once

#include <memory>

#include "core/assert.h"
#include "core/hash.h"
#include "core/types.h"

namespace peregrine {

class RateWindow {
 public:
  explicit RateWindow(u32 capacity) : at_(std::make_unique<TimeNs[]>(capacity)), capacity_(capacity) {
    PRG_ASSERT(capacity > 0);
  }
  u32 capacity() const { return capacity_; }

  // Events with time in (now - window_ns, now]. Limits above capacity - 1 could not be told apart: refused upstream.
  u32 count(TimeNs now, TimeNs window_ns) const {
    // Times never fall, so the answer is near the last one: from there it is a step or two.
    const TimeNs since = now - window_ns;
    u32 k = inside_ < held_ ? inside_ : held_;
    while (k > 0 && at(held_ - k) <= since) --k;
    while (k < held_ && at(held_ - 1 - k) > since) ++k;
    inside_ = k;
    return k;
  }
  void record(TimeNs now) {
    if (held_ == capacity_) {
      first_ = first_ + 1 == capacity_ ? 0 : first_ + 1;
      --held_;
    }
    u32 slot = first_ + held_;
    if (slot >= capacity_) slot -= capacity_;
    at_[slot] = now;
    ++held_;
    ++inside_;
  }
  void clear() { first_ = held_ = inside_ = 0; }
  // When the oldest event of a full window of `n` leaves it; `now` when fewer than n are inside.
  TimeNs free_at(TimeNs now, TimeNs window_ns, u32 n) const {
    const u32 inside = count(now, window_ns);
    if (n == 0 || inside < n) return now;
    return at(held_ - n) + window_ns;
  }
  template <class A>
  void archive(A& a) {
    a.pool(at_.get(), capacity_);
    a(first_, held_);
  }
  u64 fold(u64 h) const {
    for (u32 i = 0; i < held_; ++i) h = hash_fold(h, static_cast<u64>(at(i)));
    return hash_fold(h, held_);
  }

 private:
  TimeNs at(u32 i) const {
    u32 slot = first_ + i;
    if (slot >= capacity_) slot -= capacity_;
    return at_[slot];
  }
  std::unique_ptr<TimeNs[]> at_;
  u32 capacity_;
  u32 first_ = 0;
  u32 held_ = 0;
  mutable u32 inside_ = 0;  // where the next count() begins: any value gives the same answer
};

}  // namespace peregrine
