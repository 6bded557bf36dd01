#include "venue/flow.h"

#include <algorithm>

#include "core/assert.h"

namespace peregrine::venue {
namespace {

// -log2(u / 2^64) in 1/65536, u > 0: the leading zeros give the whole part, repeated squaring the fraction.
u64 minus_log2_q16(u64 u) {
  const int lz = __builtin_clzll(u);
  u64 m = u << lz;  // 1.63 fixed point, in [1, 2)
  u64 fraction = 0;
  for (int i = 0; i < 16; ++i) {
    __extension__ using u128 = unsigned __int128;
    const u128 sq = static_cast<u128>(m) * m;  // 2.126
    const bool two = (sq >> 127) != 0;
    fraction = (fraction << 1) | two;
    m = static_cast<u64>(two ? sq >> 64 : sq >> 63);
  }
  return (static_cast<u64>(lz + 1) << 16) - fraction;
}

}  // namespace

Flow::Flow(const FlowParams& params, Exchange& exchange) : params_(params), exchange_(exchange), rng_(params.seed) {
  PRG_ASSERT(params.participants > 0 && params.usual_spread > 0 && params.recent > 0);
  for (const SymbolConfig& s : exchange.config().symbols) {
    const i64 anchor = s.reference_ticks / s.increment_ticks * 256;
    symbols_.push_back({.anchor_256 = anchor, .value_256 = anchor, .live = {}});
    symbols_.back().live.reserve(4 * params.target_orders);
  }
}

void Flow::begin(TimeNs now_ns) {
  if (params_.rate_per_s == 0) return;
  next_ns_ = now_ns;
  next_ns_ += exponential_ns(1'000'000'000 / static_cast<i64>(params_.rate_per_s * symbols_.size()));
}

// -mean ln(u) = mean ln(2) * -log2(u); ln(2) = 45426 / 65536.
i64 Flow::exponential_ns(i64 mean_ns) {
  const u64 u = rng_.next() | 1;
  return static_cast<i64>((static_cast<i128>(mean_ns) * static_cast<i128>(minus_log2_q16(u)) * 45426) >> 32) + 1;
}

void Flow::step() {
  const TimeNs now_ns = next_ns_;
  event(static_cast<u32>(rng_.below(symbols_.size())), now_ns);
  ++events_;
  next_ns_ = now_ns + exponential_ns(1'000'000'000 / static_cast<i64>(params_.rate_per_s * symbols_.size()));
}

PriceTicks Flow::value_ticks(u32 symbol) const {
  return floor_div(symbols_[symbol].value_256 * exchange_.config().symbols[symbol].increment_ticks, 256);
}

void Flow::move_value(SymbolState& s) {
  const i64 step = params_.value_step_256;
  s.value_256 += rng_.between(-step, step);
  s.value_256 += floor_div(s.anchor_256 - s.value_256, i64{1} << params_.revert_shift);
  if (s.burst_left > 0) {
    --s.burst_left;
    s.value_256 += s.drift_256;
  } else if (roll(params_.burst)) {
    s.burst_left = static_cast<u32>(1 + rng_.below(2 * params_.burst_events));
    s.drift_256 = rng_.below(2) == 0 ? params_.burst_step_256 : -static_cast<i64>(params_.burst_step_256);
  }
  s.value_256 = std::max<i64>(s.value_256, 256 * 500);  // prices stay well above nothing
}

i64 Flow::mispricing(u32 symbol) const {
  LevelView bid, ask;
  const Matching& m = exchange_.matching();
  if (!m.best_displayed(symbol, Side::kBuy, bid) || !m.best_displayed(symbol, Side::kSell, ask)) return 0;
  const i64 inc = exchange_.config().symbols[symbol].increment_ticks;
  return floor_div(2 * symbols_[symbol].value_256 * inc - 256 * (bid.price_ticks + ask.price_ticks), 512 * inc);
}

// Buy more often the further the value lies above the mid.
Side Flow::leaning_side(u32 symbol, u32 weight) {
  const i64 buy = clamp64(5000 + mispricing(symbol) * static_cast<i64>(weight), 300, 9700);
  return static_cast<i64>(rng_.below(10'000)) < buy ? Side::kBuy : Side::kSell;
}

u32 Flow::draw_qty() {
  const u64 d = rng_.below(100);
  if (d < 30) return static_cast<u32>(1 + rng_.below(30));
  if (d < 38) return static_cast<u32>(31 + rng_.below(69));
  if (d < 82) return 100;
  if (d < 94) return static_cast<u32>(100 * (1 + rng_.below(3)));
  return static_cast<u32>(100 * (2 + rng_.below(6)));
}

// The recordings' quartiles behind the touch: half within some ten increments, a tenth far away.
i64 Flow::draw_distance() {
  const u64 d = rng_.below(100);
  if (d < 42) return 1 + static_cast<i64>(rng_.below(6));
  if (d < 72) return 6 + static_cast<i64>(rng_.below(15));
  if (d < 86) return 20 + static_cast<i64>(rng_.below(50));
  return 70 + static_cast<i64>(rng_.below(230));
}

bool Flow::place(u32 symbol, Side side, PriceTicks price_ticks, u32 qty, bool hidden, TimeNs now_ns) {
  const PriceTicks inc = exchange_.config().symbols[symbol].increment_ticks;
  if (price_ticks < inc || price_ticks > static_cast<PriceTicks>(ouch::kMaxPrice)) return false;
  SymbolState& s = symbols_[symbol];
  const EnterResult r = exchange_.background_enter({.symbol = symbol,
                                                    .side = side,
                                                    .hidden = hidden,
                                                    .post_only = true,
                                                    .price_ticks = price_ticks,
                                                    .qty = qty,
                                                    .owner = static_cast<u32>(rng_.below(params_.participants)),
                                                    .tag = next_tag_++},
                                                   now_ns);
  if (r.handle != kNoOrder) s.live.push_back(r.handle);
  return r.handle != kNoOrder;
}

void Flow::seed_books(TimeNs now_ns) {
  for (u32 symbol = 0; symbol < symbols_.size(); ++symbol) {
    const i64 inc = exchange_.config().symbols[symbol].increment_ticks;
    const i64 mid = symbols_[symbol].value_256 / 256;
    const i64 half = params_.usual_spread / 2;
    for (u32 i = 0; i < params_.target_orders / 2; ++i) {
      const i64 away = half + (i == 0 ? 0 : draw_distance());
      place(symbol, Side::kBuy, (mid - away) * inc, draw_qty(), false, now_ns);
      place(symbol, Side::kSell, (mid + away) * inc, draw_qty(), false, now_ns);
    }
  }
}

void Flow::event(u32 symbol, TimeNs now_ns) {
  SymbolState& s = symbols_[symbol];
  move_value(s);
  if (!s.live.empty()) {  // orders that traded away leave the list bit by bit
    const std::size_t at = rng_.below(s.live.size());
    if (!exchange_.matching().live(s.live[at])) s.live.erase(s.live.begin() + static_cast<std::ptrdiff_t>(at));
  }
  if (exchange_.matching().mode(symbol) == BookMode::kHalted) return;
  const i64 over = static_cast<i64>(s.live.size()) - static_cast<i64>(params_.target_orders);
  const u64 cancel = static_cast<u64>(clamp64(static_cast<i64>(params_.cancel) + over * 20, 500, 8500));
  u64 d = rng_.below(10'000);
  if (d < params_.take) return take(symbol, now_ns);
  d -= params_.take;
  if (d < params_.partial) return remove(symbol, now_ns, true);
  d -= params_.partial;
  if (d < params_.replace) return replace(symbol, now_ns);
  d -= params_.replace;
  if (d < cancel) return remove(symbol, now_ns, false);
  add(symbol, now_ns);
}

void Flow::add(u32 symbol, TimeNs now_ns) {
  const Matching& m = exchange_.matching();
  const i64 inc = exchange_.config().symbols[symbol].increment_ticks;
  const Side side = leaning_side(symbol, params_.lean / 2);
  const i64 away = side == Side::kBuy ? -1 : 1;  // times increments: further from the other side
  LevelView own, contra;
  const bool has_own = m.best_displayed(symbol, side, own);
  const bool has_contra = m.best(symbol, opposite(side), contra);  // hidden orders count: a maker probes and backs off
  const i64 value = symbols_[symbol].value_256 / 256;
  // Who thinks the price is about to move his way shows more: the book's imbalance tells of the value.
  const i64 edge_increments = side == Side::kBuy ? mispricing(symbol) : -mispricing(symbol);
  u32 qty = draw_qty();
  if (edge_increments > 2) qty += draw_qty();
  // What a maker would quote with nothing else to go by.
  i64 touch = has_own ? own.price_ticks / inc : value + away * (static_cast<i64>(params_.usual_spread) / 2);
  i64 price = touch;
  const i64 spread = has_own && has_contra ? (contra.price_ticks - own.price_ticks) / inc * -away : 0;
  const bool hidden = roll(params_.hidden);
  const u32 chance = static_cast<u32>(
      clamp64(static_cast<i64>(params_.improve) * spread / static_cast<i64>(params_.usual_spread), 0, 6500));
  if (spread > 1 && (hidden || roll(chance))) {
    const u64 room = static_cast<u64>(spread - 1);
    const i64 into = 1 + static_cast<i64>(std::min({rng_.below(room), rng_.below(room), rng_.below(room)}));
    price = touch - away * into;
    // Nobody bids above (offers below) what the thing is worth to them.
    const i64 limit =
        value + away * static_cast<i64>(params_.usual_spread / 4 + rng_.below(params_.usual_spread / 2 + 1));
    if (away < 0 ? price > limit : price < limit) price = limit;
  } else if (!roll(params_.join)) {
    price = touch + away * draw_distance();
  }
  if (has_contra) {  // never to take
    const i64 edge = contra.price_ticks / inc + away;
    if (away < 0 ? price > edge : price < edge) price = edge;
  }
  place(symbol, side, price * inc, qty, hidden, now_ns);
}

void Flow::take(u32 symbol, TimeNs now_ns) {
  const Side side = leaning_side(symbol, params_.lean);
  LevelView contra;
  if (!exchange_.matching().best_displayed(symbol, opposite(side), contra)) return;
  // Most take no more than what is shown at the touch; some sweep.
  u64 qty = std::max<u64>(draw_qty(), roll(6000) ? 100 : 1);
  PriceTicks limit = contra.price_ticks;
  if (roll(8500)) {
    qty = std::min<u64>(qty, contra.displayed_qty);
  } else {
    const i64 inc = exchange_.config().symbols[symbol].increment_ticks;
    limit += (side == Side::kBuy ? 1 : -1) * inc * static_cast<i64>(rng_.below(8));
  }
  if (limit <= 0) return;
  exchange_.background_enter({.symbol = symbol,
                              .side = side,
                              .tif = Tif::kIoc,
                              .price_ticks = limit,
                              .qty = static_cast<u32>(qty),
                              .owner = static_cast<u32>(rng_.below(params_.participants)),
                              .tag = next_tag_++},
                             now_ns);
}

// A live order: often a young one, else any. Dead handles met on the way are dropped.
bool Flow::pick(SymbolState& s, std::size_t& at, OrderView& view) {
  while (!s.live.empty()) {
    const std::size_t n = s.live.size();
    at = roll(params_.recent_cancel) ? n - 1 - rng_.below(std::min<u64>(n, params_.recent)) : rng_.below(n);
    if (exchange_.matching().view(s.live[at], view)) return true;
    s.live.erase(s.live.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return false;
}

void Flow::remove(u32 symbol, TimeNs now_ns, bool partial) {
  SymbolState& s = symbols_[symbol];
  std::size_t at;
  OrderView v, other;
  const Side side = mispricing(symbol) > 0 ? Side::kSell : Side::kBuy;  // the side that is offered too cheaply
  if (!partial && roll(params_.touch_cancel) && exchange_.matching().front(symbol, side, v) &&
      exchange_.matching().front(symbol, opposite(side), other)) {
    const i64 gap =
        v.price_ticks > other.price_ticks ? v.price_ticks - other.price_ticks : other.price_ticks - v.price_ticks;
    if (gap < params_.usual_spread * exchange_.config().symbols[symbol].increment_ticks) {
      exchange_.background_cancel(v.handle, now_ns);  // not when it is a client's; the dead handle is met later
      return;
    }
  }
  if (!pick(s, at, v)) return;
  // An order on the side the value runs away from is safe and stays; the other side is pulled.
  const i64 wrong = v.side == Side::kBuy ? -mispricing(symbol) : mispricing(symbol);
  if (wrong < -4 && roll(5000) && !pick(s, at, v)) return;
  if (partial && v.qty > 1) {
    exchange_.background_reduce(v.handle, static_cast<u32>(1 + rng_.below(v.qty - 1)), now_ns);
    return;
  }
  exchange_.background_cancel(v.handle, now_ns);
  s.live.erase(s.live.begin() + static_cast<std::ptrdiff_t>(at));
}

void Flow::replace(u32 symbol, TimeNs now_ns) {
  SymbolState& s = symbols_[symbol];
  std::size_t at;
  OrderView v;
  if (!pick(s, at, v)) return;
  const i64 inc = exchange_.config().symbols[symbol].increment_ticks;
  const PriceTicks price = v.price_ticks + rng_.between(-3, 3) * inc;
  if (price < inc || exchange_.matching().would_take(symbol, v.side, price)) return;
  const EnterResult r = exchange_.background_replace(v.handle, price, v.qty, now_ns);
  if (r.handle != kNoOrder) {
    s.live[at] = r.handle;
  } else {
    s.live.erase(s.live.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

// ---- recorded flow

RecordedFlow::RecordedFlow(Bytes file, u16 source_locate, u32 symbol, u32 speed_percent, Exchange& exchange)
    : file_(file), source_locate_(source_locate), symbol_(symbol), speed_percent_(speed_percent), exchange_(exchange) {
  PRG_ASSERT(speed_percent > 0);
}

void RecordedFlow::begin(TimeNs now_ns) {
  origin_ns_ = now_ns;
  advance();
}

// Finds the next message that moves an order and when it is due.
void RecordedFlow::advance() {
  next_ns_ = INT64_MAX;
  while (file_.size() - at_ >= 2) {
    const std::size_t n = load_be16(file_.data() + at_);
    if (n == 0 || file_.size() - at_ - 2 < n) return;
    const Bytes m = file_.subspan(at_ + 2, n);
    at_ += 2 + n;
    if (n < itch::message_length(m[0]) || itch::message_length(m[0]) == 0) continue;
    bool moves = false;
    for (const char c : {'A', 'F', 'E', 'C', 'X', 'D', 'U'}) moves |= m[0] == static_cast<u8>(c);
    const u16 locate = load_be16(m.data() + 1);
    if (!moves || (source_locate_ != 0 && locate != source_locate_)) continue;
    source_locate_ = locate;
    const u64 ts = load_be48(m.data() + 5);
    if (!have_first_) first_ts_ns_ = ts, have_first_ = true;
    pending_ = m;
    const i64 since = static_cast<i64>(std::max(ts, first_ts_ns_) - first_ts_ns_);
    next_ns_ = origin_ns_ + static_cast<i64>(static_cast<i128>(since) * 100 / speed_percent_);
    return;
  }
}

void RecordedFlow::step() {
  apply(pending_, next_ns_);
  ++events_;
  advance();
}

void RecordedFlow::apply(Bytes m, TimeNs now_ns) {
  const auto enter = [&](u64 ref, Side side, u32 qty, u32 price) {
    const EnterResult r = exchange_.background_enter(
        {.symbol = symbol_, .side = side, .price_ticks = price, .qty = qty, .tag = ref}, now_ns);
    if (r.handle != kNoOrder) {
      live_[ref] = r.handle;
    } else {
      ++dropped_;
    }
  };
  const auto find = [&](u64 ref, OrderView& v) {
    const auto it = live_.find(ref);
    if (it != live_.end() && exchange_.matching().view(it->second, v)) return true;
    ++dropped_;
    return false;
  };
  OrderView v;
  const u64 ref = load_be64(m.data() + 11);
  switch (m[0]) {
    case 'A':
    case 'F':
      enter(ref, m[19] == 'B' ? Side::kBuy : Side::kSell, load_be32(m.data() + 20), load_be32(m.data() + 32));
      break;
    case 'E':
    case 'C':
      // The order that traded was the first in its queue then; whatever of ours stands before it trades first.
      if (find(ref, v)) {
        exchange_.background_enter({.symbol = symbol_,
                                    .side = opposite(v.side),
                                    .tif = Tif::kIoc,
                                    .price_ticks = v.price_ticks,
                                    .qty = load_be32(m.data() + 19),
                                    .owner = 1},
                                   now_ns);
      }
      break;
    case 'X':
      if (find(ref, v)) exchange_.background_reduce(v.handle, load_be32(m.data() + 19), now_ns);
      break;
    case 'D':
      if (find(ref, v)) exchange_.background_cancel(v.handle, now_ns);
      live_.erase(ref);
      break;
    default: {  // U
      const u64 new_ref = load_be64(m.data() + 19);
      if (!find(ref, v)) break;
      const EnterResult r =
          exchange_.background_replace(v.handle, load_be32(m.data() + 31), load_be32(m.data() + 27), now_ns);
      live_.erase(ref);
      if (r.handle != kNoOrder) live_[new_ref] = r.handle;
    }
  }
}

}  // namespace peregrine::venue
