// Instruments and their symbols, snapshots, soundness, the state hash.
#include <new>

#include "core/hash.h"
#include "market/market_locate.h"

namespace peregrine {
namespace {

u32 symbol_hash(const itch::Stock& s) {
  u64 w;
  std::memcpy(&w, s.c, 8);
  return static_cast<u32>(hash_fold(0, w));
}

}  // namespace

InstrumentIx Market::find_stock(const itch::Stock& stock) const {
  u32 i = symbol_buckets_[symbol_hash(stock) & symbol_mask_];
  while (i != 0 && !(instruments_[i - 1].stock == stock)) i = instruments_[i - 1].next_in_bucket;
  return i == 0 ? kNoInstrument : i - 1;
}

InstrumentIx Market::add_stock(const itch::Stock& stock) {
  if (n_instruments_ == config_.max_instruments) return kNoInstrument;
  const InstrumentIx ix = n_instruments_++;
  Instrument& i = *new (&instruments_[ix]) Instrument{};
  i.stock = stock;
  u32& bucket = symbol_buckets_[symbol_hash(stock) & symbol_mask_];
  i.next_in_bucket = bucket;
  bucket = ix + 1;
  return ix;
}

InstrumentIx Market::add_instrument(std::string_view symbol) {
  const itch::Stock stock = itch::Stock::from(symbol);
  const InstrumentIx known = find_stock(stock);
  if (known != kNoInstrument) return known;
  for (u32 l = 0; foreign_bound_ && l < 65536; ++l) {
    if (by_locate_[l] == kNotOurs) by_locate_[l] = kNoInstrument;  // it may be ours now
  }
  return add_stock(stock);
}

InstrumentIx Market::find(std::string_view symbol) const {
  return symbol.size() > 8 ? kNoInstrument : find_stock(itch::Stock::from(symbol));
}

// The instrument of a message that names its stock: by locate, else by symbol (a day joined late has no directory).
InstrumentIx Market::resolve(u16 locate, const itch::Stock& stock) {
  const InstrumentIx ix = by_locate_[locate];
  if (ix < kNotOurs) return ix;
  if (ix == kNotOurs) return kNoInstrument;
  return resolve_new(locate, stock);
}

InstrumentIx Market::resolve_new(u16 locate, const itch::Stock& stock) {
  InstrumentIx ix = find_stock(stock);
  if (ix == kNoInstrument && config_.auto_instruments) ix = add_stock(stock);
  if (locate != 0) bind_locate(locate, ix == kNoInstrument ? kNotOurs : ix);
  return ix;
}

void Market::bind_locate(u16 locate, InstrumentIx ix) {
  if (ix < kNotOurs) {
    Instrument& i = instruments_[ix];
    if (i.locate != 0 && i.locate != locate && by_locate_[i.locate] == ix) by_locate_[i.locate] = kNoInstrument;
    i.locate = locate;
  }
  by_locate_[locate] = ix;
  foreign_bound_ |= ix == kNotOurs;
}

TradingState Market::trading_state(InstrumentIx ix) const {
  const Instrument& i = instruments_[ix];
  return i.halted_by_venue ? TradingState::kHalted : static_cast<TradingState>(i.state);
}

int Market::queue(InstrumentIx ix, Side side, PriceTicks price_ticks, QueuedOrder* out, int n) const {
  if (price_ticks < 0 || price_ticks > 0xFFFFFFFFll) return 0;
  return books_.queue(ix, side, static_cast<u32>(price_ticks), out, n);
}

QtyLots Market::lots_at(InstrumentIx ix, Side side, PriceTicks price_ticks) const {
  if (price_ticks < 0 || price_ticks > 0xFFFFFFFFll) return 0;
  return books_.lots_at(ix, side, static_cast<u32>(price_ticks));
}

void Market::set_sound(InstrumentIx ix, bool sound) {
  if (sound) {
    instruments_[ix].sound = true;
  } else {
    mark_unsound(ix);
  }
}

void Market::set_all_sound(bool sound) {
  for (InstrumentIx ix = 0; ix < n_instruments_; ++ix) set_sound(ix, sound);
}

void Market::begin_snapshot() {
  books_.clear();
  in_snapshot_ = true;
  set_all_sound(false);
}

void Market::end_snapshot() {
  in_snapshot_ = false;
  set_all_sound(true);
}

Market::Outcome Market::on_snapshot_message(Bytes msg, u64 n, TimeNs rx_ns, Event& out) {
  if (n == 1) begin_snapshot();
  if (msg.empty() || msg[0] != 'G') return on_message(msg, n, rx_ns, out);
  out = Event{};
  out.seq = n;
  out.ts_rx_ns = rx_ns;
  out.flags = kFlagSnapshot;
  ++stats_.messages;
  const Outcome o = msg.size() >= 21 ? Outcome::kApplied : Outcome::kMalformed;
  ++stats_.outcomes[static_cast<int>(o)];
  if (o == Outcome::kApplied) end_snapshot();
  return o;
}

bool Market::track_own(u64 order_ref) {
  if (books_.track_own(order_ref)) return true;
  ++stats_.own_full;
  return false;
}

u64 Market::state_hash() const {
  u64 h = hash_fold(0x4D4B54, n_instruments_);
  h = hash_fold(h, static_cast<u64>(market_open_) | static_cast<u64>(in_snapshot_) << 1 |
                       static_cast<u64>(static_cast<u8>(system_event_)) << 8 |
                       static_cast<u64>(static_cast<u8>(mwcb_level_)) << 16);
  for (InstrumentIx ix = 0; ix < n_instruments_; ++ix) {
    const Instrument& i = instruments_[ix];
    h = hash_bytes(h, i.stock.c, 8);
    h = hash_fold(h, i.volume);
    h = hash_fold(h, static_cast<u64>(i.last_trade) << 32 | i.last_execution);
    h = hash_fold(h, static_cast<u64>(i.locate) | static_cast<u64>(static_cast<u8>(i.state)) << 16 |
                         static_cast<u64>(static_cast<u8>(i.reg_sho)) << 24 |
                         static_cast<u64>(i.halted_by_venue) << 32 | static_cast<u64>(i.sound) << 33);
    h = hash_fold(h, i.round_lot);
    h = books_.hash_book(h, ix);
  }
  return h;
}

}  // namespace peregrine
