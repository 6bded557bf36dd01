#include "venue/matching.h"

#include <algorithm>

#include "core/assert.h"
#include "core/hash.h"

namespace peregrine::venue {

Matching::Matching(const MatchingConfig& config, MatchSink* sink) : config_(config), sink_(sink) {
  PRG_ASSERT(config.symbols > 0 && config.max_orders > 0 && config.max_levels_per_side > 0);
  orders_.resize(config.max_orders);
  free_orders_.reserve(config.max_orders);
  for (u32 i = config.max_orders; i-- > 0;) free_orders_.push_back(i);
  for (Order& o : orders_) o.generation = 0;
  const u32 levels = std::min(config.max_orders, config.symbols * 2 * config.max_levels_per_side);
  levels_.resize(levels);
  free_levels_.reserve(levels);
  for (u32 i = levels; i-- > 0;) free_levels_.push_back(i);
  books_.resize(config.symbols);
  for (Book& b : books_) {
    for (SideBook& s : b.sides) s.levels.reserve(config.max_levels_per_side);
  }
}

EnterResult Matching::enter(const OrderSpec& spec) {
  EnterResult result;
  if (spec.symbol >= books_.size() || spec.qty == 0 || spec.price_ticks <= 0 || spec.min_qty > spec.qty) return result;
  Book& book = books_[spec.symbol];
  const bool takes = would_take(spec.symbol, spec.side, spec.price_ticks);
  if (book.mode == BookMode::kHalted) return result.outcome = EnterOutcome::kHalted, result;
  if (book.mode == BookMode::kNoCross && takes) return result.outcome = EnterOutcome::kWouldCross, result;
  const bool rests = spec.tif == Tif::kDay && spec.price_ticks != kMarketPriceTicks;
  // Asked before anything trades, so that a refusal leaves no trace: the worst case is a new level and a slot.
  if (rests && (free_orders_.empty() || free_levels_.empty() ||
                book.sides[index(spec.side)].levels.size() == config_.max_levels_per_side)) {
    return result.outcome = EnterOutcome::kFull, result;
  }
  result.ref = next_ref_++;
  result.left = spec.qty;
  if (takes && book.mode == BookMode::kContinuous) {
    if (spec.post_only) return result.outcome = EnterOutcome::kPostOnlyTakes, result;
    if (spec.min_qty > 0 && available(spec) < spec.min_qty) {
      return result.outcome = EnterOutcome::kMinQtyMissed, result;
    }
    bool self_cancelled = false;
    match(spec, result.ref, result, self_cancelled);
    if (self_cancelled) return result.outcome = EnterOutcome::kSelfMatch, result;
    if (result.left == 0) return result.outcome = EnterOutcome::kFilled, result;
  } else if (spec.min_qty > 0) {
    return result.outcome = EnterOutcome::kMinQtyMissed, result;
  }
  if (!rests) return result.outcome = EnterOutcome::kIocRemainder, result;
  rest(spec, result.ref, result);
  return result;
}

bool Matching::would_take(u32 symbol, Side side, PriceTicks price_ticks) const {
  const auto& contra = books_[symbol].sides[index(opposite(side))].levels;
  return !contra.empty() && (price_ticks == kMarketPriceTicks || crosses(side, price_ticks, contra.back().price_ticks));
}

// What `spec` could trade at once, counted no further than its minimum quantity.
u64 Matching::available(const OrderSpec& spec) const {
  const auto& contra = books_[spec.symbol].sides[index(opposite(spec.side))].levels;
  const bool stp = spec.stp_group != 0 && config_.stp != StpMode::kOff;
  u64 sum = 0;
  for (std::size_t i = contra.size(); i-- > 0 && sum < spec.min_qty;) {
    if (spec.price_ticks != kMarketPriceTicks && !crosses(spec.side, spec.price_ticks, contra[i].price_ticks)) break;
    const Level& level = levels_[contra[i].level];
    if (!stp) {
      sum += level.queue[0].qty + level.queue[1].qty;
      continue;
    }
    for (const Queue& q : level.queue) {
      for (u32 slot = q.head; slot != kNil; slot = orders_[slot].next) {
        if (orders_[slot].stp_group != spec.stp_group) {
          sum += orders_[slot].qty;
        } else if (config_.stp != StpMode::kCancelResting) {
          return sum;  // the incoming order would lose quantity here: what lies behind is not counted on
        }
      }
    }
  }
  return sum;
}

void Matching::match(const OrderSpec& spec, u64 ref, EnterResult& result, bool& self_cancelled) {
  Book& book = books_[spec.symbol];
  const Side contra_side = opposite(spec.side);
  auto& contra = book.sides[index(contra_side)].levels;
  const bool any_price = spec.price_ticks == kMarketPriceTicks;
  while (result.left > 0 && !contra.empty()) {
    const LevelRef best = contra.back();
    if (!any_price && !crosses(spec.side, spec.price_ticks, best.price_ticks)) return;
    Level& level = levels_[best.level];
    const u32 slot = level.queue[0].head != kNil ? level.queue[0].head : level.queue[1].head;
    PRG_ASSERT(slot != kNil);
    Order& maker = orders_[slot];
    const u32 qty = std::min(maker.qty, result.left);

    if (spec.stp_group != 0 && maker.stp_group == spec.stp_group && config_.stp != StpMode::kOff) {
      Prevented p{spec.symbol,     contra_side, maker.hidden, maker.price_ticks, qty,        0,   0,       0,
                  handle_of(slot), maker.ref,   maker.tag,    maker.owner,       spec.owner, ref, spec.tag};
      if (config_.stp == StpMode::kCancelResting) {
        p.resting_decrement = maker.qty;
      } else if (config_.stp == StpMode::kCancelIncoming) {
        p.incoming_decrement = result.left;
      } else {
        p.resting_decrement = p.incoming_decrement = qty;
      }
      p.resting_left = maker.qty - p.resting_decrement;
      result.left -= p.incoming_decrement;
      result.prevented += p.incoming_decrement;
      if (p.resting_left == 0) {
        remove_slot(slot);
      } else if (p.resting_decrement > 0) {
        level.queue[maker.hidden].qty -= p.resting_decrement;
        maker.qty = p.resting_left;
      }
      sink_->on_prevented(p);
      if (result.left == 0) self_cancelled = true;
      continue;
    }

    Fill f{next_match_++,   spec.symbol,     spec.side, maker.hidden, spec.hidden, maker.price_ticks, qty,
           maker.qty - qty, handle_of(slot), maker.ref, maker.tag,    maker.owner, spec.owner,        ref,
           spec.tag};
    result.filled += qty;
    result.left -= qty;
    book.traded_qty += qty;
    if (f.maker_left == 0) {
      remove_slot(slot);
    } else {
      maker.qty = f.maker_left;
      level.queue[maker.hidden].qty -= qty;
    }
    sink_->on_fill(f);
  }
}

bool Matching::rest(const OrderSpec& spec, u64 ref, EnterResult& result) {
  const u32 level_ix = find_or_add_level(spec.symbol, spec.side, spec.price_ticks);
  const u32 slot = free_orders_.back();
  free_orders_.pop_back();
  Order& o = orders_[slot];
  Queue& q = levels_[level_ix].queue[spec.hidden];
  o.price_ticks = spec.price_ticks;
  o.ref = ref;
  o.tag = spec.tag;
  o.next = kNil;
  o.prev = q.tail;
  ++o.generation;
  PRG_ASSERT(o.generation & 1);
  o.level = level_ix;
  o.symbol = spec.symbol;
  o.qty = result.left;
  o.owner = spec.owner;
  o.stp_group = spec.stp_group;
  o.side = spec.side;
  o.hidden = spec.hidden;
  if (q.tail != kNil) {
    orders_[q.tail].next = slot;
  } else {
    q.head = slot;
  }
  q.tail = slot;
  q.qty += o.qty;
  ++q.orders;
  ++live_orders_;
  result.handle = handle_of(slot);
  result.outcome = EnterOutcome::kRested;
  return true;
}

u32 Matching::find_or_add_level(u32 symbol, Side side, PriceTicks price_ticks) {
  auto& levels = books_[symbol].sides[index(side)].levels;
  // Most activity is at the touch, so look from the best level on before halving the rest.
  const auto worse = [side](PriceTicks a, PriceTicks b) { return side == Side::kBuy ? a < b : a > b; };
  std::size_t i = levels.size();
  for (int near = 0; near < 8 && i > 0; ++near, --i) {
    if (levels[i - 1].price_ticks == price_ticks) return levels[i - 1].level;
    if (worse(levels[i - 1].price_ticks, price_ticks)) break;
  }
  if (i > 0 && !worse(levels[i - 1].price_ticks, price_ticks)) {
    i = static_cast<std::size_t>(
        std::partition_point(levels.begin(), levels.begin() + static_cast<std::ptrdiff_t>(i),
                             [&](const LevelRef& l) { return worse(l.price_ticks, price_ticks); }) -
        levels.begin());
    if (levels[i].price_ticks == price_ticks) return levels[i].level;
  }
  PRG_ASSERT(!free_levels_.empty() && levels.size() < config_.max_levels_per_side);
  const u32 level = free_levels_.back();
  free_levels_.pop_back();
  levels_[level] = Level{price_ticks, {{kNil, kNil, 0, 0}, {kNil, kNil, 0, 0}}};
  levels.insert(levels.begin() + static_cast<std::ptrdiff_t>(i), LevelRef{price_ticks, level});
  return level;
}

void Matching::remove_slot(u32 slot) {
  Order& o = orders_[slot];
  Level& level = levels_[o.level];
  Queue& q = level.queue[o.hidden];
  (o.prev != kNil ? orders_[o.prev].next : q.head) = o.next;
  (o.next != kNil ? orders_[o.next].prev : q.tail) = o.prev;
  q.qty -= o.qty;
  --q.orders;
  --live_orders_;
  ++o.generation;
  free_orders_.push_back(slot);
  if (q.head == kNil) remove_level_if_empty(o.symbol, o.side, o.level);
}

void Matching::remove_level_if_empty(u32 symbol, Side side, u32 level_ix) {
  const Level& level = levels_[level_ix];
  if (level.queue[0].head != kNil || level.queue[1].head != kNil) return;
  auto& levels = books_[symbol].sides[index(side)].levels;
  if (levels.back().level == level_ix) {
    levels.pop_back();
  } else {
    const auto it = std::partition_point(levels.begin(), levels.end(), [&](const LevelRef& l) {
      return side == Side::kBuy ? l.price_ticks < level.price_ticks : l.price_ticks > level.price_ticks;
    });
    PRG_ASSERT(it != levels.end() && it->level == level_ix);
    levels.erase(it);
  }
  free_levels_.push_back(level_ix);
}

bool Matching::live(OrderHandle handle) const {
  const u32 slot = static_cast<u32>(handle);
  return slot < orders_.size() && (orders_[slot].generation & 1) && orders_[slot].generation == (handle >> 32);
}

bool Matching::view(OrderHandle handle, OrderView& out) const {
  if (!live(handle)) return false;
  out = order_view(static_cast<u32>(handle));
  return true;
}

bool Matching::cancel(OrderHandle handle, OrderView* out) {
  if (!live(handle)) return false;
  const u32 slot = static_cast<u32>(handle);
  if (out != nullptr) *out = order_view(slot);
  remove_slot(slot);
  return true;
}

u32 Matching::reduce(OrderHandle handle, u32 qty) {
  if (!live(handle)) return 0;
  const u32 slot = static_cast<u32>(handle);
  Order& o = orders_[slot];
  if (qty >= o.qty) {
    const u32 removed = o.qty;
    remove_slot(slot);
    return removed;
  }
  o.qty -= qty;
  levels_[o.level].queue[o.hidden].qty -= qty;
  return qty;
}

Matching::CrossResult Matching::cross(u32 symbol, PriceTicks reference_ticks) {
  Book& book = books_[symbol];
  auto& bids = book.sides[0].levels;
  auto& asks = book.sides[1].levels;
  CrossResult best;
  u64 best_imbalance = 0;
  const auto volume_at = [&](PriceTicks price, u64& buy, u64& sell) {
    buy = sell = 0;
    for (const LevelRef& l : bids) {
      if (l.price_ticks >= price) buy += levels_[l.level].queue[0].qty + levels_[l.level].queue[1].qty;
    }
    for (const LevelRef& l : asks) {
      if (l.price_ticks <= price) sell += levels_[l.level].queue[0].qty + levels_[l.level].queue[1].qty;
    }
  };
  const auto consider = [&](PriceTicks price) {
    u64 buy, sell;
    volume_at(price, buy, sell);
    const u64 qty = std::min(buy, sell);
    const u64 imbalance = std::max(buy, sell) - qty;
    const auto away = [&](PriceTicks p) { return p > reference_ticks ? p - reference_ticks : reference_ticks - p; };
    const bool better =
        qty > best.qty ||
        (qty == best.qty && qty > 0 &&
         (imbalance < best_imbalance ||
          (imbalance == best_imbalance && (away(price) < away(best.price_ticks) ||
                                           (away(price) == away(best.price_ticks) && price < best.price_ticks)))));
    if (better) best = {price, qty}, best_imbalance = imbalance;
  };
  for (const LevelRef& l : bids) consider(l.price_ticks);
  for (const LevelRef& l : asks) consider(l.price_ticks);

  u64 left = best.qty;
  while (left > 0) {
    const auto head = [&](int side) {
      const Level& level = levels_[book.sides[side].levels.back().level];
      return level.queue[0].head != kNil ? level.queue[0].head : level.queue[1].head;
    };
    const u32 buy = head(0), sell = head(1);
    Order& b = orders_[buy];
    Order& s = orders_[sell];
    const u32 qty = static_cast<u32>(std::min<u64>(left, std::min(b.qty, s.qty)));
    Fill f{next_match_++, symbol,      Side::kSell,    b.hidden, s.hidden, best.price_ticks,
           qty,           b.qty - qty, handle_of(buy), b.ref,    b.tag,    b.owner,
           s.owner,       s.ref,       s.tag};
    sink_->on_fill(f);
    reduce(handle_of(buy), qty);
    reduce(handle_of(sell), qty);
    book.traded_qty += qty;
    left -= qty;
  }
  return best;
}

OrderView Matching::order_view(u32 slot) const {
  const Order& o = orders_[slot];
  return {o.ref, o.tag, o.symbol, o.owner, o.qty, o.side, o.hidden, o.price_ticks, handle_of(slot)};
}

LevelView Matching::level_view(const Level& l) const {
  return {l.price_ticks, l.queue[0].qty, l.queue[1].qty, l.queue[0].orders, l.queue[1].orders};
}

bool Matching::best(u32 symbol, Side side, LevelView& out) const {
  const auto& levels = books_[symbol].sides[index(side)].levels;
  if (levels.empty()) return false;
  out = level_view(levels_[levels.back().level]);
  return true;
}

bool Matching::best_displayed(u32 symbol, Side side, LevelView& out) const {
  const auto& levels = books_[symbol].sides[index(side)].levels;
  for (std::size_t i = levels.size(); i-- > 0;) {
    if (levels_[levels[i].level].queue[0].orders == 0) continue;
    out = level_view(levels_[levels[i].level]);
    return true;
  }
  return false;
}

bool Matching::front(u32 symbol, Side side, OrderView& out) const {
  const auto& levels = books_[symbol].sides[index(side)].levels;
  for (std::size_t i = levels.size(); i-- > 0;) {
    const u32 slot = levels_[levels[i].level].queue[0].head;
    if (slot == kNil) continue;
    out = order_view(slot);
    return true;
  }
  return false;
}

int Matching::levels(u32 symbol, Side side, LevelView* out, int n) const {
  const auto& levels = books_[symbol].sides[index(side)].levels;
  int written = 0;
  for (std::size_t i = levels.size(); i-- > 0 && written < n;) out[written++] = level_view(levels_[levels[i].level]);
  return written;
}

u64 Matching::state_hash() const {
  u64 h = hash_fold(next_ref_, next_match_);
  for (u32 symbol = 0; symbol < books_.size(); ++symbol) {
    h = hash_fold(h, static_cast<u64>(books_[symbol].mode));
    for (Side side : {Side::kBuy, Side::kSell}) {
      for_each_order(symbol, side, [&](const OrderView& o) {
        h = hash_fold(h, o.ref);
        h = hash_fold(h, static_cast<u64>(o.price_ticks));
        h = hash_fold(h, (static_cast<u64>(o.qty) << 1) | o.hidden);
      });
      h = hash_fold(h, static_cast<u64>(index(side)));
    }
  }
  return h;
}

void Matching::check() const {
  u32 live = 0;
  for (const Book& book : books_) {
    for (int side = 0; side < 2; ++side) {
      const auto& levels = book.sides[side].levels;
      for (std::size_t i = 0; i < levels.size(); ++i) {
        const Level& level = levels_[levels[i].level];
        PRG_ASSERT(level.price_ticks == levels[i].price_ticks);
        if (i > 0) {
          PRG_ASSERT(side == 0 ? levels[i - 1].price_ticks < levels[i].price_ticks
                               : levels[i - 1].price_ticks > levels[i].price_ticks);
        }
        PRG_ASSERT(level.queue[0].orders + level.queue[1].orders > 0);
        for (int hidden = 0; hidden < 2; ++hidden) {
          u64 qty = 0, last_ref = 0;
          u32 n = 0, prev = kNil;
          for (u32 slot = level.queue[hidden].head; slot != kNil; slot = orders_[slot].next) {
            const Order& o = orders_[slot];
            PRG_ASSERT(o.prev == prev && o.qty > 0 && (o.generation & 1) && o.level == levels[i].level);
            PRG_ASSERT(o.hidden == (hidden == 1) && o.price_ticks == level.price_ticks && index(o.side) == side);
            PRG_ASSERT(o.ref > last_ref);  // time priority: an earlier order has a lower reference
            last_ref = o.ref;
            prev = slot;
            qty += o.qty;
            ++n;
          }
          PRG_ASSERT(level.queue[hidden].tail == prev && level.queue[hidden].qty == qty &&
                     level.queue[hidden].orders == n);
          live += n;
        }
      }
    }
    if (book.mode == BookMode::kContinuous && !book.sides[0].levels.empty() && !book.sides[1].levels.empty()) {
      PRG_ASSERT(book.sides[0].levels.back().price_ticks < book.sides[1].levels.back().price_ticks);
    }
  }
  PRG_ASSERT(live == live_orders_);
  PRG_ASSERT(free_orders_.size() + live == orders_.size());
}

}  // namespace peregrine::venue
