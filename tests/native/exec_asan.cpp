// Mutation fuzz of the OUCH and SoupBinTCP readers, the order manager and the session, run under sanitizers.
// After every burst the books of the order manager are added up from scratch and compared.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/rng.h"
#include "execution/order_session.h"

using namespace peregrine;

namespace {

struct Sink : SessionOut {
  u64 intents = 0, events = 0, alarms = 0;
  void intent(const journal::IntentHead& h, Bytes b) override {
    ++intents;
    if (b.empty() || h.kind == 0) std::abort();
  }
  void on_order(const OrderEvent&) override { ++events; }
  void alarm(SessionAlarm, u64, u64) override { ++alarms; }
};

template <class T>
std::vector<u8> bytes_of(const T& m) {
  std::vector<u8> v(ouch::encoded_bytes(m));
  ouch::encode(m, v.data());
  return v;
}

std::vector<u8> random_response(Rng& r, u32 last) {
  const u32 n = 1 + static_cast<u32>(r.below(last + 2));
  const auto app = std::vector<u8>{9, 1, 0, 0, 0, 0, 0, 0, 0, 5};
  switch (r.below(18)) {
    case 0:
    case 1:
    case 2:
    case 3: {
      ouch::Accepted m;
      m.user_ref_num = n, m.quantity = 100, m.symbol = ouch::alpha<8>("PRGN"), m.price = 10'000, m.order_ref = r.next();
      m.side = r.chance32(1u << 31) ? 'B' : 'S', m.state = r.below(8) ? 'L' : 'D';
      return bytes_of(m);
    }
    case 4:
    case 5: {
      ouch::Replaced m;
      m.orig_ref_num = 1 + static_cast<u32>(r.below(last + 1)), m.user_ref_num = n,
      m.quantity = static_cast<u32>(r.below(300));
      m.symbol = ouch::alpha<8>("PRGN"), m.price = 9'000 + r.below(2'000), m.side = r.below(2) ? 'B' : 'S',
      m.state = r.below(8) ? 'L' : 'D';
      return bytes_of(m);
    }
    case 6:
    case 7:
    case 8: {
      ouch::Executed m;
      m.user_ref_num = n, m.quantity = static_cast<u32>(r.below(120)), m.price = 10'000, m.match_number = r.below(50);
      return bytes_of(m);
    }
    case 9:
    case 10: {
      ouch::Canceled m;
      m.user_ref_num = n, m.quantity = static_cast<u32>(r.below(150)), m.long_form = r.below(2) != 0;
      return bytes_of(m);
    }
    case 11: {
      ouch::Rejected m;
      m.user_ref_num = n;
      return bytes_of(m);
    }
    case 12: {
      ouch::BrokenTrade m;
      m.user_ref_num = n, m.match_number = r.below(50);
      return bytes_of(m);
    }
    case 13: {
      ouch::TradeCorrection m;
      m.user_ref_num = n, m.match_number = r.below(50), m.quantity = static_cast<u32>(r.below(90)), m.price = 9'999;
      return bytes_of(m);
    }
    case 14: {
      ouch::AccountQueryResponse m;
      m.next_ref_num = n;
      return bytes_of(m);
    }
    case 15: {
      ouch::MassCancelResponse m;
      m.user_ref_num = r.below(2) ? last : n;
      return bytes_of(m);
    }
    case 16: {
      ouch::Restated m;
      m.user_ref_num = n, m.appendage = Bytes(app);
      return bytes_of(m);
    }
    default: {
      ouch::Modified m;
      m.user_ref_num = n, m.quantity = static_cast<u32>(r.below(120)), m.side = "BST"[r.below(3)];
      return bytes_of(m);
    }
  }
}

bool books_add_up(const OrderManager& orders, const Exposure& x) {
  QtyLots open[2][2] = {}, unknown[2][2] = {};
  u32 count = 0, last = 0;
  for (u32 n = orders.first_open(); n != 0; n = orders.next_open(n)) {
    const Order* o = orders.find(n);
    if (!o || !is_open(o->state) || n <= last) return false;
    last = n;
    ++count;
    open[o->instrument][index(o->side)] += o->claim.open_lots;
    unknown[o->instrument][index(o->side)] += o->claim.unknown_lots;
  }
  for (u32 i = 0; i < 2; ++i)
    for (int s = 0; s < 2; ++s)
      if (x.of(i).open_lots[s] != open[i][s] || x.of(i).unknown_lots[s] != unknown[i][s]) return false;
  return count == orders.open_orders();
}

template <class T>
void say(OrderSession& session, const T& m, TimeNs now, Sink& out) {
  std::vector<u8> p = bytes_of(m);
  p.insert(p.begin(), 'S');
  session.on_packet(p, now, out);
}

// What a well-behaved venue would answer to a new connection, so that the fuzz gets to trade at all.
void reconnect(OrderSession& session, const OrderManager& orders, TimeNs now, Sink& out) {
  session.on_state({0, 1, {0, 0}, 1}, now, out);
  session.on_state({1, 0, {0, 0}, 2}, now, out);
  std::vector<u8> p(31, 'A');
  soup::encode(soup::LoginAccepted{soup::make_session("PRG0000001", 10), session.login_sequence()}, p.data() + 1);
  session.on_packet(p, now, out);
  ouch::AccountQueryResponse q;
  q.next_ref_num = orders.last_user_ref_num() + 1;
  say(session, q, now, out);
  while (orders.open_orders() > 0 && orders.find(orders.first_open())->acked) {
    ouch::Canceled c;
    c.user_ref_num = orders.first_open();
    c.quantity = static_cast<u32>(orders.find(c.user_ref_num)->leaves_lots());
    if (c.quantity == 0) break;
    say(session, c, now, out);
  }
  ouch::MassCancelResponse x;
  x.user_ref_num = orders.last_user_ref_num();
  say(session, x, now, out);
}

// A session driven by valid, mutated and random packets, requests, drops and timers in any order.
struct Reached {
  u64 intents = 0, events = 0, alarms = 0, entered = 0, replaced = 0, ready = 0;
};
Reached reached;

bool fuzz_session(u64 seed) {
  Rng r(seed);
  SymbolTable symbols;
  symbols.set(0, "PRGN");
  symbols.set(1, "OTHR");
  Exposure exposure(2);
  OrderManager orders({64, 32, 32, {-20, 30, 0}}, symbols, exposure);
  SessionConfig config;
  config.venue_mass_cancel = r.below(4) != 0;
  config.max_messages = 200;
  config.cancel_reserve = 10;
  OrderSession session(config, symbols, orders);
  Sink out;
  TimeNs now = 1'000'000'000'000;
  for (int i = 0; i < 1500; ++i) {
    now += r.between(0, 50'000'000);
    const u64 what = r.below(100);
    if (!session.ready() && r.below(20) == 0) {
      reconnect(session, orders, now, out);
    } else if (what < 1) {
      session.on_state({static_cast<u8>(r.below(3) != 0), 1, {0, 0}, 1}, now, out);
    } else if (what < 3) {
      std::vector<u8> p(31, 'A');
      soup::encode(soup::LoginAccepted{soup::make_session("PRG0000001", 10),
                                       r.below(5) ? session.login_sequence() : r.below(50)},
                   p.data() + 1);
      session.on_packet(p, now, out);
    } else if (what < 20) {
      EnterRequest e;
      e.order = {static_cast<u32>(r.below(3)),
                 static_cast<Side>(r.below(2)),
                 SellMark::kNone,
                 '0',
                 1,
                 r.between(-5, 20'000),
                 r.between(-5, 400),
                 0};
      reached.entered += session.enter(e, now, out).error == SendError::kSent;
    } else if (what < 30) {
      const u32 n = 1 + static_cast<u32>(r.below(orders.last_user_ref_num() % 1000 + 2));
      reached.replaced +=
          session.replace(n, r.between(1, 20'000), r.between(0, 500), {}, now, out).error == SendError::kSent;
    } else if (what < 40) {
      const u32 n = 1 + static_cast<u32>(r.below(orders.last_user_ref_num() % 1000 + 2));
      session.cancel(n, r.below(4) ? 0 : r.between(-1, 200), {}, now, out);
    } else if (what < 42) {
      session.mass_cancel({}, now, out);
    } else if (what < 46) {
      session.on_timer(now, out);
    } else if (what < 48) {
      session.on_send_result({0, 50, static_cast<i32>(r.between(-40, 60))}, now, out);
    } else if (what < 49) {
      session.retry(now, out);
    } else if (what < 50) {
      session.on_recovered(
          {2, static_cast<u32>(r.below(orders.last_user_ref_num() % 1000 + 1)), 0, session.next_sequence() - 1}, now,
          out);
    } else {
      std::vector<u8> m = random_response(r, orders.last_user_ref_num() % 1000);
      m.insert(m.begin(), 'S');
      const u64 mutate = r.below(10);
      if (mutate == 0) m[r.below(m.size())] ^= static_cast<u8>(1u << r.below(8));
      if (mutate == 1) m.resize(r.below(m.size() + 1));
      if (mutate == 2)
        for (u8& b : m) b = static_cast<u8>(r.next());
      const std::vector<u8> exact(m.begin(), m.end());  // no slack behind the end: an overread is an error
      session.on_packet(Bytes(exact), now, out);
    }
    reached.ready += session.ready();
    if (!books_add_up(orders, exposure)) {
      std::printf("exec_asan: books do not add up: seed %llu step %d\n", static_cast<unsigned long long>(seed), i);
      return false;
    }
  }
  session.state_hash(0);
  reached.intents += out.intents, reached.events += out.events, reached.alarms += out.alarms;
  return true;
}

// Random bytes in random cuts; packets of a known stream survive any cutting.
bool fuzz_framer(u64 seed) {
  Rng r(seed);
  auto framer = std::make_unique<soup::Framer>();
  std::vector<u8> stream;
  u64 want = 0, got = 0, got_bytes = 0, want_bytes = 0;
  for (int i = 0; i < 200; ++i) {
    const std::size_t n = r.below(20) == 0 ? r.below(65'535) : r.below(80);
    std::vector<u8> payload(n, static_cast<u8>(i)), packet(n + 3);
    soup::frame('S', payload, packet.data());
    stream.insert(stream.end(), packet.begin(), packet.end());
    ++want, want_bytes += n + 1;
  }
  for (std::size_t at = 0; at < stream.size();) {
    const std::size_t n = std::min<std::size_t>(1 + r.below(r.below(4) ? 100 : 70'000), stream.size() - at);
    const std::vector<u8> chunk(stream.begin() + static_cast<long>(at), stream.begin() + static_cast<long>(at + n));
    framer->push(chunk, [&](Bytes p) { ++got, got_bytes += p.size(); });
    at += n;
  }
  if (got != want || got_bytes != want_bytes || framer->held_bytes() != 0) {
    std::printf("exec_asan: framer lost packets, seed %llu\n", static_cast<unsigned long long>(seed));
    return false;
  }
  for (int i = 0; i < 300; ++i) {
    std::vector<u8> chunk(r.below(300));
    for (u8& b : chunk) b = static_cast<u8>(r.below(r.below(2) ? 4 : 256));
    framer->push(chunk, [&](Bytes p) {
      soup::LoginAccepted a;
      soup::LoginRequest l;
      soup::decode(p.subspan(1), a);
      soup::decode(p.subspan(1), l);
    });
  }
  return true;
}

}  // namespace

int main() {
  constexpr u64 kSessions = 2000, kStreams = 20;
  for (u64 seed = 1; seed <= kSessions; ++seed)
    if (!fuzz_session(seed)) return 1;
  for (u64 seed = 1; seed <= kStreams; ++seed)
    if (!fuzz_framer(seed)) return 1;
  const auto n = [](u64 v) { return static_cast<unsigned long long>(v); };
  std::printf(
      "exec_asan: %llu sessions (%llu intents, %llu orders, %llu replaces, %llu events, %llu alarms, %llu ready "
      "steps)\n",
      n(kSessions), n(reached.intents), n(reached.entered), n(reached.replaced), n(reached.events), n(reached.alarms),
      n(reached.ready));
  // A fuzz that never gets past the login proves nothing.
  if (reached.entered < 1000 || reached.replaced < 100 || reached.events < 10'000) {
    std::printf("exec_asan: the fuzz did not reach the order path\n");
    return 1;
  }
  return 0;
}
