// How fast does the simulated exchange match? Twin: the textbook engine, a std::map of price to std::list of orders.
#include <list>
#include <map>
#include <unordered_map>

#include "core/rng.h"
#include "harness.h"
#include "venue/matching.h"

using namespace peregrine;
using namespace peregrine::bench;

namespace {

class Textbook {
 public:
  u64 enter(Side side, PriceTicks price, u32 qty, bool rest) {
    auto& other = sides_[index(opposite(side))];
    while (qty > 0 && !other.empty()) {
      const auto best = side == Side::kBuy ? other.begin() : std::prev(other.end());
      if (side == Side::kBuy ? best->first > price : best->first < price) break;
      auto& queue = best->second;
      while (qty > 0 && !queue.empty()) {
        Order& maker = queue.front();
        const u32 traded = qty < maker.qty ? qty : maker.qty;
        qty -= traded;
        filled_ += traded;
        if ((maker.qty -= traded) == 0) {
          where_.erase(maker.id);
          queue.pop_front();
        }
      }
      if (queue.empty()) other.erase(best);
    }
    if (qty == 0 || !rest) return 0;
    auto& queue = sides_[index(side)][price];
    queue.push_back({++next_, qty});
    where_[next_] = {side, price, std::prev(queue.end())};
    return next_;
  }
  void cancel(u64 id) {
    const auto it = where_.find(id);
    if (it == where_.end()) return;
    auto& side = sides_[index(it->second.side)];
    const auto level = side.find(it->second.price);
    level->second.erase(it->second.at);
    if (level->second.empty()) side.erase(level);
    where_.erase(it);
  }
  u64 filled() const { return filled_; }

 private:
  struct Order {
    u64 id;
    u32 qty;
  };
  struct Where {
    Side side;
    PriceTicks price;
    std::list<Order>::iterator at;
  };
  std::map<PriceTicks, std::list<Order>> sides_[2];
  std::unordered_map<u64, Where> where_;
  u64 next_ = 0, filled_ = 0;
};

struct Sink final : venue::MatchSink {
  u64 filled = 0;
  void on_fill(const venue::Fill& f) override { filled += f.qty; }
  void on_prevented(const venue::Prevented&) override {}
};

struct Op {
  bool cancel;
  bool ioc;
  Side side;
  PriceTicks price;
  u32 qty;
  u32 which;  // cancel: of the orders remembered
};

}  // namespace

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  constexpr u64 kBatch = 64;
  constexpr u32 kRemembered = 2048;
  Rng rng(8);
  std::vector<Op> ops(64'000);
  for (Op& op : ops) {
    const u64 roll = rng.below(100);
    op.cancel = roll >= 52;
    op.ioc = roll < 6;
    op.side = rng.below(2) == 0 ? Side::kBuy : Side::kSell;
    const i64 away = op.ioc ? -2 : static_cast<i64>(rng.below(40));
    op.price = op.side == Side::kBuy ? 1'000'000 - 100 * (1 + away) : 1'000'000 + 100 * (1 + away);
    op.qty = 100 * static_cast<u32>(1 + rng.below(5));
    op.which = static_cast<u32>(rng.below(kRemembered));
  }
  Sink sink;
  venue::MatchingConfig config;
  venue::Matching matching(config, &sink);
  Textbook textbook;
  std::vector<u64> mine(kRemembered), theirs(kRemembered);
  std::size_t at = 0, twin_at = 0;
  u32 slot = 0, twin_slot = 0;
  Figure figure, twin;
  b.in_turn(
      kBatch,
      [&] {
        for (u64 i = 0; i < kBatch; ++i) {
          const Op& op = ops[at];
          at = at + 1 == ops.size() ? 0 : at + 1;
          if (op.cancel) {
            matching.cancel(mine[op.which]);
            continue;
          }
          venue::OrderSpec s;
          s.side = op.side;
          s.price_ticks = op.price;
          s.qty = op.qty;
          s.tif = op.ioc ? venue::Tif::kIoc : venue::Tif::kDay;
          const venue::EnterResult r = matching.enter(s);
          if (!op.ioc) {
            // A slot that is taken again gives its order up: the number of live orders stays bounded.
            matching.cancel(mine[slot]);
            mine[slot] = r.handle;
            slot = (slot + 1) % kRemembered;
          }
        }
      },
      [&] {
        for (u64 i = 0; i < kBatch; ++i) {
          const Op& op = ops[twin_at];
          twin_at = twin_at + 1 == ops.size() ? 0 : twin_at + 1;
          if (op.cancel) {
            textbook.cancel(theirs[op.which]);
            continue;
          }
          const u64 id = textbook.enter(op.side, op.price, op.qty, !op.ioc);
          if (!op.ioc) {
            textbook.cancel(theirs[twin_slot]);
            theirs[twin_slot] = id;
            twin_slot = (twin_slot + 1) % kRemembered;
          }
        }
      },
      figure, twin);
  if (sink.filled != textbook.filled()) fail("the two engines did not trade the same");
  b.report("matching", figure, "std::map of std::list", twin,
           "\"live_orders\": " + std::to_string(matching.live_orders()));
}
