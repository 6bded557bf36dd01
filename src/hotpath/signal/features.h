// Integer features of one instrument, schema v1: 22 int32 numbers, O(1) work an event, no allocation after construction.
//
// Formulas, Q formats, saturation and sources are in hotpath/signal/schema.py, which is the text of record;
// hotpath/signal/oracle.py computes the same numbers slowly and obviously and tests hold the two equal.
//
// Windows are event-time buckets: window k is the bucket that holds `now` and the 7 before it, each 2^shift_k ns
// wide and aligned to multiples of its width since the epoch, so a window covers between 7/8 and 8/8 of 8 * 2^shift_k.
// The sums are exact: nothing decays, nothing drifts, and a bucket that falls out takes exactly what it brought.
#pragma once

#include <string>
#include <vector>

#include "core/sha256.h"
#include "core/types.h"
#include "market/event.h"

namespace peregrine {

class Market;

enum class FeatureIx : u8 {
  kMicropriceOffset = 0,
  kSpread = 1,
  kImbalance1 = 2,
  kImbalance5 = 3,
  kOfiFast = 4,
  kOfiSlow = 5,
  kFlowFast = 6,
  kFlowSlow = 7,
  kReturnFast = 8,
  kReturnMedium = 9,
  kReturnSlow = 10,
  kRealisedVolatility = 11,
  kQuoteRate = 12,
  kTradeRate = 13,
  kQueueAheadBid = 14,
  kQueueAheadAsk = 15,
  kPosition = 16,
  kWorkingBuy = 17,
  kWorkingSell = 18,
  kTimeSinceTrade = 19,
  kDepth1 = 20,
  kUserSignal = 21,  // compute() writes 0; the shard puts the journaled value of the user's own signal here
};

// What the shard itself has in the market. A queue position of -1 = no own order on that side (or unknown).
struct OwnState {
  i64 position_lots = 0;
  i64 working_buy_lots = 0;
  i64 working_sell_lots = 0;
  i64 queue_ahead_bid_lots = -1;
  i64 queue_ahead_ask_lots = -1;
};

struct FeatureParams {
  u8 bucket_shift[3] = {24, 27, 30};  // windows of 8 * 2^shift ns: 134 ms, 1.07 s, 8.59 s
};

// Best first; lots 0 = no such level.
struct BookView {
  static constexpr int kLevels = 5;
  PriceTicks bid_ticks[kLevels] = {};
  QtyLots bid_lots[kLevels] = {};
  PriceTicks ask_ticks[kLevels] = {};
  QtyLots ask_lots[kLevels] = {};
};

struct TopView {
  PriceTicks bid_ticks = 0;
  QtyLots bid_lots = 0;
  PriceTicks ask_ticks = 0;
  QtyLots ask_lots = 0;
};

class FeatureEngine {
 public:
  static constexpr int kFeatures = 22;
  static constexpr int kWindows = 3;
  static constexpr int kBuckets = 8;
  static constexpr i64 kLotsCap = i64{1} << 40;  // a level's lots as read: 5 levels << 15 fit into int64

  FeatureEngine(u32 instruments, const FeatureParams& params);

  // Call once an event, after the market applied it. Events of unknown instruments are skipped.
  void on_event(const Event& e, const Market& market);
  void on_event(const Event& e, const TopView& after);

  // Writes kFeatures numbers. Rolls the windows forward to `now` (never backwards), hence not const.
  void compute(InstrumentIx ix, TimeNs now, const Market& market, const OwnState& own, i32* out);
  void compute(InstrumentIx ix, TimeNs now, const BookView& book, const OwnState& own, i32* out);

  // Forgets flow, returns and the last trade of every instrument (after a gap the past is not known).
  void reset();

  u32 instruments() const { return static_cast<u32>(state_.size()); }
  const FeatureParams& params() const { return params_; }
  u64 state_hash() const;
  template <class A>
  void archive(A& a) {
    a.pool(state_.data(), state_.size());
    static_assert(sizeof(FeatureEngine) == 32, "a member came or went: is it listed above?");
  }

 private:
  // Sums of one window; a bucket saturates at kBucketCap, so 8 of them cannot overflow.
  struct Sums {
    i64 ofi_lots = 0;
    i64 flow_lots = 0;
    i64 variance = 0;  // sum of squared changes of mid2
    i64 quotes = 0;
    i64 trades = 0;
  };
  struct Bucket {
    Sums sums;
    i64 open_mid2 = 0;  // twice the mid in force when the bucket opened, 0 = unknown
  };
  struct Window {
    i64 number = 0;  // bucket number of the newest bucket
    Sums closed;     // the seven older buckets together
    Bucket bucket[kBuckets];
  };
  // What follows from the mid now, the mids at the start of the windows and the variance, with what it was made of: these
  // stay as they are from most events to the next, and are five of compute()'s divisions.
  struct Slopes {
    i64 mid2 = 0;
    i64 then_mid2[kWindows] = {};
    u64 variance = 0;
    i64 root = 0;  // isqrt(variance)
    i32 return_q24[kWindows] = {};
    i32 volatility_q24 = 0;
  };
  struct State {
    Window window[kWindows];
    TopView top;
    i64 mid2 = 0;          // bid + ask of the last two-sided book, 0 = none yet
    TimeNs last_ns = 0;    // newest time seen; time never runs backwards
    TimeNs roll_ns = 0;    // the first window's next bucket begins here: before, there is nothing to roll
    TimeNs trade_ns = 0;   // last trade
    bool started = false;  // some event was seen: top and window numbers mean something
    bool traded = false;
    Slopes slopes;
  };

  // What compute() reads of a book: the touch, and the lots of the five best levels; lots within 0 … 2^40 a level.
  struct Depth {
    PriceTicks bid_ticks = 0;
    PriceTicks ask_ticks = 0;
    i64 bid = 0, ask = 0;
    i64 bid5 = 0, ask5 = 0;
  };
  void compute(InstrumentIx ix, TimeNs now, const Depth& depth, const OwnState& own, i32* out);
  void roll(State& s, TimeNs now) const {
    if (now <= s.last_ns) return;
    s.last_ns = now;
    if (now >= s.roll_ns) [[unlikely]] roll_windows(s, now);
  }
  void roll_windows(State& s, TimeNs now) const;
  static void refresh(Slopes& m, i64 mid2, const i64 then_mid2[kWindows], u64 variance);

  FeatureParams params_;
  std::vector<State> state_;
};

// "name,name,…" in index order, as hotpath.signal.schema spells them.
const char* const* feature_names();
// The canonical text and its SHA-256: equal to hotpath.signal.schema.canonical(params) / schema_hash(params).
std::string schema_canonical(const FeatureParams& params);
Sha256Digest schema_hash(const FeatureParams& params);

}  // namespace peregrine
