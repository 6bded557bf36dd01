// How fast does virtual time go: exchange, engine, gate and journal in one loop, by feed message?
// `virtual_time_throughput`: generated flow, a decision at every book change. Twin: the exchange and its flow alone.
// `virtual_time_recorded`: a recorded day's orders drive the exchange, ours queue among them, a decision each 10 ms.
// Twin: the exchange driven by that recording alone. The recording is left in --dir for other backtesters
// (bench/rivals/virtual_hftbacktest.py), so that they get the same events.
#include <filesystem>
#include <fstream>

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
constexpr TimeNs kWakeNs = 10'000'000;

venue::VirtualConfig virtual_config(const Spec& spec) {
  venue::VirtualConfig config;
  config.exchange = exchange_config_from(spec, spec.number("midnight_ns"));
  config.flow = flow_params_from(spec);
  config.feed.kind = config.order.kind = config.answer.kind = venue::LatencyModel::Kind::kConstant;
  config.feed.min_ns = config.feed.max_ns = 20'000;
  config.order.min_ns = config.order.max_ns = config.answer.min_ns = config.answer.max_ns = 20'000;
  config.start_ns = spec.number("start_ns");
  config.duration_ns = 3'600'000'000'000;
  return config;
}

// The messages of the generated flow with nobody else trading, as a recorded file holds them: u16 length, message.
std::vector<u8> record(const Spec& spec, TimeNs duration_ns) {
  struct Recorder final : venue::ExchangeSink {
    std::vector<u8> bytes;
    void ouch(venue::PortIx, u64, Bytes) override {}
    void itch(u64, u16, Bytes m) override {
      u8 length[2];
      store_be16(length, static_cast<u16>(m.size()));
      bytes.insert(bytes.end(), length, length + 2);
      bytes.insert(bytes.end(), m.begin(), m.end());
    }
  } recorder;
  const venue::VirtualConfig config = virtual_config(spec);
  venue::Exchange exchange(config.exchange, &recorder);
  exchange.start(config.start_ns);
  exchange.set_session_state(venue::SessionState::kOpen, config.start_ns);
  venue::Flow flow(config.flow, exchange);
  flow.begin(config.start_ns);
  flow.seed_books(config.start_ns);
  while (flow.next_ns() <= config.start_ns + duration_ns) flow.step();
  return std::move(recorder.bytes);
}

// A run with its own journal on disk.
struct JournaledRun {
  JournaledRun(const Bench& b, const Spec& spec, const venue::VirtualConfig& config, TimeNs decision_interval_ns,
               Bytes recording)
      : shard(shard_config(spec, decision_interval_ns)) {
    load_default_policy(shard, spec);
    static int runs = 0;
    journal::RecoverOptions recover;
    recover.dir = dir = b.options().dir + "/journal" + std::to_string(runs++);
    recover.ring_name = "peregrine-bench-virtual-" + std::to_string(::getpid());
    recover.now_ns = config.start_ns;
    journal::RingOptions ring;
    ring.ring_bytes = 64u << 20;
    journal::WriterOptions writer;
    writer.sync = journal::SyncPolicy::kNever;
    journal::JournalError error;
    if (!journal::open_journal(recover, ring, 1u << 20, writer, journal, error)) fail(error.text());
    runner = std::make_unique<engine::StepRunner>(shard, journal.appender.get());
    run = std::make_unique<venue::VirtualRun>(config, *runner, recording, journal.writer.get());
  }
  ~JournaledRun() {
    if (run->journal_failed()) fail("the journal refused a record");
    journal::JournalError error;
    if (!journal.writer->close(error)) fail(error.text());
    std::filesystem::remove_all(dir);
  }
  static engine::ShardConfig shard_config(const Spec& spec, TimeNs decision_interval_ns) {
    engine::ShardConfig c = shard_config_from(spec);
    c.decision_interval_ns = decision_interval_ns;
    return c;
  }

  std::string dir;
  engine::Shard shard;
  journal::OpenJournal journal;
  std::unique_ptr<engine::StepRunner> runner;
  std::unique_ptr<venue::VirtualRun> run;
};

void generated(Bench& b, const Spec& spec) {
  const venue::VirtualConfig config = virtual_config(spec);
  const TimeNs start = config.start_ns;
  Figure figure, twin;
  u64 virtual_ns = 0;
  const u64 end = b.ticks() + static_cast<u64>(b.options().seconds / 2 * static_cast<double>(b.clock().frequency_hz()));
  do {
    JournaledRun ours(b, spec, config, 0, {});
    venue::VirtualRun& run = *ours.run;
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
  } while (b.ticks() < end);
  const double wall_s = static_cast<double>(figure.total_ps) * 1e-12;
  b.report("virtual_time_throughput", figure, "the exchange and its flow alone", twin,
           "\"symbols\": 1, \"decision_interval_ns\": 0, \"virtual_seconds_per_second\": " +
               std::to_string(wall_s > 0 ? static_cast<double>(virtual_ns) * 1e-9 / wall_s : 0.0));
}

void recorded(Bench& b, const Spec& spec) {
  const TimeNs duration = b.options().seconds < 3 ? 60'000'000'000 : 300'000'000'000;
  const std::vector<u8> bytes = record(spec, duration);
  {
    std::ofstream out(b.options().dir + "/recording.itch", std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  venue::VirtualConfig config = virtual_config(spec);
  config.recorded = true;
  const Bytes recording(bytes.data(), bytes.size());
  Figure figure, twin;
  u64 messages = 0, orders = 0, fills = 0;
  const u64 end = b.ticks() + static_cast<u64>(b.options().seconds / 2 * static_cast<double>(b.clock().frequency_hz()));
  do {
    JournaledRun ours(b, spec, config, kWakeNs, recording);
    Nobody nobody;
    venue::Exchange exchange(config.exchange, &nobody);
    exchange.start(config.start_ns);
    exchange.set_session_state(venue::SessionState::kOpen, config.start_ns);
    venue::RecordedFlow flow(recording, 0, 0, 100, exchange);
    flow.begin(config.start_ns);
    for (TimeNs t = kStepNs; t <= duration; t += kStepNs) {
      const u64 before = ours.run->feed_messages(), told = nobody.messages;
      const u64 t0 = b.ticks();
      ours.run->run(kStepNs);
      const u64 t1 = b.ticks();
      while (flow.next_ns() <= config.start_ns + t) flow.step();
      const u64 t2 = b.ticks();
      if (const u64 n = ours.run->feed_messages() - before; n > 0) figure.record(b.ps(t1 - t0), n);
      if (const u64 n = nobody.messages - told; n > 0) twin.record(b.ps(t2 - t1), n);
    }
    messages = ours.run->feed_messages();
    const engine::ShardCounters& c = ours.shard.counters();
    orders = c.orders + c.replaces + c.cancels, fills = c.fills;
  } while (b.ticks() < end);
  b.report("virtual_time_recorded", figure, "the exchange driven by the recording alone", twin,
           "\"symbols\": 1, \"decision_interval_ns\": " + std::to_string(kWakeNs) + ", \"messages\": " +
               std::to_string(messages) + ", \"orders\": " + std::to_string(orders) + ", \"fills\": " +
               std::to_string(fills) + ", \"journal\": \"inputs and outputs in full\"");
}

}  // namespace

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  const Spec spec(b.options().spec);
  generated(b, spec);
  recorded(b, spec);
}
