// Breakers of a shard: what they count, which have tripped, since when, and when they may be armed again.
//
// Two count events in a window of the shard's own time: messages we sent (orders, replaces, cancels) and orders the
// venue rejected. One trips with the event that comes to more than its limit. Loss and drawdown are judged by the gate;
// what is kept of them here is when they tripped, for the cooldown.
//
// A tripped breaker stays until it is armed again: by a person once the cooldown is over, or, of the two that count,
// by itself then if it is configured so.
#pragma once

#include <array>

#include "core/assert.h"
#include "core/hash.h"
#include "core/types.h"
#include "risk/rate_window.h"

namespace peregrine {

// Bits, as in the body of a kRearm command and in telemetry.
inline constexpr u32 kMessageBreaker = 1;
inline constexpr u32 kRejectBreaker = 2;
inline constexpr u32 kLossBreaker = 4;
inline constexpr u32 kDrawdownBreaker = 8;
inline constexpr u32 kRateBreakers = kMessageBreaker | kRejectBreaker;
inline constexpr u32 kAllBreakers = 15;
inline constexpr u32 kBreakers = 4;

struct RateBreaker {
  u32 most = 0;          // events in the window that pass; 0 = there is no such breaker
  TimeNs window_ns = 0;
};

struct BreakerConfig {
  RateBreaker messages, rejects;
  TimeNs cooldown_ns = 0;
  bool by_itself = false;  // the counting ones are armed again when the cooldown is over
  bool present = false;    // configured at all: journals of before there were any know nothing of them
};

class Breakers {
 public:
  explicit Breakers(const BreakerConfig& config)
      : config_(config), messages_(config.messages.most + 1), rejects_(config.rejects.most + 1) {}

  // One event of a counting breaker; true when it trips with it.
  bool count_message(TimeNs now) { return count(kMessageBreaker, config_.messages, messages_, now); }
  bool count_reject(TimeNs now) { return count(kRejectBreaker, config_.rejects, rejects_, now); }
  void trip(u32 bit, TimeNs now) {
    PRG_ASSERT((bit & kAllBreakers) == bit && (bit & (bit - 1)) == 0 && bit != 0);
    open_ |= bit;
    tripped_ns_[static_cast<u32>(__builtin_ctz(bit))] = now;
    ++trips_;
  }

  u32 open() const { return open_; }
  u32 trips() const { return trips_; }
  // The limit of a counting breaker.
  i64 most(u32 bit) const { return bit == kMessageBreaker ? config_.messages.most : config_.rejects.most; }
  // Of those asked for: tripped, and the cooldown not over.
  u32 hot(u32 bits, TimeNs now) const {
    u32 found = 0;
    for (u32 i = 0; i < kBreakers; ++i) {
      const u32 bit = 1u << i;
      if ((bits & open_ & bit) != 0 && now - tripped_ns_[i] < config_.cooldown_ns) found |= bit;
    }
    return found;
  }
  // What arms itself again now.
  u32 due(TimeNs now) const {
    const u32 counting = config_.by_itself ? open_ & kRateBreakers : 0;
    return counting & ~hot(counting, now);
  }
  // Counting begins anew.
  void rearm(u32 bits) {
    open_ &= ~bits;
    if ((bits & kMessageBreaker) != 0) messages_.clear();
    if ((bits & kRejectBreaker) != 0) rejects_.clear();
  }

  u64 fold(u64 h) const {
    const bool counts = config_.messages.most != 0 || config_.rejects.most != 0;
    if (!config_.present || (!counts && trips_ == 0)) return h;
    h = hash_fold(hash_fold(h, open_), trips_);
    for (const TimeNs t : tripped_ns_) h = hash_fold(h, static_cast<u64>(t));
    return rejects_.fold(messages_.fold(h));
  }
  template <class A>
  void archive(A& a) {
    a(open_, trips_, tripped_ns_);
    messages_.archive(a);
    rejects_.archive(a);
  }

 private:
  bool count(u32 bit, const RateBreaker& limit, RateWindow& seen, TimeNs now) {
    if (limit.most == 0 || (open_ & bit) != 0) return false;
    seen.record(now);
    if (seen.count(now, limit.window_ns) <= limit.most) return false;
    trip(bit, now);
    return true;
  }

  BreakerConfig config_;
  RateWindow messages_, rejects_;
  u32 open_ = 0;
  u32 trips_ = 0;
  std::array<TimeNs, kBreakers> tripped_ns_{};
};

}  // namespace peregrine
