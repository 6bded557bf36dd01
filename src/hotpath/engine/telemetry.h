// What a running engine shows: fills the region "telemetry" of its shared segment.
//
// Layout (all little-endian, blocks 64-byte aligned; the reader is orchestrator/observe/telemetry.py):
//
//   header 64 B | counters n × 32 B | instruments n × 64 B | histogram heads n × 64 B | Histogram objects
//   | reject counts n × 32 B | instrument limits n × 64 B
//
// The engine's thread is the only writer: relaxed 8-byte stores, no system call, no wait.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "core/histogram.h"
#include "core/types.h"
#include "engine/shard_config.h"

namespace peregrine::engine {

// Order and names are part of the layout: telemetry.py's COUNTERS is tested equal.
#define PEREGRINE_COUNTERS(X)                                                                                       \
  X(now_ns) X(started_ns) X(events) X(malformed) X(decisions) X(held) X(orders) X(cancels) X(acks) X(fills)         \
  X(filled_lots) X(rejects) X(risk_rejects) X(working_orders) X(unknown_orders) X(pnl_units) X(fees_units)          \
  X(feed_state) X(session_ready) X(trading_state) X(gaps) X(recovered) X(snapshots) X(stale_ns) X(reconnects)       \
  X(journal_seq) X(journal_bytes) X(journal_free_bytes) X(policy_version) X(inputs) X(idle_polls)        \
  X(overruns)                                                                                                        \
  X(journal_ring_bytes) X(account_orders) X(limit_account_orders) X(account_units) X(limit_account_units)            \
  X(gross_units) X(limit_gross_units) X(credit_units) X(limit_credit_units) X(loss_units) X(limit_loss_units)        \
  X(drawdown_units) X(limit_drawdown_units) X(window_messages) X(limit_messages) X(lease_units) X(soft_permille)     \
  X(device_used) X(device_fallback) X(device_late) X(device_dropped) X(device_wrong) X(device_full)        \
  X(lag_ns) X(stalls) X(stall_max_ns) X(thread) X(active_symbols) X(positions) X(limit_positions) X(soft_positions) \
  X(breakers_open) X(breaker_trips) X(lease_lots) X(lease_epoch) X(breakers_cooling) X(device_state)        \
  X(device_asked) X(device_missed) X(device_failed) X(device_trips)         \
  X(clock_offset_ns) X(clock_steps) X(session_phase) X(lost_orders) X(lost_messages)

enum class Counter : u32 {
#define X(name) name,
  PEREGRINE_COUNTERS(X)
#undef X
      kCount
};

#define PEREGRINE_HISTOGRAMS(X) \
  X(tick_to_order) X(decode_book) X(features) X(policy) X(risk) X(encode_journal) X(send) X(order_to_ack) X(noise) \
  X(lag) X(round)

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

// One instrument's limits in force and what is used of them; lots and money of positions are worst case.
struct LimitTelemetry {
  i64 worst_long_lots, limit_long_lots, worst_short_lots, limit_short_lots;
  i64 working_orders, limit_working_orders, working_units, limit_working_units;
};
static_assert(sizeof(LimitTelemetry) == 64);

class Telemetry {
 public:
  static std::size_t bytes_needed(std::size_t instruments);
  // `memory` is zeroed, 64-byte aligned and at least bytes_needed(); it outlives this object.
  Telemetry(u8* memory, const std::vector<std::string>& symbols, i64 units_per_currency);

  void set(Counter c, i64 v) { store(counters_ + static_cast<u32>(c) * 32 + 24, v); }
  i64 get(Counter c) const { return load(counters_ + static_cast<u32>(c) * 32 + 24); }
  void add(Counter c, i64 v) { set(c, get(c) + v); }
  void set_instrument(u32 ix, const InstrumentTelemetry& t);
  void set_limits(u32 ix, const LimitTelemetry& t);
  // Refusals so far: by the gate for reason `r`, by the venue with the code `c` (the last code stands for all above).
  void set_risk_rejects(u32 r, u64 n) { store(rejects_ + r * 32 + 24, static_cast<i64>(n)); }
  void set_venue_rejects(u32 c, u64 n) { store(rejects_ + (kRiskReasons + c) * 32 + 24, static_cast<i64>(n)); }
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
  u8* rejects_;
  u8* limits_;
  u32 n_instruments_;
  Histogram* histograms_[static_cast<u32>(Hist::kCount)] = {};
};

}  // namespace peregrine::engine
