#include "signal/features.h"

#include "core/assert.h"
#include "core/hash.h"
#include "signal/fixed_point.h"

namespace peregrine {
namespace {

constexpr i64 kBucketCap = i64{1} << 59;  // eight of them fit into int64
constexpr i64 kMidStepCap = i64{1} << 20;
constexpr i32 kNoQueue = -32768;
constexpr i32 kQueueCap = 32768;
constexpr i32 kNeverTraded = 16128;

i64 read_lots(QtyLots lots) { return clamp64(lots, 0, FeatureEngine::kLotsCap); }

TopView read_top(const TopView& t) {
  TopView r{t.bid_ticks, read_lots(t.bid_lots), t.ask_ticks, read_lots(t.ask_lots)};
  return r;
}

i64 capped(i64 v) { return clamp64(v, -kBucketCap, kBucketCap); }
// Not zero where capped() would change v (and for the cap itself, which it leaves as it is).
u64 beyond_cap(i64 v) { return static_cast<u64>(v + kBucketCap) >> 60; }

// Order-flow imbalance of one step; an empty bid is the lowest price there is, an empty ask the highest.
i64 ofi_step(const TopView& was, const TopView& is) {
  const PriceTicks b0 = was.bid_lots > 0 ? was.bid_ticks : INT64_MIN;
  const PriceTicks b1 = is.bid_lots > 0 ? is.bid_ticks : INT64_MIN;
  const PriceTicks a0 = was.ask_lots > 0 ? was.ask_ticks : INT64_MAX;
  const PriceTicks a1 = is.ask_lots > 0 ? is.ask_ticks : INT64_MAX;
  i64 e = 0;
  if (b1 >= b0) e += is.bid_lots;
  if (b1 <= b0) e -= was.bid_lots;
  if (a1 <= a0) e -= is.ask_lots;
  if (a1 >= a0) e += was.ask_lots;
  return e;
}

bool is_quote(EventKind k) {
  return k == EventKind::kAdd || k == EventKind::kReduce || k == EventKind::kDelete || k == EventKind::kReplace;
}

bool is_trade(const Event& e) {
  if (e.kind == EventKind::kTrade) return true;
  return (e.kind == EventKind::kExecute || e.kind == EventKind::kExecuteAt) && (e.flags & kFlagNonPrintable) == 0;
}

// +1 the buyer was the aggressor, -1 the seller was, 0 not known.
i64 trade_direction(const Event& e, i64 mid2) {
  if (e.kind != EventKind::kTrade) return e.side == Side::kSell ? 1 : -1;
  if (mid2 == 0) return 0;
  const i64 price2 = 2 * e.price_ticks;
  return price2 > mid2 ? 1 : (price2 < mid2 ? -1 : 0);
}

i32 return_q24(i64 mid2, i64 then_mid2) {
  if (mid2 <= 0 || then_mid2 <= 0) return 0;
  return mul_div_sat32(mid2 - then_mid2, i64{1} << 24, then_mid2);
}

i32 imbalance_q15(i64 bid, i64 ask) {
  return bid + ask == 0 ? 0 : static_cast<i32>(floor_div((bid - ask) * 32768, bid + ask));
}

i32 queue_q15(i64 ahead, i64 best) {
  if (ahead < 0) return kNoQueue;
  if (best == 0) return ahead > 0 ? kQueueCap : 0;
  return static_cast<i32>(clamp64(floor_div(read_lots(ahead) * 32768, best), 0, kQueueCap));
}

}  // namespace

FeatureEngine::FeatureEngine(u32 instruments, const FeatureParams& params) : params_(params), state_(instruments) {
  for (const u8 shift : params.bucket_shift) PRG_ASSERT(shift >= 10 && shift <= 40);
}

void FeatureEngine::reset() {
  for (State& s : state_) s = State{};
}

void FeatureEngine::roll_windows(State& s, TimeNs now) const {
  s.roll_ns = INT64_MAX;
  for (int k = 0; k < kWindows; ++k) {
    Window& w = s.window[k];
    const i64 number = now >> params_.bucket_shift[k];
    const TimeNs next = (number + 1) << params_.bucket_shift[k];
    if (next < s.roll_ns) s.roll_ns = next;
    if (number == w.number) continue;
    const i64 steps = number - w.number < kBuckets ? number - w.number : kBuckets;
    for (i64 i = 0; i < steps; ++i) w.bucket[(number - i) & (kBuckets - 1)] = Bucket{Sums{}, s.mid2};
    w.number = number;
    w.closed = Sums{};
    for (i64 i = 1; i < kBuckets; ++i) {
      const Sums& b = w.bucket[(number - i) & (kBuckets - 1)].sums;
      w.closed.ofi_lots += b.ofi_lots;
      w.closed.flow_lots += b.flow_lots;
      w.closed.variance += b.variance;
      w.closed.quotes += b.quotes;
      w.closed.trades += b.trades;
    }
  }
}

void FeatureEngine::on_event(const Event& e, const TopView& top_after) {
  if (e.instrument >= state_.size()) return;
  State& s = state_[e.instrument];
  const TopView after = read_top(top_after);
  const bool two_sided = after.bid_lots > 0 && after.ask_lots > 0;
  const i64 mid2 = two_sided ? after.bid_ticks + after.ask_ticks : s.mid2;
  if (!s.started) {
    s.started = true;
    s.last_ns = e.ts_rx_ns;
    for (int k = 0; k < kWindows; ++k) s.window[k].number = e.ts_rx_ns >> params_.bucket_shift[k];
    s.top = after;
  } else {
    roll(s, e.ts_rx_ns);
  }

  Sums add;
  if ((e.flags & kFlagSnapshot) == 0) {
    add.ofi_lots = ofi_step(s.top, after);
    if (s.mid2 != 0) {
      const i64 step = clamp64(mid2 - s.mid2, -kMidStepCap, kMidStepCap);
      add.variance = step * step;
    }
    add.quotes = is_quote(e.kind) ? 1 : 0;
    if (is_trade(e)) {
      add.trades = 1;
      add.flow_lots = trade_direction(e, s.mid2) * read_lots(e.qty_lots);
      s.trade_ns = s.last_ns;
      s.traded = true;
    }
  }
  for (int k = 0; k < kWindows; ++k) {
    Sums& b = s.window[k].bucket[s.window[k].number & (kBuckets - 1)].sums;
    Sums n{b.ofi_lots + add.ofi_lots, b.flow_lots + add.flow_lots, b.variance + add.variance, b.quotes + add.quotes,
           b.trades + add.trades};
    // One question for all five: a sum reaches the cap after half a million of the largest steps, if ever.
    if ((beyond_cap(n.ofi_lots) | beyond_cap(n.flow_lots) | beyond_cap(n.variance)) != 0) [[unlikely]] {
      n.ofi_lots = capped(n.ofi_lots);
      n.flow_lots = capped(n.flow_lots);
      n.variance = capped(n.variance);
    }
    b = n;
  }
  s.top = after;
  s.mid2 = mid2;
}

void FeatureEngine::refresh(Slopes& m, i64 mid2, const i64 then_mid2[kWindows], u64 variance) {
  for (int k = 0; k < kWindows; ++k) {
    m.then_mid2[k] = then_mid2[k];
    m.return_q24[k] = return_q24(mid2, then_mid2[k]);
  }
  if (m.variance != variance) m.root = isqrt(variance, static_cast<u64>(m.root));  // mostly near the last one
  m.mid2 = mid2;
  m.variance = variance;
  m.volatility_q24 = mid2 > 0 ? mul_div_sat32(m.root, i64{1} << 24, mid2) : 0;
}

void FeatureEngine::compute(InstrumentIx ix, TimeNs now, const BookView& book, const OwnState& own, i32* out) {
  Depth d;
  d.bid_ticks = book.bid_ticks[0];
  d.ask_ticks = book.ask_ticks[0];
  d.bid = read_lots(book.bid_lots[0]);
  d.ask = read_lots(book.ask_lots[0]);
  for (int i = 0; i < BookView::kLevels; ++i) {
    d.bid5 += read_lots(book.bid_lots[i]);
    d.ask5 += read_lots(book.ask_lots[i]);
  }
  compute(ix, now, d, own, out);
}

void FeatureEngine::compute(InstrumentIx ix, TimeNs now, const Depth& depth, const OwnState& own, i32* out) {
  PRG_ASSERT(ix < state_.size());
  State& s = state_[ix];
  if (s.started) roll(s, now);
  const i64 bid = depth.bid, ask = depth.ask, bid5 = depth.bid5, ask5 = depth.ask5;
  const auto put = [out](FeatureIx f, i32 v) { out[static_cast<int>(f)] = v; };

  const bool two_sided = bid > 0 && ask > 0;
  const i64 spread = two_sided ? depth.ask_ticks - depth.bid_ticks : 0;
  put(FeatureIx::kMicropriceOffset, two_sided ? mul_div_sat32(spread, (bid - ask) * 128, bid + ask) : 0);
  put(FeatureIx::kSpread, sat32(spread));
  put(FeatureIx::kImbalance1, imbalance_q15(bid, ask));
  put(FeatureIx::kImbalance5, imbalance_q15(bid5, ask5));

  const auto now_bucket = [&s](int k) -> const Sums& {
    return s.window[k].bucket[s.window[k].number & (kBuckets - 1)].sums;
  };
  const auto oldest = [&s](int k) { return s.window[k].bucket[(s.window[k].number + 1) & (kBuckets - 1)].open_mid2; };
  const Sums& medium = now_bucket(1);
  const Sums& medium_closed = s.window[1].closed;
  const Sums& slow = now_bucket(2);
  const Sums& slow_closed = s.window[2].closed;
  put(FeatureIx::kOfiFast, sat32(medium_closed.ofi_lots + medium.ofi_lots));
  put(FeatureIx::kOfiSlow, sat32(slow_closed.ofi_lots + slow.ofi_lots));
  put(FeatureIx::kFlowFast, sat32(medium_closed.flow_lots + medium.flow_lots));
  put(FeatureIx::kFlowSlow, sat32(slow_closed.flow_lots + slow.flow_lots));

  const i64 then[kWindows] = {oldest(0), oldest(1), oldest(2)};
  const u64 variance = static_cast<u64>(slow_closed.variance + slow.variance);
  Slopes& m = s.slopes;
  const bool same = ((m.mid2 ^ s.mid2) | (m.then_mid2[0] ^ then[0]) | (m.then_mid2[1] ^ then[1]) |
                     (m.then_mid2[2] ^ then[2]) | static_cast<i64>(m.variance ^ variance)) == 0;
  if (!same) refresh(m, s.mid2, then, variance);
  put(FeatureIx::kReturnFast, m.return_q24[0]);
  put(FeatureIx::kReturnMedium, m.return_q24[1]);
  put(FeatureIx::kReturnSlow, m.return_q24[2]);
  put(FeatureIx::kRealisedVolatility, m.volatility_q24);
  put(FeatureIx::kQuoteRate, lg_q8(static_cast<u64>(1 + medium_closed.quotes + medium.quotes)));
  put(FeatureIx::kTradeRate, lg_q8(static_cast<u64>(1 + medium_closed.trades + medium.trades)));

  put(FeatureIx::kQueueAheadBid, queue_q15(own.queue_ahead_bid_lots, bid));
  put(FeatureIx::kQueueAheadAsk, queue_q15(own.queue_ahead_ask_lots, ask));
  put(FeatureIx::kPosition, sat32(own.position_lots));
  put(FeatureIx::kWorkingBuy, sat32(own.working_buy_lots));
  put(FeatureIx::kWorkingSell, sat32(own.working_sell_lots));
  put(FeatureIx::kTimeSinceTrade, s.traded ? lg_q8(1 + static_cast<u64>(s.last_ns - s.trade_ns)) : kNeverTraded);
  put(FeatureIx::kDepth1, lg_q8(static_cast<u64>(1 + bid + ask)));
  put(FeatureIx::kUserSignal, 0);
}

u64 FeatureEngine::state_hash() const {
  u64 h = 0;
  for (const State& s : state_) {
    h = hash_fold(h, s.started ? 1 : 0);
    if (!s.started) continue;
    for (const Window& w : s.window) {
      h = hash_fold(h, static_cast<u64>(w.number));
      for (const Bucket& b : w.bucket) {
        h = hash_fold(h, static_cast<u64>(b.sums.ofi_lots));
        h = hash_fold(h, static_cast<u64>(b.sums.flow_lots));
        h = hash_fold(h, static_cast<u64>(b.sums.variance));
        h = hash_fold(h, static_cast<u64>(b.sums.quotes));
        h = hash_fold(h, static_cast<u64>(b.sums.trades));
        h = hash_fold(h, static_cast<u64>(b.open_mid2));
      }
    }
    for (const i64 v : {s.top.bid_ticks, s.top.bid_lots, s.top.ask_ticks, s.top.ask_lots, s.mid2, s.last_ns,
                        s.traded ? s.trade_ns : i64{-1}}) {
      h = hash_fold(h, static_cast<u64>(v));
    }
  }
  return h;
}

}  // namespace peregrine
