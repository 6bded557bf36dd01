// Order entry: what each OUCH request does. Where the protocol notes leave a choice, docs/concepts/venue.md
// names the one taken.
#include <cstring>

#include "core/assert.h"
#include "venue/exchange.h"

namespace peregrine::venue {
namespace {

// Reject codes of OUCH 5.0.
enum Reject : u16 {
  kDestinationClosed = 2,
  kInvalidDisplay = 3,
  kInvalidMaxFloor = 4,
  kInvalidPegType = 5,
  kHalted = 7,
  kIsoNotAllowed = 8,
  kInvalidSide = 9,
  kProcessingError = 10,
  kFirmNotAuthorized = 12,
  kInvalidMinQty = 13,
  kOther = 15,
  kPeggingNotAllowed = 17,
  kCrossedMarket = 18,
  kInvalidQuantity = 19,
  kInvalidCross = 20,
  kRoutingNotAllowed = 22,
  kInvalidSymbol = 23,
  kInvalidPrice = 29,
};

bool one_of(u8 c, const char* set) { return c != 0 && std::strchr(set, c) != nullptr; }
Side side_of(u8 side) { return side == 'B' ? Side::kBuy : Side::kSell; }

}  // namespace

void Exchange::on_ouch(PortIx port, Bytes m, TimeNs now_ns) {
  on_timer(now_ns);
  if (m.empty() || !ports_[port].config.drop_copy_of.empty()) return malformed(port, m.empty() ? 0 : m[0], now_ns);
  switch (m[0]) {
    case 'O':
      return on_enter(port, m, now_ns);
    case 'U':
      return on_replace(port, m, now_ns);
    case 'X':
      return on_cancel(port, m, now_ns);
    case 'M':
      return on_modify(port, m, now_ns);
    case 'C':
      return on_mass_cancel(port, m, now_ns);
    case 'D':
      return on_disable(port, m, now_ns);
    case 'E':
      return on_enable(port, m, now_ns);
    case 'Q':
      return on_query(port, m, now_ns);
    default:
      return malformed(port, m[0], now_ns);
  }
}

void Exchange::ignored(PortIx port, u8 message, u32 urn, TimeNs now_ns) {
  Order o;
  o.port = port;
  o.urn = urn;
  o.message = message;
  ++ports_[port].summary.ignored;
  note(RecordKind::kIgnored, o, now_ns);
}

void Exchange::malformed(PortIx port, u8 message, TimeNs now_ns) {
  Order o;
  o.port = port;
  o.message = message;
  note(RecordKind::kMalformed, o, now_ns);
}

bool Exchange::consume_urn(PortIx port, u32 urn) {
  if (urn <= ports_[port].last_urn) return false;
  ports_[port].last_urn = urn;
  return true;
}

u32 Exchange::find_live(PortIx port, u32 urn) const {
  const auto it = ports_[port].open.find(urn);
  return it == ports_[port].open.end() ? kNone : it->second;
}

bool Exchange::own_firm(PortIx port, const ouch::Firm& firm) const {
  const std::string_view text = ouch::trimmed(firm);
  return text.empty() || text == ports_[port].config.firm;
}

bool Exchange::fault_rejects() {
  return config_.reject_per_million > 0 && reject_rng_.below(1'000'000) < config_.reject_per_million;
}

u16 Exchange::check_terms(Order& o, u32 open_qty, Bytes app, u8 iso, TimeNs now_ns) const {
  if (o.price_ticks != kMarketPriceTicks &&
      (o.price_ticks <= 0 || o.price_ticks > static_cast<PriceTicks>(ouch::kMaxPrice) ||
       o.price_ticks % config_.symbols[o.symbol].increment_ticks != 0)) {
    return kInvalidPrice;
  }
  if (!one_of(o.tif, "0356")) return kOther;
  if (!one_of(o.display, "YNA")) return kInvalidDisplay;
  if (iso != 'N') return kIsoNotAllowed;
  const auto u32_of = [&](u8 tag, u32& out) {
    const Bytes v = ouch::find_tag(app, tag);
    if (v.size() != 4) return false;
    out = load_be32(v.data());
    return true;
  };
  const auto char_of = [&](u8 tag) -> u8 {
    const Bytes v = ouch::find_tag(app, tag);
    return v.size() == 1 ? v[0] : (v.data() == nullptr ? ' ' : 0);
  };
  u32 value = 0;
  o.min_qty = 0;
  if (u32_of(ouch::kTagMinQuantity, value) && value > 0) {
    if (value > open_qty || o.tif != ouch::kTifIoc) return kInvalidMinQty;
    o.min_qty = value;
  }
  if (u32_of(ouch::kTagMaxFloor, value) && value > 0) return kInvalidMaxFloor;
  if (!one_of(char_of(ouch::kTagPriceType), " L")) return kInvalidPegType;
  if (ouch::find_tag(app, ouch::kTagPegOffset).data() != nullptr ||
      ouch::find_tag(app, ouch::kTagDiscretionPrice).data() != nullptr) {
    return kPeggingNotAllowed;
  }
  const u8 post_only = char_of(ouch::kTagPostOnly);
  if (!one_of(post_only, " NP")) return kOther;
  o.post_only = post_only == 'P';
  if (o.post_only && (o.tif == ouch::kTifIoc || o.price_ticks == kMarketPriceTicks)) return kOther;
  const Bytes route = ouch::find_tag(app, ouch::kTagRoute);
  for (const u8 c : route) {
    if (c != ' ') return kRoutingNotAllowed;
  }
  const Bytes firm = ouch::find_tag(app, ouch::kTagFirm);
  if (firm.data() != nullptr) {
    ouch::Firm f = ouch::alpha<4>(std::string_view(reinterpret_cast<const char*>(firm.data()), firm.size()));
    if (firm.size() != 4 || !own_firm(o.port, f)) return kFirmNotAuthorized;
  }
  o.expires_ns = 0;
  if (o.tif == ouch::kTifUntil) {
    if (!u32_of(ouch::kTagExpireTime, value) || value == 0 || value >= 86400) return kOther;
    o.expires_ns = now_ns + static_cast<TimeNs>(value) * 1'000'000'000;
  }
  return 0;
}

// Whether the symbol takes this order now.
u16 Exchange::check_state(const Order& o) const {
  if (state_ != SessionState::kPreOpen && state_ != SessionState::kOpen) return kDestinationClosed;
  const BookMode mode = matching_.mode(o.symbol);
  if (mode == BookMode::kHalted) return kHalted;
  if (mode == BookMode::kContinuous) return 0;
  if (o.tif == ouch::kTifIoc || o.price_ticks == kMarketPriceTicks) {
    return state_ == SessionState::kPreOpen ? kDestinationClosed : kHalted;  // nothing executes at once now
  }
  const bool takes = matching_.would_take(o.symbol, side_of(o.side), o.price_ticks);
  return mode == BookMode::kNoCross && takes ? kCrossedMarket : 0;
}

OrderSpec Exchange::spec_of(const Order& o, u32 index) const {
  // One self-trade group a firm: the first port of the firm names it.
  u32 group = 0;
  while (ports_[group].config.firm != ports_[o.port].config.firm) ++group;
  return {.symbol = o.symbol,
          .side = side_of(o.side),
          .tif = o.tif == ouch::kTifIoc ? Tif::kIoc : Tif::kDay,
          .hidden = o.display == 'N',
          .post_only = o.post_only,
          .price_ticks = o.price_ticks,
          .qty = o.open,
          .min_qty = o.min_qty,
          .owner = o.port,
          .stp_group = group + 1,
          .tag = index + 1};
}

void Exchange::on_enter(PortIx port, Bytes m, TimeNs now_ns) {
  ouch::EnterOrder r;
  if (!ouch::decode(m, r)) return malformed(port, 'O', now_ns);
  if (!consume_urn(port, r.user_ref_num)) return ignored(port, 'O', r.user_ref_num, now_ns);
  Order o;
  o.port = port;
  o.urn = r.user_ref_num;
  o.symbol = symbol_of(r.symbol);
  o.open = r.quantity;
  o.price_ticks = static_cast<PriceTicks>(r.price & 0x7FFFFFFFFFFFFFFFull);
  o.side = r.side;
  o.tif = r.tif;
  o.display = r.display;
  o.capacity = r.capacity;
  o.cl_ord_id = r.cl_ord_id;
  u16 reject = 0;
  if (ports_[port].disabled) {
    reject = kFirmNotAuthorized;
  } else if (o.symbol == kNone) {
    reject = kInvalidSymbol;
  } else if (!one_of(r.side, "BSTE")) {
    reject = kInvalidSide;
  } else if (r.quantity == 0 || r.quantity > ouch::kMaxQuantity) {
    reject = kInvalidQuantity;
  } else if (!one_of(r.capacity, "APRO")) {
    reject = kOther;
  } else if (r.cross != 'N') {
    reject = kInvalidCross;
  } else if ((reject = check_terms(o, o.open, r.appendage, r.iso, now_ns)) == 0 && (reject = check_state(o)) == 0) {
    if (fault_rejects()) reject = kOther;
  }
  if (reject != 0) return send_rejected(port, 'O', o.urn, reject, r.cl_ord_id, now_ns);

  const u32 index = static_cast<u32>(orders_.size());
  orders_.push_back(o);
  events_.clear();
  const EnterResult result = matching_.enter(spec_of(o, index));
  if (refused(result.outcome)) {
    orders_.pop_back();
    return send_rejected(port, 'O', o.urn, kProcessingError, r.cl_ord_id, now_ns);
  }
  Order& live = orders_.back();
  live.ref = result.ref;
  live.handle = result.handle;
  ports_[port].open[live.urn] = index;
  send_accepted(live, result.handle == kNoOrder && events_.empty(), now_ns);
  settle(index, result, now_ns);
}

// After the order has been matched and answered: tells of its trades, then of what became of the rest.
void Exchange::settle(u32 index, const EnterResult& result, TimeNs now_ns) {
  flush_events(now_ns);
  Order& o = orders_[index];
  PRG_ASSERT(o.open == result.left);
  if (result.handle != kNoOrder) {
    OrderView v;
    matching_.view(result.handle, v);
    if (o.expires_ns != 0) expiries_.emplace(o.expires_ns, index);
    if (!v.hidden && o.message == 'O') publish_add(v, now_ns);
    return;
  }
  if (o.open > 0) {
    const u32 removed = o.open;
    o.open = 0;
    send_canceled(o, removed, result.outcome == EnterOutcome::kPostOnlyTakes ? 'G' : 'I', now_ns);
  }
  close_if_done(index);
}

void Exchange::on_replace(PortIx port, Bytes m, TimeNs now_ns) {
  ouch::ReplaceOrder r;
  if (!ouch::decode(m, r)) return malformed(port, 'U', now_ns);
  const u32 index = find_live(port, r.orig_ref_num);
  // Outcome 1: nothing to replace, or the new number is used up.
  if (index == kNone || r.user_ref_num <= ports_[port].last_urn) return ignored(port, 'U', r.user_ref_num, now_ns);
  Order& o = orders_[index];
  Order n = o;
  n.message = 'U';
  n.urn = r.user_ref_num;
  n.price_ticks = static_cast<PriceTicks>(r.price & 0x7FFFFFFFFFFFFFFFull);
  n.tif = r.tif;
  n.display = r.display;
  n.cl_ord_id = r.cl_ord_id;
  // Outcome 2: the new values cannot stand; the order is cancelled, the new number stays free.
  if (r.quantity > ouch::kMaxQuantity || r.quantity <= o.executed ||
      check_terms(n, r.quantity - o.executed, r.appendage, r.iso, now_ns) != 0) {
    return cancel_order(index, 'Z', now_ns);
  }
  n.open = r.quantity - o.executed;
  // Outcome 3: not now; the order stays, the new number is used up.
  u16 reject = ports_[port].disabled ? static_cast<u16>(kFirmNotAuthorized) : check_state(n);
  if (reject == 0 && fault_rejects()) reject = kOther;
  if (reject != 0) {
    consume_urn(port, n.urn);
    return send_rejected(port, 'U', n.urn, reject, r.cl_ord_id, now_ns);
  }
  // Outcome 4.
  consume_urn(port, n.urn);
  OrderView old;
  PRG_ASSERT(matching_.cancel(o.handle, &old));
  events_.clear();
  const EnterResult result = matching_.enter(spec_of(n, index));
  const auto publish_delete = [&] {
    if (old.hidden) return;
    itch::OrderDelete d;
    d.ref = old.ref;
    publish(o.symbol, d, now_ns);
  };
  if (refused(result.outcome)) {  // the book has no room for the new price
    const u32 removed = o.open;
    o.open = 0;
    publish_delete();
    send_canceled(o, removed, 'Z', now_ns);
    return close_if_done(index);
  }
  const u32 orig_urn = o.urn;
  ports_[port].open.erase(orig_urn);
  o = n;
  o.ref = result.ref;
  o.handle = result.handle;
  ports_[port].open[o.urn] = index;
  send_replaced(o, orig_urn, result.handle == kNoOrder && events_.empty(), now_ns);
  const bool in_place = result.handle != kNoOrder && events_.empty() && !old.hidden && o.display != 'N';
  if (in_place) {
    itch::OrderReplace u;
    u.ref = old.ref;
    u.new_ref = result.ref;
    u.shares = o.open;
    u.price_ticks = static_cast<u32>(o.price_ticks);
    publish(o.symbol, u, now_ns);
  } else {
    publish_delete();
  }
  settle(index, result, now_ns);
  OrderView v;
  if (!in_place && matching_.view(result.handle, v) && !v.hidden) publish_add(v, now_ns);
}

// Cuts the liable size of an order to `total` (executions of the chain included), keeping its priority.
void Exchange::on_cancel(PortIx port, Bytes m, TimeNs now_ns) {
  ouch::CancelOrder r;
  if (!ouch::decode(m, r)) return malformed(port, 'X', now_ns);
  const u32 index = find_live(port, r.user_ref_num);
  if (index == kNone || r.quantity >= orders_[index].executed + orders_[index].open) {
    return ignored(port, 'X', r.user_ref_num, now_ns);
  }
  Order& o = orders_[index];
  o.message = 'X';
  if (r.quantity <= o.executed) return cancel_order(index, 'U', now_ns);
  const u32 removed = o.executed + o.open - r.quantity;
  PRG_ASSERT(matching_.reduce(o.handle, removed) == removed);
  if (o.display != 'N') {
    itch::OrderCancel x;
    x.ref = o.ref;
    x.shares = removed;
    publish(o.symbol, x, now_ns);
  }
  o.open -= removed;
  send_canceled(o, removed, 'U', now_ns);
}

void Exchange::on_modify(PortIx port, Bytes m, TimeNs now_ns) {
  ouch::ModifyOrder r;
  if (!ouch::decode(m, r)) return malformed(port, 'M', now_ns);
  const u32 index = find_live(port, r.user_ref_num);
  if (index == kNone || !one_of(r.side, "BSTE") || (r.side == 'B') != (orders_[index].side == 'B') ||
      r.quantity > orders_[index].executed + orders_[index].open) {
    return ignored(port, 'M', r.user_ref_num, now_ns);
  }
  Order& o = orders_[index];
  o.message = 'M';
  if (r.quantity <= o.executed) return cancel_order(index, 'U', now_ns);
  o.side = r.side;
  const u32 removed = o.executed + o.open - r.quantity;
  if (removed > 0) {
    PRG_ASSERT(matching_.reduce(o.handle, removed) == removed);
    if (o.display != 'N') {
      itch::OrderCancel x;
      x.ref = o.ref;
      x.shares = removed;
      publish(o.symbol, x, now_ns);
    }
    o.open -= removed;
  }
  send_modified(o, now_ns);
}

void Exchange::on_mass_cancel(PortIx port, Bytes m, TimeNs now_ns) {
  ouch::MassCancel r;
  if (!ouch::decode(m, r)) return malformed(port, 'C', now_ns);
  if (!consume_urn(port, r.user_ref_num)) return ignored(port, 'C', r.user_ref_num, now_ns);
  if (!own_firm(port, r.firm)) {
    return send_rejected(port, 'C', r.user_ref_num, kFirmNotAuthorized, ouch::alpha<14>(""), now_ns);
  }
  const bool all = ouch::trimmed(r.symbol).empty();
  const u32 symbol = all ? 0 : symbol_of(r.symbol);
  std::vector<u32> hit;
  for (const auto& [urn, index] : ports_[port].open) {
    if (all || orders_[index].symbol == symbol) hit.push_back(index);
  }
  for (const u32 index : hit) {
    orders_[index].message = 'C';
    cancel_order(index, 'U', now_ns);
  }
  Order o;
  o.port = port;
  o.urn = r.user_ref_num;
  o.message = 'C';
  note(RecordKind::kMassCancel, o, now_ns).qty = static_cast<u32>(hit.size());
  ouch::MassCancelResponse x;
  x.user_ref_num = r.user_ref_num;
  x.firm = r.firm;
  x.symbol = r.symbol;
  respond(port, x, now_ns);
}

void Exchange::on_disable(PortIx port, Bytes m, TimeNs now_ns) {
  ouch::DisableEntry r;
  if (!ouch::decode(m, r)) return malformed(port, 'D', now_ns);
  if (!consume_urn(port, r.user_ref_num)) return ignored(port, 'D', r.user_ref_num, now_ns);
  if (!own_firm(port, r.firm)) {
    return send_rejected(port, 'D', r.user_ref_num, kFirmNotAuthorized, ouch::alpha<14>(""), now_ns);
  }
  ports_[port].disabled = true;
  Order o;
  o.port = port;
  o.urn = r.user_ref_num;
  o.message = 'D';
  note(RecordKind::kDisabled, o, now_ns);
  ouch::DisableResponse g;
  g.user_ref_num = r.user_ref_num;
  g.firm = r.firm;
  respond(port, g, now_ns);
}

void Exchange::on_enable(PortIx port, Bytes m, TimeNs now_ns) {
  ouch::EnableEntry r;
  if (!ouch::decode(m, r)) return malformed(port, 'E', now_ns);
  if (!consume_urn(port, r.user_ref_num)) return ignored(port, 'E', r.user_ref_num, now_ns);
  if (!own_firm(port, r.firm)) {
    return send_rejected(port, 'E', r.user_ref_num, kFirmNotAuthorized, ouch::alpha<14>(""), now_ns);
  }
  ports_[port].disabled = false;
  Order o;
  o.port = port;
  o.urn = r.user_ref_num;
  o.message = 'E';
  note(RecordKind::kEnabled, o, now_ns);
  ouch::EnableResponse k;
  k.user_ref_num = r.user_ref_num;
  k.firm = r.firm;
  respond(port, k, now_ns);
}

void Exchange::on_query(PortIx port, Bytes m, TimeNs now_ns) {
  ouch::AccountQuery r;
  if (!ouch::decode(m, r)) return malformed(port, 'Q', now_ns);
  Order o;
  o.port = port;
  o.urn = ports_[port].last_urn + 1;
  o.message = 'Q';
  note(RecordKind::kQuery, o, now_ns);
  ouch::AccountQueryResponse q;
  q.next_ref_num = o.urn;
  respond(port, q, now_ns);
}

}  // namespace peregrine::venue
