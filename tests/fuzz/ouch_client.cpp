// Our side of an order session: any packets from the venue, mixed with requests, timers, drops and recoveries. After
// each step the open orders added up from scratch are what the exposure holds.
#include "execution/order_session.h"
#include "fuzz.h"

using namespace peregrine;

namespace {

struct Sink final : SessionOut {
  u32 last_number = 0;
  void intent(const journal::IntentHead& h, Bytes b) override {
    FUZZ_CHECK(!b.empty() && h.kind >= 1 && h.kind <= 5);
    // Order numbers rise strictly over all that takes one.
    if (h.kind == 1 || h.kind == 2) {
      FUZZ_CHECK(h.user_ref_num > last_number);
      last_number = h.user_ref_num;
    }
  }
};

void check_books(const OrderManager& orders, const Exposure& x) {
  QtyLots open[2][2] = {}, unknown[2][2] = {};
  u32 count = 0, last = 0;
  for (u32 n = orders.first_open(); n != 0; n = orders.next_open(n)) {
    const Order* o = orders.find(n);
    FUZZ_CHECK(o != nullptr && is_open(o->state) && n > last);
    last = n;
    ++count;
    open[o->instrument][index(o->side)] += o->claim.open_lots;
    unknown[o->instrument][index(o->side)] += o->claim.unknown_lots;
  }
  FUZZ_CHECK(count == orders.open_orders());
  for (u32 i = 0; i < 2; ++i) {
    for (int s = 0; s < 2; ++s) {
      FUZZ_CHECK(x.of(i).open_lots[s] == open[i][s] && x.of(i).unknown_lots[s] == unknown[i][s]);
    }
  }
}

// What a well-behaved venue says to a new connection, so that orders flow at all.
void connect(OrderSession& session, const OrderManager& orders, TimeNs now, Sink& out) {
  session.on_state({1, 0, {0, 0}, 1}, now, out);
  u8 p[64] = {'A'};
  soup::encode(soup::LoginAccepted{soup::make_session("PRG0000001", 10), session.login_sequence()}, p + 1);
  session.on_packet(Bytes(p, 31), now, out);
  p[0] = 'S';
  ouch::AccountQueryResponse q;
  q.next_ref_num = orders.last_user_ref_num() + 1;
  session.on_packet(Bytes(p, 1 + ouch::encode(q, p + 1)), now, out);
  ouch::MassCancelResponse x;
  x.user_ref_num = orders.last_user_ref_num();
  session.on_packet(Bytes(p, 1 + ouch::encode(x, p + 1)), now, out);
}

// A response of any type with its fields from the input, order numbers pulled into the range in use.
Bytes response(fuzz::Input& in, u32 last, u8* p) {
  struct Shape {
    u8 type, bytes, numbers;
  };
  static constexpr Shape kShapes[] = {{'A', 64, 1}, {'U', 68, 2}, {'E', 36, 1}, {'C', 18, 1}, {'D', 31, 1}, {'J', 29, 1},
                                      {'B', 36, 1}, {'F', 49, 1}, {'P', 13, 1}, {'I', 13, 1}, {'T', 30, 1}, {'M', 18, 1},
                                      {'R', 16, 1}, {'Q', 13, 1}, {'X', 25, 1}, {'G', 17, 1}, {'K', 17, 1}, {'S', 10, 0}};
  const Shape s = kShapes[in.byte() % (sizeof kShapes / sizeof *kShapes)];
  const u8 how = in.byte();
  std::memset(p, 0, 80);
  p[0] = 'S';
  p[1] = s.type;
  std::size_t at = 10;
  for (u8 k = 0; k < s.numbers; ++k, at += 4) store_be32(p + at, last - (in.byte() & 7));
  if (s.type != 'J' && s.type != 'B' && at + 4 <= s.bytes) {
    if (s.type == 'A' || s.type == 'U' || s.type == 'M') p[at++] = how & 1 ? 'B' : 'S';
    store_be32(p + at, in.byte());
    at += 4;
  }
  const Bytes more = in.take(how >> 3 & 15);
  for (std::size_t i = 0; i < more.size() && at < s.bytes + 1u; ++i) p[at++] = more[i];
  if (s.type == 'A' || s.type == 'U') {
    const std::size_t symbol = s.type == 'A' ? 19 : 23;
    std::memcpy(p + symbol, how & 4 ? "OTHR    " : "PRGN    ", 8);
    p[s.type == 'A' ? 48 : 52] = how & 2 ? 'L' : 'D';
    store_be16(p + s.bytes - 1, 0);
  }
  if (s.type == 'E') store_be16(p + s.bytes - 1, 0);
  return {p, s.bytes + 1u};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  fuzz::Input in(data, size);
  SymbolTable symbols;
  symbols.set(0, "PRGN");
  symbols.set(1, "OTHR");
  Exposure exposure(2);
  OrderManager orders({16, 8, 8, {-20, 30, 0}}, symbols, exposure);
  const u8 setup = in.byte();
  SessionConfig config;
  config.venue_mass_cancel = (setup & 1) != 0;
  config.long_cancel = (setup & 2) != 0;
  config.max_messages = 64;
  config.cancel_reserve = 8;
  OrderSession session(config, symbols, orders);
  Sink out;
  TimeNs now = 1'000'000'000'000;
  u8 buffer[512];
  if (setup & 4) connect(session, orders, now, out);
  for (int steps = 0; !in.done() && steps < 200; ++steps) {
    const u8 how = in.byte();
    now += TimeNs{how & 3} * 100'000'000;
    switch (how >> 4) {
      case 0: {
        const fuzz::Exact exact(in.take(in.byte()));
        session.on_packet(exact.view(), now, out);
        break;
      }
      case 1: session.on_state({static_cast<u8>(how >> 2 & 1), 1, {0, 0}, 1}, now, out); break;
      case 2: connect(session, orders, now, out); break;
      case 3: session.on_timer(now, out); break;
      case 4: now += TimeNs{in.byte()} * 100'000'000; break;
      case 5: session.on_send_result({0, 50, static_cast<i32>(in.byte()) - 100}, now, out); break;
      case 6: session.mass_cancel({}, now, out); break;
      case 7: session.retry(now, out); break;
      case 8: {
        const u32 number = in.byte();
        const u32 last = orders.last_user_ref_num();
        session.on_recovered({session.epoch() + 1, number < last ? last - number : last, 0, session.next_sequence() - 1},
                             now, out);
        out.last_number = orders.last_user_ref_num();
        break;
      }
      case 9: {
        const u8 b = in.byte();
        session.cancel(orders.last_user_ref_num() - (b & 7), b & 8 ? b >> 4 : 0, {}, now, out);
        break;
      }
      case 10: {
        const u8 b = in.byte();
        session.replace(orders.last_user_ref_num() - (b & 7), 1 + in.u16be(), in.byte(), {}, now, out);
        break;
      }
      case 11: {
        EnterRequest e;
        const u8 b = in.byte();
        e.order = {b & 3u, b & 4 ? Side::kBuy : Side::kSell, SellMark::kNone, '0', 1, in.u16be(), in.byte(), 0};
        session.enter(e, now, out);
        break;
      }
      default: {
        const fuzz::Exact exact(response(in, orders.last_user_ref_num(), buffer));
        session.on_packet(exact.view(), now, out);
      }
    }
    check_books(orders, exposure);
  }
  const u64 hash = session.state_hash(0);
  FUZZ_CHECK(hash == session.state_hash(0));
  return 0;
}
