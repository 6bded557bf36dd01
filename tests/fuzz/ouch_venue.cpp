// The venue's side of OUCH: any requests on two ports, halts, busts and states between. The matching's own checks hold,
// what the exchange sends back our own decoder takes, and shares bought are shares sold.
#include "execution/ouch.h"
#include "fuzz.h"
#include "venue/exchange.h"

using namespace peregrine;
using namespace peregrine::venue;

namespace {

struct Sink final : ExchangeSink {
  u64 seq[2] = {};
  void ouch(PortIx port, u64 n, Bytes m) override {
    FUZZ_CHECK(port < 2 && n == ++seq[port] && m.size() >= 10);
    fuzz::touch(m);
  }
  void itch(u64, u16, Bytes m) override { FUZZ_CHECK(m.size() >= itch::message_length(m[0])); }
};

// A well-formed request whose numbers and prices meet those before it.
std::size_t request(fuzz::Input& in, u32& urn, u8* p) {
  const u8 how = in.byte(), b = in.byte();
  const u32 some = urn > (b & 7u) ? urn - (b & 7) : urn;
  const u64 price = b >= 0xF8 ? ouch::kMarketPrice : 999'000 + 100 * (in.byte() & 31);
  const u32 qty = in.byte();
  ouch::AppendageBuilder app;
  if (how & 0x80) app.add_u32(ouch::kTagMinQuantity, in.byte());
  if (how & 0x40) app.add_char(ouch::kTagPostOnly, 'P');
  if (how & 0x20) app.add_u32(ouch::kTagExpireTime, 1 + (in.byte() & 3));
  switch (how & 7) {
    case 0: {
      ouch::CancelOrder x;
      x.user_ref_num = some, x.quantity = b & 8 ? qty : 0;
      return ouch::encode(x, p);
    }
    case 1: {
      ouch::ModifyOrder m;
      m.user_ref_num = some, m.side = static_cast<u8>("BSTE"[b >> 3 & 3]), m.quantity = qty;
      return ouch::encode(m, p);
    }
    case 2: {
      ouch::MassCancel c;
      c.user_ref_num = b & 8 ? ++urn : some;
      if (b & 16) c.symbol = ouch::alpha<8>("PRGN");
      if (b & 32) c.firm = ouch::alpha<4>("AAAA");
      return ouch::encode(c, p);
    }
    case 3: {
      ouch::ReplaceOrder u;
      u.orig_ref_num = some, u.user_ref_num = ++urn, u.quantity = qty, u.price = price;
      u.display = static_cast<u8>("YNA"[(b >> 3) % 3]), u.appendage = app.bytes();
      return ouch::encode(u, p);
    }
    case 4: {
      ouch::DisableEntry d;
      d.user_ref_num = b & 8 ? ++urn : some;
      d.firm = ouch::alpha<4>(b & 16 ? "BBBB" : "AAAA");
      if ((b & 0xE0) == 0xE0) return ouch::encode(d, p);
      ouch::EnableEntry e;
      e.user_ref_num = d.user_ref_num, e.firm = d.firm;
      return ouch::encode(e, p);
    }
    default: {
      ouch::EnterOrder o;
      o.user_ref_num = ++urn, o.side = static_cast<u8>("BSTE"[b >> 3 & 3]), o.quantity = qty;
      o.symbol = ouch::alpha<8>(b & 32 ? "FLCN" : "PRGN"), o.price = price;
      o.tif = static_cast<u8>("0356"[b >> 6]), o.display = static_cast<u8>("YNAY"[how >> 3 & 3]), o.appendage = app.bytes();
      return ouch::encode(o, p);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  fuzz::Input in(data, size);
  const u8 setup = in.byte();
  ExchangeConfig c;
  c.symbols = {SymbolConfig{}, SymbolConfig{.symbol = "FLCN"}};
  c.ports = {{.user = "ONE", .password = "", .firm = "AAAA"},
             {.user = "TWO", .password = "", .firm = (setup & 1) ? "AAAA" : "BBBB", .cancel_on_disconnect = true}};
  c.max_orders = 32;
  c.stp = static_cast<StpMode>(setup >> 1 & 3);
  c.open_cross = (setup & 8) != 0;
  c.long_forms = (setup & 16) != 0;
  Sink sink;
  Exchange x(c, &sink);
  TimeNs now = 34'200'000'000'000;
  if (setup & 32) x.set_session_state(SessionState::kPreOpen, now);
  if (!(setup & 64)) x.set_session_state(SessionState::kOpen, now);
  u32 urn[2] = {0, 0};
  u8 buffer[ouch::kMaxMessageBytes];
  for (int steps = 0; !in.done() && steps < 150; ++steps) {
    const u8 how = in.byte();
    const PortIx port = how & 1;
    now += TimeNs{how >> 1 & 3} * 300'000'000;
    switch (how >> 4) {
      case 0: {
        const fuzz::Exact exact(in.take(in.byte()));
        x.on_ouch(port, exact.view(), now);
        break;
      }
      case 1: x.on_disconnect(port, now); break;
      case 2: x.halt(in.byte() & 1, static_cast<u8>("HPQT"[how >> 2 & 3]), "T1", now); break;
      case 3: x.bust(in.byte() & 31, 'E', now); break;
      case 4: x.on_timer(now); break;
      case 5: x.set_session_state(static_cast<SessionState>(in.byte() % 5), now); break;
      case 6: x.set_short_sale(in.byte() & 1, static_cast<u8>('0' + (how >> 2) % 3), now); break;
      default: {
        std::size_t n = request(in, urn[port], buffer);
        if (how >= 0xF0) n -= n > (how & 14u) ? how & 14u : 0;  // cut short
        const fuzz::Exact exact(Bytes(buffer, n));
        x.on_ouch(port, exact.view(), now);
      }
    }
    if (x.next_user_ref_num(port) > urn[port]) urn[port] = x.next_user_ref_num(port) - 1;
    if (urn[port] > 0xFFFFFF00u) break;
  }
  x.matching().check();
  FUZZ_CHECK(x.summary(0).bought + x.summary(1).bought == x.summary(0).sold + x.summary(1).sold);
  MessageStore snapshot;
  x.snapshot(snapshot, now);
  const u64 hash = x.state_hash();
  FUZZ_CHECK(hash == x.state_hash());
  return 0;
}
