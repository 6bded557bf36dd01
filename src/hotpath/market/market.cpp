// What nearly every message of a busy feed runs: adds, executions, cancels, deletes, replaces.
#include "market/market.h"

#include <bit>

#include "core/hash.h"
#include "market/market_locate.h"

namespace peregrine {

Market::Market(const MarketConfig& config)
    : config_(config),
      books_({config.max_instruments, config.max_orders, config.max_levels, config.max_own_orders}),
      by_locate_(65536),
      instruments_(config.max_instruments),
      symbol_buckets_(std::bit_ceil(config.max_instruments < 8 ? 8u : config.max_instruments)),
      prints_(config.max_prints < 1 ? 1 : config.max_prints),
      symbol_mask_(static_cast<u32>(symbol_buckets_.size()) - 1) {
  PRG_ASSERT(config.max_instruments >= 1);
  static_assert(kNoInstrument == 0xFFFFFFFFu);
  std::memset(by_locate_.data(), 0xFF, 65536 * sizeof(u32));
}

const char* Market::outcome_name(Outcome o) {
  static constexpr const char* kNames[kOutcomes] = {"applied",       "ignored",        "unknown_type",
                                                    "malformed",     "unknown_ref",    "duplicate_ref",
                                                    "over_executed", "unknown_instrument", "full"};
  return kNames[static_cast<int>(o)];
}

Market::Outcome Market::on_message(Bytes msg, u64 feed_seq, TimeNs rx_ns, Event& out) {
  out = Event{};
  out.seq = feed_seq;
  out.ts_rx_ns = rx_ns;
  if (in_snapshot_) out.flags = kFlagSnapshot;
  Outcome outcome = Outcome::kMalformed;
  if (msg.size() >= itch::kHeaderBytes) [[likely]] {
    out.ts_event_ns = config_.midnight_ns + static_cast<TimeNs>(load_be48(msg.data() + 5));
    ++stats_.types[msg[0]];
    outcome = apply(msg, out);
  }
  if (outcome != Outcome::kApplied) [[unlikely]] {
    out.kind = EventKind::kNone;
  }
  ++stats_.messages;
  ++stats_.outcomes[static_cast<int>(outcome)];
  return outcome;
}

[[gnu::always_inline]] inline Market::Outcome Market::apply(Bytes msg, Event& out) {
  // Four in five messages of a busy feed, before a jump through a table that is guessed wrong as often and later.
  if (msg[0] == 'A') {
    itch::AddOrder m;
    return itch::decode(msg, m) ? apply_add(m, 0, out) : malformed_order(msg);
  }
  if (msg[0] == 'D') return apply_delete(msg, out);
  switch (msg[0]) {
    case 'U':
      return apply_replace(msg, out);
    case 'E': {
      itch::OrderExecuted m;
      if (!itch::decode(msg, m)) return malformed_order(msg);
      out.aux = m.match;
      const Outcome o = apply_reduction(m.locate, m.ref, m.shares, EventKind::kExecute, out);
      if (o == Outcome::kApplied) {
        instruments_[out.instrument].last_execution = static_cast<u32>(out.price_ticks);
        print(out.instrument, m.match, m.shares, static_cast<u32>(out.price_ticks));
      }
      return o;
    }
    case 'X': {
      itch::OrderCancel m;
      if (!itch::decode(msg, m)) return malformed_order(msg);
      return apply_reduction(m.locate, m.ref, m.shares, EventKind::kReduce, out);
    }
    case 'F': {
      itch::AddOrderMpid m;
      if (!itch::decode(msg, m)) return malformed_order(msg);
      out.flags |= kFlagAttributed;
      return apply_add(m, load_le<u32>(msg.data() + 36), out);
    }
    case 'C':
      return apply_executed_price(msg, out);
    default:
      return apply_rare(msg, out);
  }
}

template <class T>
inline Market::Outcome Market::apply_add(const T& m, u32 mpid, Event& out) {
  out.order_id = m.ref;
  if (m.locate == 0) [[unlikely]] return Outcome::kMalformed;  // the venue's indices start at 1
  InstrumentIx ix = by_locate(m.locate);
  if (ix == kNoInstrument) [[unlikely]] {
    ix = resolve(m.locate, m.stock);
    if (ix == kNoInstrument) return Outcome::kUnknownInstrument;
  }
  out.instrument = ix;
  if (m.shares == 0) [[unlikely]] {
    mark_unsound(ix);
    return Outcome::kMalformed;
  }
  const auto r = books_.add(ix, m.ref, m.side, m.shares, m.price_ticks, mpid);
  if (r != BookStore::Result::kOk) [[unlikely]] return from_book(r, ix);
  out.kind = EventKind::kAdd;
  out.side = m.side;
  out.price_ticks = m.price_ticks;
  out.qty_lots = m.shares;
  return Outcome::kApplied;
}

inline Market::Outcome Market::apply_reduction(u16 locate, u64 ref, u32 shares, EventKind kind, Event& out) {
  out.order_id = ref;
  const InstrumentIx ix = by_locate(locate);
  if (ix == kNoInstrument) return Outcome::kUnknownInstrument;
  out.instrument = ix;
  BookStore::Touched t;
  const auto r = books_.reduce(ix, ref, shares, t);
  if (r != BookStore::Result::kOk) [[unlikely]] return from_book(r, ix);
  out.kind = kind;
  out.side = t.side;
  out.price_ticks = t.price_ticks;
  out.qty_lots = shares;
  return Outcome::kApplied;
}

inline Market::Outcome Market::apply_executed_price(Bytes msg, Event& out) {
  itch::OrderExecutedPrice m;
  if (!itch::decode(msg, m)) return malformed_order(msg);
  out.aux = m.match;
  const Outcome o = apply_reduction(m.locate, m.ref, m.shares, EventKind::kExecuteAt, out);
  if (o != Outcome::kApplied) return o;
  out.price_ticks = m.price_ticks;
  instruments_[out.instrument].last_execution = m.price_ticks;
  if (m.printable == 'N') {
    out.flags |= kFlagNonPrintable;  // it will be inside a later bulk print
  } else {
    print(out.instrument, m.match, m.shares, m.price_ticks);
  }
  return o;
}

inline Market::Outcome Market::apply_delete(Bytes msg, Event& out) {
  itch::OrderDelete m;
  if (!itch::decode(msg, m)) return malformed_order(msg);
  out.order_id = m.ref;
  const InstrumentIx ix = by_locate(m.locate);
  if (ix == kNoInstrument) return Outcome::kUnknownInstrument;
  out.instrument = ix;
  BookStore::Touched t;
  const auto r = books_.remove(ix, m.ref, t);
  if (r != BookStore::Result::kOk) [[unlikely]] return from_book(r, ix);
  out.kind = EventKind::kDelete;
  out.side = t.side;
  out.price_ticks = t.price_ticks;
  out.qty_lots = t.shares;
  return Outcome::kApplied;
}

inline Market::Outcome Market::apply_replace(Bytes msg, Event& out) {
  itch::OrderReplace m;
  if (!itch::decode(msg, m)) return malformed_order(msg);
  out.order_id = m.new_ref;
  out.aux = m.ref;
  const InstrumentIx ix = by_locate(m.locate);
  if (ix == kNoInstrument) return Outcome::kUnknownInstrument;
  out.instrument = ix;
  if (m.shares == 0) [[unlikely]] {
    mark_unsound(ix);
    return Outcome::kMalformed;
  }
  BookStore::Touched t;
  const auto r = books_.replace(ix, m.ref, m.new_ref, m.shares, m.price_ticks, t);
  if (r != BookStore::Result::kOk) [[unlikely]] return from_book(r, ix);
  out.kind = EventKind::kReplace;
  out.side = t.side;
  out.price_ticks = m.price_ticks;
  out.qty_lots = m.shares;
  return Outcome::kApplied;
}

// A print: counted in the volume and remembered for a while, should it be broken later.
void Market::print(InstrumentIx ix, u64 match, u64 shares, u32 price_ticks) {
  if (shares == 0) return;
  Instrument& i = instruments_[ix];
  i.volume += shares;
  i.last_trade = price_ticks;
  prints_[n_prints_ % prints_.size()] = {match, shares, ix, price_ticks};
  ++n_prints_;
}

Market::Outcome Market::from_book(BookStore::Result r, InstrumentIx ix) {
  mark_unsound(ix);
  switch (r) {
    case BookStore::Result::kUnknownRef:
      return Outcome::kUnknownRef;
    case BookStore::Result::kDuplicateRef:
      return Outcome::kDuplicateRef;
    case BookStore::Result::kOverExecuted:
      return Outcome::kOverExecuted;
    default:
      return Outcome::kFull;
  }
}

// An order message that cannot be read has changed a book we know only by its locate, if at all.
Market::Outcome Market::malformed_order(Bytes msg) {
  const InstrumentIx ix = by_locate(load_be16(msg.data() + 1));
  if (ix != kNoInstrument) mark_unsound(ix);
  return Outcome::kMalformed;
}

void Market::mark_unsound(InstrumentIx ix) {
  if (!instruments_[ix].sound) return;
  instruments_[ix].sound = false;
  ++stats_.unsound_marks;
}

}  // namespace peregrine
