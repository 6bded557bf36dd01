// What the exchange says: OUCH responses, ITCH messages, snapshots, and the lines of its record.
#include "core/assert.h"
#include "venue/drop_copy.h"
#include "venue/exchange.h"

namespace peregrine::venue {

template <class T>
void Exchange::respond(PortIx port, T message, TimeNs now_ns) {
  u8 buffer[ouch::kMaxMessageBytes];
  message.timestamp_ns = stamp(now_ns);
  message.long_form = config_.long_forms;
  const Bytes bytes(buffer, ouch::encode(message, buffer));
  const u64 seq = ports_[port].store.append(bytes);
  sink_->ouch(port, seq, bytes);
}

template <class T>
void Exchange::tell_drop_copies(PortIx of, const T& message, TimeNs now_ns) {
  for (PortIx p = 0; p < ports_.size(); ++p) {
    if (is_drop_copy_of(ports_[p].config, ports_[of].config.firm)) respond(p, message, now_ns);
  }
}

template <class T>
void Exchange::append_to(MessageStore& out, u32 symbol, T message, TimeNs now_ns) const {
  u8 buffer[itch::kMaxLength];
  message.locate = symbol == kNone ? 0 : static_cast<u16>(symbol + 1);
  message.ts_ns = stamp(now_ns);
  out.append(Bytes(buffer, itch::encode(message, buffer)));
}

template <class T>
void Exchange::publish(u32 symbol, T message, TimeNs now_ns) {
  append_to(itch_store_, symbol, message, now_ns);
  const u64 seq = itch_store_.size();
  sink_->itch(seq, symbol == kNone ? 0 : static_cast<u16>(symbol + 1), itch_store_.at(seq));
}
void Exchange::publish_system(char code, TimeNs now_ns) {
  itch::SystemEvent s;
  s.code = code;
  system_codes_.push_back(code);
  publish(kNone, s, now_ns);
}

void Exchange::publish_add(const OrderView& o, TimeNs now_ns) {
  itch::AddOrderMpid f;
  f.ref = o.ref;
  f.side = o.side;
  f.shares = o.qty;
  f.stock = stock(o.symbol);
  f.price_ticks = static_cast<u32>(o.price_ticks);
  if (attributed(o)) {
    f.mpid = itch::Mpid::from(ports_[orders_[o.tag - 1].port].config.firm);
    publish(o.symbol, f, now_ns);
    return;
  }
  itch::AddOrder a;
  a.ref = f.ref, a.side = f.side, a.shares = f.shares, a.stock = f.stock, a.price_ticks = f.price_ticks;
  publish(o.symbol, a, now_ns);
}

void Exchange::send_system(u8 code, TimeNs now_ns) {
  ouch::SystemEvent s;
  s.code = code;
  for (PortIx port = 0; port < ports_.size(); ++port) respond(port, s, now_ns);
}

RecordEntry& Exchange::note(RecordKind kind, const Order& o, TimeNs now_ns) {
  RecordEntry e;
  e.ts_ns = now_ns;
  e.kind = kind;
  e.port = o.port;
  e.urn = o.urn;
  e.symbol = o.symbol;
  e.side = o.side;
  e.ref = o.ref;
  e.price_ticks = o.price_ticks;
  e.open = o.open;
  e.executed = o.executed;
  e.message = o.message;
  record_.push_back(e);
  return record_.back();
}

namespace {

template <class T, class O>
void fill_terms(T& m, const O& o, bool dead, const itch::Stock& stock) {
  m.user_ref_num = o.urn;
  m.side = o.side;
  m.symbol = ouch::alpha<8>(stock.text());
  m.price = static_cast<u64>(o.price_ticks);
  m.tif = o.tif;
  m.display = o.display;
  m.order_ref = o.ref;
  m.capacity = o.capacity;
  m.state = dead ? ouch::kStateDead : ouch::kStateLive;
  m.cl_ord_id = o.cl_ord_id;
}

}  // namespace

// The appendage echoes what the order was given beyond the fixed part.
#define PRG_ECHO(m, o)                                                              \
  ouch::AppendageBuilder echo;                                                      \
  echo.add(ouch::kTagFirm, ouch::alpha<4>(ports_[(o).port].config.firm).data(), 4); \
  if ((o).min_qty > 0) echo.add_u32(ouch::kTagMinQuantity, (o).min_qty);            \
  if ((o).post_only) echo.add_char(ouch::kTagPostOnly, 'P');                        \
  (m).appendage = echo.bytes()

void Exchange::send_accepted(Order& o, bool dead, TimeNs now_ns) {
  ouch::Accepted a;
  fill_terms(a, o, dead, stock(o.symbol));
  a.quantity = o.open;
  PRG_ECHO(a, o);
  ++ports_[o.port].summary.accepted;
  note(RecordKind::kAccepted, o, now_ns).qty = o.open;
  respond(o.port, a, now_ns);
  tell_drop_copies(o.port, a, now_ns);
}

void Exchange::send_replaced(Order& o, u32 orig_urn, bool dead, TimeNs now_ns) {
  ouch::Replaced u;
  fill_terms(u, o, dead, stock(o.symbol));
  u.orig_ref_num = orig_urn;
  u.quantity = o.open;
  PRG_ECHO(u, o);
  ++ports_[o.port].summary.replaced;
  RecordEntry& e = note(RecordKind::kReplaced, o, now_ns);
  e.qty = o.open;
  e.orig_urn = orig_urn;
  respond(o.port, u, now_ns);
  tell_drop_copies(o.port, u, now_ns);
}

void Exchange::send_canceled(Order& o, u32 qty, u8 reason, TimeNs now_ns) {
  ouch::Canceled c;
  c.user_ref_num = o.urn;
  c.quantity = qty;
  c.reason = reason;
  ++ports_[o.port].summary.canceled;
  RecordEntry& e = note(RecordKind::kCanceled, o, now_ns);
  e.qty = qty;
  e.reason = reason;
  respond(o.port, c, now_ns);
}

void Exchange::send_rejected(PortIx port, u8 message, u32 urn, u16 reason, const ouch::ClOrdId& id, TimeNs now_ns) {
  ouch::Rejected j;
  j.user_ref_num = urn;
  j.reason = reason;
  j.cl_ord_id = id;
  ++ports_[port].summary.rejected;
  Order o;
  o.port = port;
  o.urn = urn;
  o.message = message;
  note(RecordKind::kRejected, o, now_ns).reason = reason;
  respond(port, j, now_ns);
}

void Exchange::send_modified(Order& o, TimeNs now_ns) {
  ouch::Modified m;
  m.user_ref_num = o.urn;
  m.side = o.side;
  m.quantity = o.executed + o.open;  // in the request's own unit: the whole liable size
  note(RecordKind::kModified, o, now_ns).qty = o.open;
  respond(o.port, m, now_ns);
}

// One side of a trade hears of it, and so does every drop copy of its firm.
void Exchange::tell_side(const Fill& f, bool maker, u8 liquidity, i64 fee_ticks, Trade& trade, TimeNs now_ns) {
  const u32 owner = maker ? f.maker_owner : f.taker_owner;
  if (owner & kBackground) {
    ++background_fills_;
    return;
  }
  const u32 index = static_cast<u32>(maker ? f.maker_tag : f.taker_tag) - 1;
  Order& o = orders_[index];
  PRG_ASSERT(o.open >= f.qty);
  o.open -= f.qty;
  o.executed += f.qty;

  const int side = maker ? 0 : 1;
  trade.orders[side] = index + 1;
  trade.urns[side] = o.urn;
  trade.sides[side] = o.side;
  trade.fees_ticks[side] = fee_ticks * f.qty;
  PortSummary& s = ports_[o.port].summary;
  const i64 value = f.price_ticks * static_cast<i64>(f.qty);
  ++s.executed;
  (o.side == 'B' ? s.bought : s.sold) += f.qty;
  s.cash_ticks += o.side == 'B' ? -value : value;
  s.fees_ticks += trade.fees_ticks[side];

  ouch::Executed e;
  e.user_ref_num = o.urn;
  e.quantity = f.qty;
  e.price = static_cast<u64>(f.price_ticks);
  e.liquidity = liquidity;
  e.match_number = f.match;
  const u32 contra = maker ? f.taker_owner : f.maker_owner;
  RecordEntry& r = note(RecordKind::kExecuted, o, now_ns);
  r.qty = f.qty;
  r.price_ticks = f.price_ticks;
  r.match = f.match;
  r.liquidity = liquidity;
  r.contra_port = contra & kBackground ? 0 : orders_[(maker ? f.taker_tag : f.maker_tag) - 1].port + 1;
  respond(o.port, e, now_ns);

  ouch::AppendageBuilder who;
  who.add_u64(ouch::kTagSecondaryOrderRef, o.ref);
  who.add(ouch::kTagFirm, ouch::alpha<4>(ports_[o.port].config.firm).data(), 4);
  e.appendage = who.bytes();
  tell_drop_copies(o.port, e, now_ns);
}

void Exchange::tell_prevented(u64 tag, u32 owner, u32 decrement, bool resting, const Prevented& p, TimeNs now_ns) {
  if (decrement == 0 || (owner & kBackground)) return;
  Order& o = orders_[tag - 1];
  PRG_ASSERT(o.open >= decrement);
  o.open -= decrement;
  ouch::AiqCanceled d;
  d.user_ref_num = o.urn;
  d.quantity = decrement;
  d.quantity_prevented = p.qty;
  d.price = static_cast<u64>(p.price_ticks);
  d.liquidity = resting ? (p.resting_hidden ? 'J' : 'A') : 'R';
  ++ports_[o.port].summary.prevented;
  RecordEntry& r = note(RecordKind::kPrevented, o, now_ns);
  r.qty = decrement;
  r.reason = 'Q';
  respond(o.port, d, now_ns);
}

void Exchange::flush_events(TimeNs now_ns, u8 cross_liquidity) {
  for (const MatchEvent& event : events_) {
    if (event.prevented) {
      const Prevented& p = event.prevention;
      tell_prevented(p.resting_tag, p.resting_owner, p.resting_decrement, true, p, now_ns);
      if (!p.resting_hidden && p.resting_decrement > 0) {
        if (p.resting_left == 0) {
          itch::OrderDelete d;
          d.ref = p.resting_ref;
          publish(p.symbol, d, now_ns);
        } else {
          itch::OrderCancel x;
          x.ref = p.resting_ref;
          x.shares = p.resting_decrement;
          publish(p.symbol, x, now_ns);
        }
      }
      tell_prevented(p.incoming_tag, p.incoming_owner, p.incoming_decrement, false, p, now_ns);
      if (!(p.resting_owner & kBackground)) close_if_done(static_cast<u32>(p.resting_tag) - 1);
      continue;
    }

    const Fill& f = event.fill;
    PRG_ASSERT(f.match == trades_.size() + 1);
    Trade trade{f.symbol, f.price_ticks, f.qty, false, {0, 0}, {0, 0}, {0, 0}, {0, 0}};
    const bool crossing = cross_liquidity != 0;
    const u8 maker_flag = crossing ? cross_liquidity : (f.maker_hidden ? 'J' : 'A');
    tell_side(f, false, crossing ? cross_liquidity : 'R', crossing ? 0 : config_.taker_fee_ticks, trade, now_ns);
    tell_side(f, true, maker_flag, crossing ? 0 : config_.maker_fee_ticks, trade, now_ns);
    trades_.push_back(trade);
    if (crossing) {
      itch::OrderExecutedPrice c;
      c.shares = f.qty;
      c.match = f.match;
      c.printable = 'N';  // the cross is printed once, as a Q
      c.price_ticks = static_cast<u32>(f.price_ticks);
      c.ref = f.maker_ref;
      if (!f.maker_hidden) publish(f.symbol, c, now_ns);
      c.ref = f.taker_ref;
      if (!f.taker_hidden) publish(f.symbol, c, now_ns);
      if (!(f.taker_owner & kBackground)) close_if_done(static_cast<u32>(f.taker_tag) - 1);
    } else if (f.maker_hidden) {
      itch::Trade p;
      p.shares = f.qty;
      p.stock = stock(f.symbol);
      p.price_ticks = static_cast<u32>(f.price_ticks);
      p.match = f.match;
      publish(f.symbol, p, now_ns);
    } else {
      itch::OrderExecuted e;
      e.ref = f.maker_ref;
      e.shares = f.qty;
      e.match = f.match;
      publish(f.symbol, e, now_ns);
    }
    if (!(f.maker_owner & kBackground)) close_if_done(static_cast<u32>(f.maker_tag) - 1);
  }
  events_.clear();
}

bool Exchange::bust(u64 match, u8 reason, TimeNs now_ns) {
  if (match == 0 || match > trades_.size() || trades_[match - 1].broken) return false;
  Trade& t = trades_[match - 1];
  t.broken = true;
  itch::BrokenTrade b;
  b.match = match;
  publish(t.symbol, b, now_ns);
  for (int side = 0; side < 2; ++side) {
    if (t.orders[side] == 0) continue;
    Order& o = orders_[t.orders[side] - 1];
    PortSummary& s = ports_[o.port].summary;
    const i64 value = t.price_ticks * static_cast<i64>(t.qty);
    (t.sides[side] == 'B' ? s.bought : s.sold) -= t.qty;
    s.cash_ticks -= t.sides[side] == 'B' ? -value : value;
    s.fees_ticks -= t.fees_ticks[side];
    ouch::BrokenTrade m;
    m.user_ref_num = t.urns[side];
    m.match_number = match;
    m.reason = reason;
    m.cl_ord_id = o.cl_ord_id;
    RecordEntry& r = note(RecordKind::kBroken, o, now_ns);
    r.urn = t.urns[side];
    r.qty = t.qty;
    r.price_ticks = t.price_ticks;
    r.match = match;
    r.reason = reason;
    respond(o.port, m, now_ns);
    tell_drop_copies(o.port, m, now_ns);
  }
  return true;
}

template <class F>
void Exchange::each_directory_message(F&& f) const {
  for (u32 i = 0; i < stocks_.size(); ++i) {
    itch::StockDirectory r;
    r.stock = stock(i);
    r.round_lot_size = config_.symbols[i].round_lot;
    r.authenticity = 'T';  // a simulation says so
    f(i, r);
  }
  for (u32 i = 0; i < stocks_.size(); ++i) {
    itch::TradingAction h;
    h.stock = stock(i);
    h.state = static_cast<char>(trading_[i]);
    f(i, h);
  }
  for (u32 i = 0; i < stocks_.size(); ++i) {
    itch::RegSho y;
    y.stock = stock(i);
    y.action = static_cast<char>(short_sale_[i]);
    f(i, y);
  }
  for (u32 i = 0; i < stocks_.size(); ++i) {
    std::map<std::string, int> firms;
    for (const Port& p : ports_) {
      if (p.config.drop_copy_of.empty()) firms[p.config.firm] = 1;
    }
    for (const auto& [firm, unused] : firms) {
      itch::ParticipantPosition l;
      l.stock = stock(i);
      l.mpid = itch::Mpid::from(firm);
      f(i, l);
    }
  }
}

void Exchange::start(TimeNs now_ns) {
  if (state_ != SessionState::kStart) return;
  publish_system('O', now_ns);
  each_directory_message([&](u32 symbol, auto message) { publish(symbol, message, now_ns); });
  publish_system('S', now_ns);
  state_ = SessionState::kPreOpen;
  for (u32 i = 0; i < stocks_.size(); ++i) apply_mode(i, now_ns);
  send_system('S', now_ns);
  state_positions(now_ns);
}

void Exchange::snapshot(MessageStore& out, TimeNs now_ns) const {
  out.clear();
  for (const char code : system_codes_) {
    itch::SystemEvent s;
    s.code = code;
    append_to(out, kNone, s, now_ns);
  }
  each_directory_message([&](u32 symbol, auto message) { append_to(out, symbol, message, now_ns); });
  for (u32 i = 0; i < stocks_.size(); ++i) {
    for (const Side side : {Side::kBuy, Side::kSell}) {
      matching_.for_each_order(i, side, [&](const OrderView& o) {
        if (o.hidden) return;
        itch::AddOrderMpid f;
        itch::AddOrder a;
        const auto set = [&](auto& m) {
          m.ref = o.ref;
          m.side = o.side;
          m.shares = o.qty;
          m.stock = stock(i);
          m.price_ticks = static_cast<u32>(o.price_ticks);
        };
        if (attributed(o)) {
          set(f);
          f.mpid = itch::Mpid::from(ports_[orders_[o.tag - 1].port].config.firm);
          append_to(out, i, f, now_ns);
        } else {
          set(a);
          append_to(out, i, a, now_ns);
        }
      });
    }
  }
}

template void Exchange::publish(u32, itch::TradingAction, TimeNs);
template void Exchange::publish(u32, itch::RegSho, TimeNs);
template void Exchange::publish(u32, itch::ParticipantPosition, TimeNs);
template void Exchange::publish(u32, itch::CrossTrade, TimeNs);
template void Exchange::publish(u32, itch::OrderDelete, TimeNs);
template void Exchange::publish(u32, itch::OrderCancel, TimeNs);
template void Exchange::publish(u32, itch::OrderReplace, TimeNs);
template void Exchange::respond(PortIx, ouch::AccountQueryResponse, TimeNs);
template void Exchange::respond(PortIx, ouch::MassCancelResponse, TimeNs);
template void Exchange::respond(PortIx, ouch::DisableResponse, TimeNs);
template void Exchange::respond(PortIx, ouch::EnableResponse, TimeNs);

}  // namespace peregrine::venue
