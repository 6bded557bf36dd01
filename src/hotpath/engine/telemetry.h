// What a running engine shows: fills the region "telemetry" of its shared segment.
//
// Layout (all little-endian, blocks 64-byte aligned; the reader is orchestrator/observe/telemetry.py):
//
//   header 64 B | counters n × 32 B | instruments n × 64 B | histogram heads n × 64 B | Histogram objects
//
// The engine's thread is the only writer: relaxed 8-byte stores, no system call, no wait.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "core/histogram.h"
#include "core/types.h"

namespace peregrine::engine {

// Order and names are part of the layout: telemetry.py's COUNTERS is tested equal.
#define PEREGRINE_COUNTERS(X)                                                                                       \
  X(now_ns) X(started_ns) X(events) X(malformed) X(decisions) X(held) X(orders) X(cancels) X(acks) X(fills)         \
  X(filled_lots) X(rejects) X(risk_rejects) X(working_orders) X(unknown_orders) X(pnl_units) X(fees_units)          \
  X(feed_state) X(session_ready) X(trading_state) X(gaps) X(recovered) X(snapshots) X(stale_ns) X(reconnects)       \
  X(journal_seq) X(journal_bytes) X(journal_free_bytes) X(policy_version) X(inputs) X(idle_polls)        \
  X(overruns) X(breakers_open) X(breaker_trips) X(gross_units) X(lease_units) X(lease_lots) X(lease_epoch)

enum class Counter : u32 {
#define X(name) name,
  PEREGRINE_COUNTERS(X)
#undef X
      kCount
};

#define PEREGRINE_HISTOGRAMS(X) \
  X(tick_to_order) X(decode_book) X(features) X(policy) X(risk) X(encode_journal) X(send) X(order_to_ack) X(noise)

enum class Hist : u32 {
#define X(name) name,
  PEREGRINE_HISTOGRAMS(X)
#undef X
      kCount
};

struct InstrumentTelemetry {
  u8 symbol[8];
  i64 bid_ticks, ask_ticks, last_ticks, position_lots, pnl_units, working_lots, state;
};
static_assert(sizeof(InstrumentTelemetry) == 64);

class Telemetry {
 public:
  static std::size_t bytes_needed(std::size_t instruments);
  // `memory` is zeroed, 64-byte aligned and at least bytes_needed(); it outlives this object.
  Telemetry(u8* memory, const std::vector<std::string>& symbols, i64 units_per_currency);

  void set(Counter c, i64 v) { store(counters_ + static_cast<u32>(c) * 32 + 24, v); }
  i64 get(Counter c) const { return load(counters_ + static_cast<u32>(c) * 32 + 24); }
  void add(Counter c, i64 v) { set(c, get(c) + v); }
  void set_instrument(u32 ix, const InstrumentTelemetry& t);
  Histogram& hist(Hist h) { return *histograms_[static_cast<u32>(h)]; }
  const Histogram& hist(Hist h) const { return *histograms_[static_cast<u32>(h)]; }
  // Copies each histogram's max, min and sum into its head; cheap, called from the 100 ms timer.
  void publish();

 private:
  static void store(u8* p, i64 v) { reinterpret_cast<std::atomic<i64>*>(p)->store(v, std::memory_order_relaxed); }
  static i64 load(const u8* p) { return reinterpret_cast<const std::atomic<i64>*>(p)->load(std::memory_order_relaxed); }

  u8* base_;
  u8* counters_;
  u8* instruments_;
  u8* heads_;
  u32 n_instruments_;
  Histogram* histograms_[static_cast<u32>(Hist::kCount)] = {};
};

}  // namespace peregrine::engine
