// How fast does virtual time go: exchange, engine, gate and journal in one loop, by feed message?
// Twin: the exchange and its flow alone.
#include <filesystem>

#include "journal/recover.h"
#include "pipeline.h"
#include "venue/virtual_run.h"

using namespace peregrine;
using namespace peregrine::bench;

namespace {

struct Nobody final : venue::ExchangeSink {
  u64 messages = 0;
  void ouch(venue::PortIx, u64, Bytes) override {}
  void itch(u64, u16, Bytes) override { ++messages; }
};

constexpr TimeNs kStepNs = 50'000'000;  // of virtual time, a batch

}  // namespace

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  const Spec spec(b.options().spec);
  const TimeNs start = spec.number("start_ns");
  Figure figure, twin;
  u64 virtual_ns = 0;
  int passes = 0;
  const u64 end = b.ticks() + static_cast<u64>(b.options().seconds * static_cast<double>(b.clock().frequency_hz()));
  do {
    venue::VirtualConfig config;
    config.exchange = exchange_config_from(spec, spec.number("midnight_ns"));
    config.flow = flow_params_from(spec);
    config.feed.kind = config.order.kind = config.answer.kind = venue::LatencyModel::Kind::kConstant;
    config.feed.min_ns = config.feed.max_ns = 20'000;
    config.order.min_ns = config.order.max_ns = config.answer.min_ns = config.answer.max_ns = 20'000;
    config.start_ns = start;
    config.duration_ns = 3'600'000'000'000;

    engine::Shard shard(shard_config_from(spec));
    load_default_policy(shard, spec);
    journal::OpenJournal journal;
    journal::RecoverOptions recover;
    recover.dir = b.options().dir + "/journal" + std::to_string(passes++);
    recover.ring_name = "peregrine-bench-virtual-" + std::to_string(::getpid());
    recover.now_ns = start;
    journal::RingOptions ring;
    ring.ring_bytes = 64u << 20;
    journal::WriterOptions writer;
    writer.sync = journal::SyncPolicy::kNever;
    journal::JournalError error;
    if (!journal::open_journal(recover, ring, 1u << 20, writer, journal, error)) fail(error.text());
    engine::StepRunner runner(shard, journal.appender.get());
    venue::VirtualRun run(config, runner, {}, journal.writer.get());

    Nobody nobody;
    venue::Exchange exchange(config.exchange, &nobody);
    exchange.start(start);
    exchange.set_session_state(venue::SessionState::kOpen, start);
    venue::Flow flow(config.flow, exchange);
    flow.begin(start);
    flow.seed_books(start);

    for (TimeNs t = kStepNs; t <= 120'000'000'000 && b.ticks() < end; t += kStepNs) {
      const u64 before = run.feed_messages();
      const u64 t0 = b.ticks();
      run.run(kStepNs);
      const u64 t1 = b.ticks();
      const u64 told = nobody.messages;
      const u64 t2 = b.ticks();
      while (flow.next_ns() <= start + t) flow.step();
      const u64 t3 = b.ticks();
      if (const u64 n = run.feed_messages() - before; n > 0) figure.record(b.ps(t1 - t0), n);
      if (const u64 n = nobody.messages - told; n > 0) twin.record(b.ps(t3 - t2), n);
      virtual_ns += kStepNs;
    }
    if (run.journal_failed()) fail("the journal refused a record");
    if (!journal.writer->close(error)) fail(error.text());
    std::filesystem::remove_all(recover.dir);
  } while (b.ticks() < end);
  const double wall_s = static_cast<double>(figure.total_ps) * 1e-12;
  b.report("virtual_time_throughput", figure, "the exchange and its flow alone", twin,
           "\"symbols\": 1, \"virtual_seconds_per_second\": " +
               std::to_string(wall_s > 0 ? static_cast<double>(virtual_ns) * 1e-9 / wall_s : 0.0));
}
