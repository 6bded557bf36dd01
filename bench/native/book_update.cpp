// What does one message cost the books, hot (1 symbol, 5,000 live orders) and wide (8,000 symbols, 400,000)?
// Messages come in datagrams of 32, as a busy feed's do.
// Twin: the obvious book, std::unordered_map of orders and a std::map of levels a side.
#include <map>
#include <unordered_map>

#include "harness.h"
#include "itch_stream.h"
#include "market/market.h"

using namespace peregrine;
using namespace peregrine::bench;

namespace {

class NaiveBooks {
 public:
  explicit NaiveBooks(u32 symbols) : books_(symbols + 1) {}

  void on_message(Bytes m) {
    switch (m[0]) {
      case 'A': {
        itch::AddOrder a;
        if (itch::decode(m, a)) add(a.ref, a.locate, a.side, a.shares, a.price_ticks);
        break;
      }
      case 'E': {
        itch::OrderExecuted e;
        if (itch::decode(m, e)) reduce(e.ref, e.shares);
        break;
      }
      case 'X': {
        itch::OrderCancel c;
        if (itch::decode(m, c)) reduce(c.ref, c.shares);
        break;
      }
      case 'D': {
        itch::OrderDelete d;
        if (itch::decode(m, d)) reduce(d.ref, 0xFFFFFFFFu);
        break;
      }
      case 'U': {
        itch::OrderReplace u;
        if (!itch::decode(m, u)) break;
        const auto it = orders_.find(u.ref);
        if (it == orders_.end()) break;
        const Order o = it->second;
        reduce(u.ref, 0xFFFFFFFFu);
        add(u.new_ref, o.locate, o.side, u.shares, u.price_ticks);
        break;
      }
      default: break;
    }
  }
  u32 best(u32 locate) const {
    const auto& bids = books_[locate].levels[0];
    return bids.empty() ? 0 : bids.rbegin()->first;
  }
  std::size_t live() const { return orders_.size(); }

 private:
  struct Order {
    u16 locate;
    Side side;
    u32 shares;
    u32 price;
  };
  struct Book {
    std::map<u32, u64> levels[2];
  };
  void add(u64 ref, u16 locate, Side side, u32 shares, u32 price) {
    orders_[ref] = {locate, side, shares, price};
    books_[locate].levels[index(side)][price] += shares;
  }
  void reduce(u64 ref, u32 shares) {
    const auto it = orders_.find(ref);
    if (it == orders_.end()) return;
    Order& o = it->second;
    const u32 gone = shares < o.shares ? shares : o.shares;
    auto& levels = books_[o.locate].levels[index(o.side)];
    const auto level = levels.find(o.price);
    if ((level->second -= gone) == 0) levels.erase(level);
    if ((o.shares -= gone) == 0) orders_.erase(it);
  }
  std::unordered_map<u64, Order> orders_;
  std::vector<Book> books_;
};

void measure(const Options& o, const char* name, u32 symbols, u32 live, std::size_t steady) {
  Bench b(o);
  b.settle();
  ItchStream s = ItchStreamMaker(symbols, live, 2).make(steady);
  MarketConfig config;
  config.max_instruments = symbols;
  config.max_orders = live * 2;
  config.max_levels = live * 2;
  config.auto_instruments = true;
  constexpr u64 kBatch = 64, kDatagram = 32;
  Bytes datagram[kDatagram];
  Figure figure, twin;
  u64 applied = 0;
  // Each pass replays the stream into fresh books; filling them is not measured.
  const u64 budget_ps = static_cast<u64>(o.seconds * 0.5e12);
  do {
    Market market(config);
    NaiveBooks naive(symbols);
    u64 seq = 0;
    Event e;
    for (const Message& m : s.setup) {
      market.on_message(s.at(m), ++seq, 1, e);
      naive.on_message(s.at(m));
    }
    for (std::size_t at = 0; at + kBatch <= s.steady.size(); at += kBatch) {
      const u64 t0 = b.ticks();
      for (u64 i = 0; i < kBatch; ++i) {
        if (i % kDatagram == 0) {
          for (u64 k = 0; k < kDatagram; ++k) datagram[k] = s.at(s.steady[at + i + k]);
          market.prefetch(datagram);
        }
        applied += market.on_message(s.at(s.steady[at + i]), ++seq, 1, e) == Market::Outcome::kApplied;
        keep(market.top(0).bid_ticks);
      }
      const u64 t1 = b.ticks();
      for (u64 i = 0; i < kBatch; ++i) {
        naive.on_message(s.at(s.steady[at + i]));
        keep(naive.best(1));
      }
      const u64 t2 = b.ticks();
      figure.record(b.ps(t1 - t0), kBatch);
      twin.record(b.ps(t2 - t1), kBatch);
    }
    if (market.live_orders() != naive.live()) fail("the books disagree about how many orders live");
  } while (figure.total_ps + twin.total_ps < budget_ps);
  if (applied != figure.items) fail("a message was not applied");
  b.report(name, figure, "std::unordered_map and std::map", twin,
           "\"symbols\": " + std::to_string(symbols) + ", \"live_orders\": " + std::to_string(live) + ", \"messages_a_datagram\": 32");
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  measure(o, "book_update_hot", 1, 5'000, 200'000);
  measure(o, "book_update_wide", 8'000, 400'000, 400'000);
}
