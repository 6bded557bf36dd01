// Virtual time: the exchange and a shard in one process, the very objects of the live engine, no sockets, no clock.
//
//   flow ─▶ exchange ──ITCH, feed latency──▶ shard
//              ▲  └────OUCH, answer latency──▶ shard
//              └───────OUCH, order latency──── shard
//
// Same configuration and seed, same orders, bit for bit. What happens at one instant happens in this order: orders
// reach the exchange, the flow acts, feed messages and then session packets reach the shard, timers fire.
#pragma once

#include <functional>
#include <memory>

#include "engine/step_runner.h"
#include "journal/writer.h"
#include "venue/exchange.h"
#include "venue/flow.h"
#include "venue/latency.h"
#include "venue/packet_queue.h"

namespace peregrine::venue {

struct VirtualConfig {
  ExchangeConfig exchange;
  FlowParams flow;
  bool recorded = false;          // the flow is a recorded ITCH file (given to the constructor)
  u16 source_locate = 0;
  u32 speed_percent = 100;
  LatencyModel feed, order, answer;
  u64 latency_seed = 1;
  TimeNs start_ns = 0;            // since the epoch
  TimeNs duration_ns = 60'000'000'000;
  PortIx port = 0;
};

class VirtualRun final : private ExchangeSink {
 public:
  // `runner` and `recording` must outlive this object. `writer` may be null; it is drained step by step.
  VirtualRun(const VirtualConfig& config, engine::StepRunner& runner, Bytes recording, journal::Writer* writer);

  // Runs to the end, or for `budget_ns` more of virtual time. False when the end is reached.
  bool run(TimeNs budget_ns = INT64_MAX);
  // Cancels what works and lets the answers arrive (at most a virtual second), then the run is over.
  void finish();

  const Exchange& exchange() const { return exchange_; }
  TimeNs now_ns() const { return now_ns_; }
  u64 feed_messages() const { return feed_messages_; }
  bool journal_failed() const { return journal_failed_; }

 private:
  void ouch(PortIx port, u64 seq, Bytes message) override;
  void itch(u64 seq, u16 locate, Bytes message) override;
  void consume(journal::RecordType type, Bytes head, Bytes body = {});
  void after_step();
  void connect();
  void step_flow();
  TimeNs flow_next() const;
  bool advance(TimeNs limit);

  VirtualConfig config_;
  engine::StepRunner& runner_;
  journal::Writer* writer_;
  Exchange exchange_;
  std::unique_ptr<Flow> flow_;
  std::unique_ptr<RecordedFlow> recorded_;
  Rng latency_;
  PacketQueue to_exchange_, to_feed_, to_session_;
  TimeNs now_ns_;
  TimeNs end_ns_;
  TimeNs housekeeping_ns_;
  TimeNs state_hash_ns_;
  u64 feed_messages_ = 0;
  u64 drained_ = 0;
  bool flow_on_ = true;
  bool journal_failed_ = false;
};

}  // namespace peregrine::venue
