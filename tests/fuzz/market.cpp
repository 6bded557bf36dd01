// Any messages in any order against the books: each step is a control byte, a type and the message's bytes, with
// locates, references, prices and symbols drawn together so that they meet. A plain count of what each order has left,
// kept beside the books, must agree with them at the end.
#include <map>

#include "fuzz.h"
#include "market/market.h"

using namespace peregrine;

namespace {

constexpr char kTypes[] = "AFECXDUPQBIRHYhJSLVWKNO";

// Small numbers in the fields that name things; the rest stays as the input has it.
void pull_together(std::vector<u8>& m) {
  store_be16(&m[1], m[2] & 3);
  if (m.size() >= 19) store_be64(&m[11], m[18] & 31);
  const u8 type = m[0];
  if (type == 'A' || type == 'F' || type == 'P') {
    m[19] = m[19] & 1 ? 'S' : 'B';
    store_be32(&m[20], m[23]);
    std::memcpy(&m[24], "SYMBOL ", 7);
    m[31] = static_cast<u8>('A' + (m[31] & 3));
    store_be32(&m[32], m[35] & 15);
  } else if (type == 'U') {
    store_be64(&m[19], m[26] & 31);
    store_be32(&m[27], m[30]);
    store_be32(&m[31], m[34] & 15);
  } else if (type == 'E' || type == 'C' || type == 'X') {
    store_be32(&m[19], m[22]);
  }
  if (type == 'R' || type == 'H') {
    std::memcpy(&m[11], "SYMBOL ", 7);
    m[18] = static_cast<u8>('A' + (m[18] & 3));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  fuzz::Input in(data, size);
  const u8 setup = in.byte();
  MarketConfig c;
  c.max_instruments = 4;
  c.max_orders = 8 + (setup & 15);
  c.max_levels = 6 + (setup >> 4);
  c.max_own_orders = 4;
  c.max_prints = 8;
  c.auto_instruments = (setup & 1) != 0;
  Market market(c);
  if (!c.auto_instruments) market.add_instrument("SYMBOL A");
  std::map<u64, i64> left;  // reference -> lots the messages that were applied leave of it
  Event event;
  for (u64 n = 1; !in.done() && n < 400; ++n) {
    const u8 how = in.byte();
    std::vector<u8> m;
    if (how & 0x80) {  // raw: any length, any type
      const Bytes raw = in.take(how & 63);
      m.assign(raw.begin(), raw.end());
    } else {
      const u8 type = static_cast<u8>(kTypes[how % (sizeof kTypes - 1)]);
      const Bytes body = in.take(itch::message_length(type) - 1);
      m.push_back(type);
      m.insert(m.end(), body.begin(), body.end());
      m.resize(itch::message_length(type));
      pull_together(m);
    }
    const fuzz::Exact exact{Bytes(m)};
    const Bytes ahead[] = {exact.view(), exact.view()};
    market.prefetch(ahead, 0);
    const Market::Outcome o = market.on_message(exact.view(), n, 0, event);
    if (how % 11 == 3 && m.size() >= 19) market.track_own(load_be64(&m[11]));
    if (how % 13 == 5 && m.size() >= 19) market.untrack_own(load_be64(&m[11]));
    if (event.instrument != kNoInstrument) FUZZ_CHECK(event.instrument < market.instruments());
    if (o != Market::Outcome::kApplied || m.size() < 19) continue;
    const u64 ref = load_be64(&m[11]);
    switch (m[0]) {
      case 'A':
      case 'F': left[ref] = load_be32(&m[20]); break;
      case 'E':
      case 'C':
      case 'X':
        if ((left[ref] -= load_be32(&m[19])) == 0) left.erase(ref);
        break;
      case 'D': left.erase(ref); break;
      case 'U':
        left.erase(ref);
        left[load_be64(&m[19])] = load_be32(&m[27]);
        break;
      default: break;
    }
  }
  market.check();
  FUZZ_CHECK(left.size() == market.live_orders());
  i64 want = 0, have = 0;
  for (const auto& [ref, lots] : left) want += lots;
  for (InstrumentIx ix = 0; ix < market.instruments(); ++ix) {
    for (const Side side : {Side::kBuy, Side::kSell}) {
      Level levels[64];
      const int found = market.levels(ix, side, levels, 64);
      for (int i = 0; i < found; ++i) have += levels[i].qty_lots;
      for (int i = 1; i < found; ++i)
        FUZZ_CHECK(side == Side::kBuy ? levels[i].price_ticks < levels[i - 1].price_ticks
                                      : levels[i].price_ticks > levels[i - 1].price_ticks);
    }
  }
  FUZZ_CHECK(want == have);
  const u64 hash = market.state_hash();
  FUZZ_CHECK(hash == market.state_hash());
  return 0;
}
