// From the bytes of a packet to the bytes of its order, journal and gate on: how long, and how many orders a second?
// Twin: the same engine with the journal off. Only packets that gave an order count; they come back to back.
// Orders a second: the time of those packets and of every answer of the venue, by order; quiet packets left out.
#include <unistd.h>

#include "pipeline.h"

using namespace peregrine;
using namespace peregrine::bench;

namespace {

constexpr std::size_t kChunk = 256;  // script items between two changes of turn

class Stages final : public engine::StageProbe {
 public:
  explicit Stages(const Bench& b) : b_(b) {}
  void begin() { last_ = b_.ticks(); }
  void mark(engine::Stage s) override {
    const u64 t = b_.ticks();
    figures_[static_cast<u8>(s)].record(b_.ps(t - last_), 1);
    last_ = b_.ticks();
  }
  std::string text() const {
    static constexpr const char* kNames[] = {"decode_book", "features", "policy", "risk", "encode_journal"};
    std::string out;
    for (int i = 0; i < 5; ++i) {
      out += std::string(i == 0 ? "" : ", ") + "\"" + kNames[i] + "\": " +
             std::to_string(figures_[i].ps->percentile(50) / 1000);
    }
    return out;
  }

 private:
  const Bench& b_;
  u64 last_ = 0;
  Figure figures_[5];
};

struct Lane {
  std::unique_ptr<Pipeline> pipeline;
  Figure order, packet, orders_per_second;

  void chunk(Bench& b, const Script& s, std::size_t from, std::size_t to) {
    Pipeline& p = *pipeline;
    const u64 orders_before = p.orders();
    u64 took_ps = 0;
    for (std::size_t i = from; i < to; ++i) {
      if (s.items[i].kind != ScriptItem::Kind::kPacket) {
        const u64 t0 = b.ticks();
        play(p, s, s.items[i]);
        if (s.items[i].kind == ScriptItem::Kind::kSession) took_ps += b.ps(b.ticks() - t0);
        continue;
      }
      const u64 before = p.orders();
      const u64 t0 = b.ticks();
      p.packet(s.at(s.items[i]), s.items[i].at);
      const u64 t1 = b.ticks();
      packet.record(b.ps(t1 - t0), 1);
      if (p.orders() == before || p.order_ticks() == 0) continue;
      order.record(b.ps(p.order_ticks() - t0), 1);
      took_ps += b.ps(t1 - t0);
    }
    if (const u64 n = p.orders() - orders_before; n > 0) orders_per_second.record(took_ps, n);
    p.out().clear();
  }
};

}  // namespace

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  const Spec spec(b.options().spec);
  ScriptMaker maker(spec, b.clock());
  const Script script = maker.make(b.options().seconds < 3 ? 40'000 : 200'000);
  if (script.orders < 100) fail("the script has only " + std::to_string(script.orders) + " orders");

  journal::RingOptions options;
  options.name = "peregrine-bench-" + std::to_string(::getpid());
  options.journal_dir = b.options().dir;
  options.ring_bytes = 64u << 20;
  journal::JournalError error;
  const std::unique_ptr<journal::Appender> appender = journal::Appender::create(options, 1u << 20, error);
  if (appender == nullptr) fail(error.text());

  Lane journaled, bare;
  Stages stages(b);
  const u64 end = b.ticks() + static_cast<u64>(b.options().seconds * static_cast<double>(b.clock().frequency_hz()));
  do {
    journaled.pipeline = std::make_unique<Pipeline>(spec, b.clock(), appender.get());
    bare.pipeline = std::make_unique<Pipeline>(spec, b.clock(), nullptr);
    for (Lane* s : {&journaled, &bare}) {
      s->pipeline->out().reserve(1u << 20);
      s->pipeline->start(script.items[0].at);
    }
    for (std::size_t i = 0; i < script.items.size(); i += kChunk) {
      const std::size_t to = i + kChunk < script.items.size() ? i + kChunk : script.items.size();
      journaled.chunk(b, script, i, to);
      journal::RingHeader& h = appender->ring()->header();
      h.tail.store(h.head.load());  // the writer's part: what is there counts as written
      bare.chunk(b, script, i, to);
    }
    if (journaled.pipeline->shard().order_hash() != script.order_hash) fail("the script gave other orders than before");
    if (bare.pipeline->shard().order_hash() != script.order_hash) fail("the twin gave other orders than the engine");
  } while (b.ticks() < end);

  // Where the time goes, in a pass of its own: each mark costs a reading of the counter.
  Pipeline probed(spec, b.clock(), appender.get());
  probed.shard().set_probe(&stages);
  probed.start(script.items[0].at);
  for (std::size_t i = 0; i < script.items.size(); ++i) {
    stages.begin();
    play(probed, script, script.items[i]);
    if (i % kChunk == 0) {
      appender->ring()->header().tail.store(appender->ring()->header().head.load());
      probed.out().clear();
    }
  }
  appender->ring()->remove();

  const engine::ShardCounters& c = probed.shard().counters();
  const auto n = [](u64 v) { return std::to_string(v); };
  const std::string notes = "\"script_packets\": " + n(script.packets) + ", \"script_orders\": " + n(script.orders) +
                            ", \"decisions\": " + n(c.decisions) + ", \"cancels\": " + n(c.cancels) +
                            ", \"risk_rejects\": " + n(c.risk_rejects) + ", \"fills\": " + n(c.fills) +
                            ", \"symbols\": 1, \"live_orders\": " + n(probed.shard().market().live_orders()) +
                            ", \"ring_bytes\": 67108864, \"packet_p50_ns\": " +
                            n(static_cast<u64>(journaled.packet.ps->percentile(50)) / 1000) + ", \"packet_mean_ns\": " +
                            n(journaled.packet.total_ps / (journaled.packet.items * 1000)) + ", \"stages_p50_ns\": {" +
                            stages.text() + "}";
  b.report("tick_to_order", journaled.order, "the same engine, journal off", bare.order, notes);
  b.report("orders_per_second", journaled.orders_per_second, "the same engine, journal off", bare.orders_per_second, notes);
}
