// The messages that come seldom: directory, states, prints that touch no order, breaks, imbalances.
#include "market/market_locate.h"

namespace peregrine {

using Outcome = Market::Outcome;

Outcome Market::apply_rare(Bytes msg, Event& out) {
  switch (msg[0]) {
    case 'P':
      return apply_trade(msg, out);
    case 'I':
      return apply_noii(msg, out);
    case 'H':
      return apply_trading_action(msg, out);
    case 'S':
      return apply_system(msg, out);
    case 'R':
      return apply_directory(msg, out);
    case 'Y':
      return apply_reg_sho(msg, out);
    case 'h':
      return apply_operational_halt(msg, out);
    case 'J':
      return apply_collar(msg, out);
    case 'Q':
      return apply_cross(msg, out);
    case 'B':
      return apply_broken(msg, out);
    case 'W': {
      itch::MwcbStatus m;
      if (!itch::decode(msg, m)) return Outcome::kMalformed;
      mwcb_level_ = m.breached_level;
      return Outcome::kApplied;
    }
    case 'L':
      return ignore<itch::ParticipantPosition>(msg);
    case 'V':
      return ignore<itch::MwcbLevels>(msg);
    case 'K':
      return ignore<itch::IpoQuoting>(msg);
    case 'N':
      return ignore<itch::RetailInterest>(msg);
    case 'O':
      return ignore<itch::DirectListing>(msg);
    default:
      return Outcome::kUnknownType;
  }
}

template <class T>
Outcome Market::ignore(Bytes msg) const {
  return msg.size() >= T::kLength ? Outcome::kIgnored : Outcome::kMalformed;
}

Outcome Market::apply_system(Bytes msg, Event& out) {
  itch::SystemEvent m;
  if (!itch::decode(msg, m)) return Outcome::kMalformed;
  system_event_ = m.code;
  market_open_ = m.code == 'Q';
  if (m.code == 'O') mwcb_level_ = ' ';
  out.kind = EventKind::kSystem;
  out.aux = static_cast<u8>(m.code);
  return Outcome::kApplied;
}

Outcome Market::apply_directory(Bytes msg, Event& out) {
  itch::StockDirectory m;
  if (!itch::decode(msg, m) || m.locate == 0) return Outcome::kMalformed;
  InstrumentIx ix = find_stock(m.stock);
  if (ix == kNoInstrument) {
    if (!config_.auto_instruments) {
      bind_locate(m.locate, kNotOurs);
      return Outcome::kUnknownInstrument;
    }
    ix = add_stock(m.stock);
    if (ix == kNoInstrument) return Outcome::kFull;
  }
  bind_locate(m.locate, ix);
  instruments_[ix].round_lot = m.round_lot_size;
  out.kind = EventKind::kDirectory;
  out.instrument = ix;
  out.qty_lots = m.round_lot_size;
  out.aux = load_le<u64>(msg.data() + 11);
  return Outcome::kApplied;
}

Outcome Market::apply_trading_action(Bytes msg, Event& out) {
  itch::TradingAction m;
  if (!itch::decode(msg, m)) return Outcome::kMalformed;
  if (m.state != 'H' && m.state != 'P' && m.state != 'Q' && m.state != 'T') return Outcome::kMalformed;
  const InstrumentIx ix = resolve(m.locate, m.stock);
  if (ix == kNoInstrument) return Outcome::kUnknownInstrument;
  instruments_[ix].state = m.state;
  out.kind = EventKind::kTradingState;
  out.instrument = ix;
  out.aux = static_cast<u8>(m.state);
  return Outcome::kApplied;
}

Outcome Market::apply_operational_halt(Bytes msg, Event& out) {
  itch::OperationalHalt m;
  if (!itch::decode(msg, m) || (m.action != 'H' && m.action != 'T')) return Outcome::kMalformed;
  const InstrumentIx ix = resolve(m.locate, m.stock);
  if (ix == kNoInstrument) return Outcome::kUnknownInstrument;
  out.instrument = ix;
  if (m.market != config_.venue) return Outcome::kIgnored;  // another of the operator's venues
  instruments_[ix].halted_by_venue = m.action == 'H';
  out.kind = EventKind::kOperationalHalt;
  out.aux = static_cast<u8>(m.action);
  return Outcome::kApplied;
}

Outcome Market::apply_reg_sho(Bytes msg, Event& out) {
  itch::RegSho m;
  if (!itch::decode(msg, m)) return Outcome::kMalformed;
  const InstrumentIx ix = resolve(m.locate, m.stock);
  if (ix == kNoInstrument) return Outcome::kUnknownInstrument;
  instruments_[ix].reg_sho = m.action;
  out.kind = EventKind::kShortSale;
  out.instrument = ix;
  out.aux = static_cast<u8>(m.action);
  return Outcome::kApplied;
}

Outcome Market::apply_collar(Bytes msg, Event& out) {
  itch::LuldCollar m;
  if (!itch::decode(msg, m)) return Outcome::kMalformed;
  const InstrumentIx ix = resolve(m.locate, m.stock);
  if (ix == kNoInstrument) return Outcome::kUnknownInstrument;
  out.kind = EventKind::kCollar;
  out.instrument = ix;
  out.price_ticks = m.lower_ticks;
  out.aux = m.upper_ticks;
  return Outcome::kApplied;
}

// A trade against a hidden order: volume and tape only, its order reference means nothing.
Outcome Market::apply_trade(Bytes msg, Event& out) {
  itch::Trade m;
  if (!itch::decode(msg, m)) return Outcome::kMalformed;
  const InstrumentIx ix = resolve(m.locate, m.stock);
  if (ix == kNoInstrument) return Outcome::kUnknownInstrument;
  print(ix, m.match, m.shares, m.price_ticks);
  out.kind = EventKind::kTrade;
  out.instrument = ix;
  out.side = m.side;
  out.order_id = m.ref;
  out.price_ticks = m.price_ticks;
  out.qty_lots = m.shares;
  out.aux = m.match;
  return Outcome::kApplied;
}

// The bulk print of a cross, counted once: the displayed orders in it come as executions that are not printable.
Outcome Market::apply_cross(Bytes msg, Event& out) {
  itch::CrossTrade m;
  if (!itch::decode(msg, m) || m.shares > INT64_MAX) return Outcome::kMalformed;
  const InstrumentIx ix = resolve(m.locate, m.stock);
  if (ix == kNoInstrument) return Outcome::kUnknownInstrument;
  print(ix, m.match, m.shares, m.price_ticks);
  out.kind = EventKind::kCross;
  out.instrument = ix;
  out.flags |= kFlagNoSide;
  out.price_ticks = m.price_ticks;
  out.qty_lots = static_cast<QtyLots>(m.shares);
  out.aux = m.match;
  return Outcome::kApplied;
}

// Voids a print: volume and last trade only, never the book. The last trade becomes the newest print of that
// instrument still remembered, or none.
Outcome Market::apply_broken(Bytes msg, Event& out) {
  itch::BrokenTrade m;
  if (!itch::decode(msg, m)) return Outcome::kMalformed;
  out.aux = m.match;
  const u64 n = prints_.size();
  const u64 oldest = n_prints_ > n ? n_prints_ - n : 0;
  u64 at = n_prints_;
  while (at > oldest && (prints_[(at - 1) % n].match != m.match || prints_[(at - 1) % n].shares == 0)) --at;
  if (at == oldest) {
    ++stats_.broken_unknown;
    out.instrument = by_locate(m.locate);
    return Outcome::kIgnored;
  }
  Print& p = prints_[(at - 1) % n];
  Instrument& i = instruments_[p.instrument];
  out.kind = EventKind::kBroken;
  out.instrument = p.instrument;
  out.flags |= kFlagNoSide;
  out.price_ticks = p.price_ticks;
  out.qty_lots = static_cast<QtyLots>(p.shares);
  i.volume -= p.shares;
  p.shares = 0;
  u64 newest = n_prints_;
  while (newest > oldest) {
    const Print& q = prints_[(newest - 1) % n];
    if (q.instrument == p.instrument && q.shares != 0) break;
    --newest;
  }
  if (newest == oldest) {
    i.last_trade = 0;
  } else if (newest < at) {
    i.last_trade = prints_[(newest - 1) % n].price_ticks;
  }
  return Outcome::kApplied;
}

Outcome Market::apply_noii(Bytes msg, Event& out) {
  itch::Noii m;
  if (!itch::decode(msg, m) || m.imbalance_shares > INT64_MAX) return Outcome::kMalformed;
  const InstrumentIx ix = resolve(m.locate, m.stock);
  if (ix == kNoInstrument) return Outcome::kUnknownInstrument;
  out.kind = EventKind::kImbalance;
  out.instrument = ix;
  out.side = m.direction == 'S' ? Side::kSell : Side::kBuy;
  if (m.direction != 'S' && m.direction != 'B') out.flags |= kFlagNoSide;
  out.order_id = m.paired_shares;
  out.price_ticks = m.reference_ticks;
  out.qty_lots = static_cast<QtyLots>(m.imbalance_shares);
  out.aux = static_cast<u64>(m.far_ticks) << 32 | m.near_ticks;
  return Outcome::kApplied;
}

}  // namespace peregrine
