// A synthetic stream of order messages that keeps a number of orders alive: what decoding and book benches read.
#pragma once

#include <string>
#include <vector>

#include "core/rng.h"
#include "market/itch.h"

namespace peregrine::bench {

struct Message {
  u32 offset;
  u32 size;
};

struct ItchStream {
  std::vector<u8> bytes;
  std::vector<Message> setup;   // directory, states, and the adds that fill the books
  std::vector<Message> steady;  // as many orders come as go

  Bytes at(const Message& m) const { return Bytes(bytes.data() + m.offset, m.size); }
};

class ItchStreamMaker {
 public:
  ItchStreamMaker(u32 symbols, u32 live_orders, u64 seed) : rng_(seed), symbols_(symbols), target_(live_orders) {}

  ItchStream make(std::size_t steady_messages) {
    itch::SystemEvent open;
    open.code = 'Q';
    put(open, out_.setup);
    for (u32 s = 0; s < symbols_; ++s) {
      itch::StockDirectory d;
      d.locate = static_cast<u16>(s + 1);
      d.stock = stock(s);
      put(d, out_.setup);
      itch::TradingAction a;
      a.locate = d.locate;
      a.stock = d.stock;
      a.state = 'T';
      put(a, out_.setup);
    }
    while (live_.size() < target_) add(out_.setup);
    while (out_.steady.size() < steady_messages) step();
    return std::move(out_);
  }

 private:
  struct Live {
    u64 ref;
    u32 symbol;
    u32 shares;
    Side side;
  };

  template <class T>
  void put(T& m, std::vector<Message>& list) {
    m.ts_ns = 34'200'000'000'000ull + 1000 * ++clock_;
    u8 buffer[64];
    const std::size_t n = itch::encode(m, buffer);
    list.push_back({static_cast<u32>(out_.bytes.size()), static_cast<u32>(n)});
    out_.bytes.insert(out_.bytes.end(), buffer, buffer + n);
  }
  static itch::Stock stock(u32 symbol) { return itch::Stock::from("S" + std::to_string(symbol)); }
  u32 price(u32 symbol, Side side) {
    // Most orders near the touch, some far out; buys below 100.00, sells above.
    const u64 far = rng_.below(10) == 0 ? rng_.below(200) : rng_.below(24) * rng_.below(24) / 24;
    const u32 mid = 1'000'000 + 100 * (symbol % 50);
    return side == Side::kBuy ? mid - 100 * static_cast<u32>(1 + far) : mid + 100 * static_cast<u32>(1 + far);
  }
  void add(std::vector<Message>& list) {
    itch::AddOrder m;
    const u32 symbol = static_cast<u32>(rng_.below(symbols_));
    m.locate = static_cast<u16>(symbol + 1);
    m.ref = ++ref_ * 4;
    m.side = rng_.below(2) == 0 ? Side::kBuy : Side::kSell;
    m.shares = 100 * static_cast<u32>(1 + rng_.below(9));
    m.stock = stock(symbol);
    m.price_ticks = price(symbol, m.side);
    put(m, list);
    live_.push_back({m.ref, symbol, m.shares, m.side});
  }
  void step() {
    const u64 roll = rng_.below(100);
    if (live_.size() < target_ || roll < 40) return add(out_.steady);
    const std::size_t at = rng_.below(live_.size());
    Live& l = live_[at];
    const u16 locate = static_cast<u16>(l.symbol + 1);
    if (roll < 46 && l.shares > 100) {
      itch::OrderExecuted m;
      m.locate = locate, m.ref = l.ref, m.shares = 100, m.match = ++match_;
      l.shares -= 100;
      return put(m, out_.steady);
    }
    if (roll < 50 && l.shares > 100) {
      itch::OrderCancel m;
      m.locate = locate, m.ref = l.ref, m.shares = 100;
      l.shares -= 100;
      return put(m, out_.steady);
    }
    if (roll < 58) {
      itch::OrderReplace m;
      m.locate = locate, m.ref = l.ref, m.new_ref = ++ref_ * 4, m.shares = l.shares, m.price_ticks = price(l.symbol, l.side);
      l.ref = m.new_ref;
      return put(m, out_.steady);
    }
    itch::OrderDelete m;
    m.locate = locate, m.ref = l.ref;
    put(m, out_.steady);
    l = live_.back();
    live_.pop_back();
  }

  Rng rng_;
  u32 symbols_;
  u32 target_;
  ItchStream out_;
  std::vector<Live> live_;
  u64 ref_ = 0, match_ = 0, clock_ = 0;
};

}  // namespace peregrine::bench
