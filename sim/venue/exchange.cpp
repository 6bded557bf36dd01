#include "venue/exchange.h"

#include <algorithm>
#include <cctype>

#include "core/assert.h"
#include "core/hash.h"

namespace peregrine::venue {
namespace {

bool same_text(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](unsigned char x, unsigned char y) {
           return std::toupper(x) == std::toupper(y);
         });
}

}  // namespace

Exchange::Exchange(const ExchangeConfig& config, ExchangeSink* sink)
    : config_(config),
      sink_(sink),
      matching_({static_cast<u32>(config.symbols.size()), config.max_orders, 1u << 14, config.stp}, this),
      trading_(config.symbols.size(), 'T'),
      short_sale_(config.symbols.size(), '0'),
      reject_rng_(config.seed) {
  PRG_ASSERT(config.symbols.size() < 65535);
  for (const SymbolConfig& s : config_.symbols) stocks_.push_back(itch::Stock::from(s.symbol));
  for (const PortConfig& p : config_.ports) ports_.emplace_back().config = p;
  events_.reserve(1024);
  for (u32 i = 0; i < config_.symbols.size(); ++i) matching_.set_mode(i, BookMode::kHalted);
}

void Exchange::set_session_state(SessionState state, TimeNs now_ns) {
  if (state_ == SessionState::kStart && state > state_) start(now_ns);
  while (state_ < state) {
    state_ = static_cast<SessionState>(static_cast<u8>(state_) + 1);
    if (state_ == SessionState::kOpen) publish_system('Q', now_ns);
    if (state_ == SessionState::kClosed) publish_system('M', now_ns);
    for (u32 i = 0; i < stocks_.size(); ++i) apply_mode(i, now_ns);
    if (state_ == SessionState::kClosed) {
      cancel_all_at_close(now_ns);
      send_system('E', now_ns);
    }
    if (state_ == SessionState::kEnded) {
      publish_system('E', now_ns);
      publish_system('C', now_ns);
    }
  }
}

void Exchange::apply_mode(u32 symbol, TimeNs now_ns) {
  const bool collecting = config_.open_cross && matching_.mode(symbol) == BookMode::kCollect;
  BookMode mode = BookMode::kHalted;
  if (state_ == SessionState::kPreOpen || state_ == SessionState::kOpen) {
    if (trading_[symbol] == 'T') {
      mode = state_ == SessionState::kOpen ? BookMode::kContinuous
             : config_.open_cross          ? BookMode::kCollect
                                           : BookMode::kNoCross;
    } else if (trading_[symbol] == 'Q') {
      mode = config_.open_cross ? BookMode::kCollect : BookMode::kNoCross;
    }
  }
  // Whatever was collected is uncrossed before trading goes on (or the book would stay crossed).
  if (config_.open_cross && mode == BookMode::kContinuous) {
    const u64 match_before = matching_.next_match();
    events_.clear();
    const auto result = matching_.cross(symbol, config_.symbols[symbol].reference_ticks);
    if (result.qty > 0 || collecting) {
      const bool opening = system_codes_.back() == 'Q' && collecting;
      flush_events(now_ns, opening ? 'O' : 'H');
      itch::CrossTrade q;
      q.shares = result.qty;
      q.stock = stock(symbol);
      q.price_ticks = static_cast<u32>(result.price_ticks);
      q.match = result.qty > 0 ? match_before : 0;
      q.cross_type = opening ? 'O' : 'H';
      publish(symbol, q, now_ns);
    }
  }
  matching_.set_mode(symbol, mode);
}

void Exchange::halt(u32 symbol, u8 state, std::string_view reason, TimeNs now_ns) {
  trading_[symbol] = state;
  itch::TradingAction h;
  h.stock = stock(symbol);
  h.state = static_cast<char>(state);
  h.reason = itch::Alpha<4>::from(reason);
  publish(symbol, h, now_ns);
  apply_mode(symbol, now_ns);
}

void Exchange::set_short_sale(u32 symbol, u8 action, TimeNs now_ns) {
  short_sale_[symbol] = action;
  itch::RegSho y;
  y.stock = stock(symbol);
  y.action = static_cast<char>(action);
  publish(symbol, y, now_ns);
}

void Exchange::on_timer(TimeNs now_ns) {
  while (!expiries_.empty() && expiries_.begin()->first <= now_ns) {
    const u32 index = expiries_.begin()->second;
    const TimeNs due = expiries_.begin()->first;
    expiries_.erase(expiries_.begin());
    if (orders_[index].open > 0 && orders_[index].expires_ns == due) cancel_order(index, 'T', now_ns);
  }
}

TimeNs Exchange::next_timer() const { return expiries_.empty() ? INT64_MAX : expiries_.begin()->first; }

void Exchange::on_disconnect(PortIx port, TimeNs now_ns) {
  on_timer(now_ns);
  if (!ports_[port].config.cancel_on_disconnect) return;
  while (!ports_[port].open.empty()) cancel_order(ports_[port].open.begin()->second, 'Z', now_ns);
}

// Takes the whole rest of an order off the book and tells its port.
void Exchange::cancel_order(u32 index, u8 reason, TimeNs now_ns) {
  Order& o = orders_[index];
  OrderView v;
  PRG_ASSERT(matching_.cancel(o.handle, &v) && v.qty == o.open);
  if (!v.hidden) {
    itch::OrderDelete d;
    d.ref = v.ref;
    publish(o.symbol, d, now_ns);
  }
  const u32 removed = o.open;
  o.open = 0;
  send_canceled(o, removed, reason, now_ns);
  close_if_done(index);
}

void Exchange::close_if_done(u32 index) {
  Order& o = orders_[index];
  if (o.open > 0) return;
  o.handle = kNoOrder;
  ports_[o.port].open.erase(o.urn);
}

void Exchange::cancel_all_at_close(TimeNs now_ns) {
  for (Port& port : ports_) {
    while (!port.open.empty()) cancel_order(port.open.begin()->second, 'E', now_ns);
  }
  for (u32 symbol = 0; symbol < stocks_.size(); ++symbol) {
    std::vector<OrderHandle> rest;
    for (const Side side : {Side::kBuy, Side::kSell}) {
      matching_.for_each_order(symbol, side, [&](const OrderView& o) { rest.push_back(o.handle); });
    }
    for (const OrderHandle h : rest) background_cancel(h, now_ns);
  }
}

// ---- the flow's door

EnterResult Exchange::background_enter(const OrderSpec& spec, TimeNs now_ns) {
  on_timer(now_ns);
  OrderSpec s = spec;
  s.owner |= kBackground;
  events_.clear();
  const EnterResult result = matching_.enter(s);
  flush_events(now_ns);
  if (result.handle != kNoOrder && !s.hidden) {
    OrderView v;
    matching_.view(result.handle, v);
    publish_add(v, now_ns);
  }
  return result;
}

bool Exchange::background_cancel(OrderHandle handle, TimeNs now_ns) {
  OrderView v;
  if (!matching_.view(handle, v) || !(v.owner & kBackground)) return false;
  matching_.cancel(handle);
  if (!v.hidden) {
    itch::OrderDelete d;
    d.ref = v.ref;
    publish(v.symbol, d, now_ns);
  }
  return true;
}

u32 Exchange::background_reduce(OrderHandle handle, u32 qty, TimeNs now_ns) {
  OrderView v;
  if (qty == 0 || !matching_.view(handle, v) || !(v.owner & kBackground)) return 0;
  if (qty >= v.qty) {
    background_cancel(handle, now_ns);
    return v.qty;
  }
  matching_.reduce(handle, qty);
  if (!v.hidden) {
    itch::OrderCancel x;
    x.ref = v.ref;
    x.shares = qty;
    publish(v.symbol, x, now_ns);
  }
  return qty;
}

EnterResult Exchange::background_replace(OrderHandle handle, PriceTicks price_ticks, u32 qty, TimeNs now_ns) {
  OrderView v;
  if (!matching_.view(handle, v) || !(v.owner & kBackground) || matching_.mode(v.symbol) == BookMode::kHalted)
    return {};
  const bool quiet = !v.hidden && !matching_.would_take(v.symbol, v.side, price_ticks);
  if (!quiet) {
    background_cancel(handle, now_ns);
    return background_enter({.symbol = v.symbol,
                             .side = v.side,
                             .hidden = v.hidden,
                             .price_ticks = price_ticks,
                             .qty = qty,
                             .owner = v.owner,
                             .tag = v.tag},
                            now_ns);
  }
  matching_.cancel(handle);
  events_.clear();
  const EnterResult result = matching_.enter(
      {.symbol = v.symbol, .side = v.side, .price_ticks = price_ticks, .qty = qty, .owner = v.owner, .tag = v.tag});
  if (result.handle == kNoOrder) {
    itch::OrderDelete d;
    d.ref = v.ref;
    publish(v.symbol, d, now_ns);
    return result;
  }
  itch::OrderReplace u;
  u.ref = v.ref;
  u.new_ref = result.ref;
  u.shares = qty;
  u.price_ticks = static_cast<u32>(price_ticks);
  publish(v.symbol, u, now_ns);
  return result;
}

// ---- reading

int Exchange::port_of(std::string_view user) const {
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    if (same_text(ports_[i].config.user, user)) return static_cast<int>(i);
  }
  return -1;
}

u32 Exchange::symbol_of(const ouch::Symbol& symbol) const {
  for (u32 i = 0; i < stocks_.size(); ++i) {
    if (std::equal(symbol.begin(), symbol.end(), stocks_[i].c)) return i;
  }
  return kNone;
}

PortSummary Exchange::summary(PortIx port) const {
  PortSummary s = ports_[port].summary;
  s.open_orders = static_cast<u32>(ports_[port].open.size());
  return s;
}

// Time on the wire never runs backwards, whatever order the callers' times come in.
u64 Exchange::stamp(TimeNs now_ns) const {
  const i64 since = clamp64(now_ns - config_.midnight_ns, 0, static_cast<i64>(itch::kDayNs) - 1);
  last_stamp_ns_ = since > last_stamp_ns_ ? since : last_stamp_ns_;
  return static_cast<u64>(last_stamp_ns_);
}

bool Exchange::attributed(const OrderView& o) const {
  return !(o.owner & kBackground) && orders_[o.tag - 1].display == 'A';
}

u64 Exchange::state_hash() const {
  u64 h = hash_fold(matching_.state_hash(), static_cast<u64>(state_));
  for (const u8 t : trading_) h = hash_fold(h, t);
  for (const Port& p : ports_) {
    h = hash_fold(h, p.last_urn);
    h = hash_fold(h, p.store.size());
    for (const auto& [urn, index] : p.open) {
      h = hash_fold(h, urn);
      h = hash_fold(h, (static_cast<u64>(orders_[index].open) << 32) | orders_[index].executed);
    }
  }
  return hash_fold(h, itch_store_.size());
}

}  // namespace peregrine::venue
