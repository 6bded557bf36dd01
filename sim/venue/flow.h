// Background order flow: a seeded generator with integer arithmetic only, and the replay of a recorded ITCH file.
//
// Generator: around a hidden value that wanders (pulled back to its anchor, pushed by bursts of momentum) several
// background participants add, cancel and take. They lean towards the value, so imbalance and signed flow carry
// information about where the price goes next. Same seed and parameters, same messages on every machine.
#pragma once

#include <unordered_map>
#include <vector>

#include "core/rng.h"
#include "core/types.h"
#include "venue/exchange.h"

namespace peregrine::venue {

struct FlowParams {
  u64 seed = 7;
  u32 rate_per_s = 2000;          // events per second and symbol; 0 = no flow
  u32 participants = 8;
  // Event mix per 10,000, the rest are adds (calibrated on the AAPL recordings, see docs/concepts/venue.md).
  u32 take_per_10k = 500;
  u32 cancel_per_10k = 4600;
  u32 partial_per_10k = 55;
  u32 replace_per_10k = 100;
  u32 hidden_per_10k = 600;       // of adds
  u32 target_orders = 240;        // live background orders a symbol the cancel rate pulls towards
  u32 touch_levels = 24;          // how far from the touch adds reach, in increments
  u32 value_step_256 = 40;        // random walk step of the value per event, 1/256 increment
  u32 revert_shift = 12;          // pull of the anchor: (anchor - value) >> shift per event
  u32 burst_per_10k = 4;          // a momentum burst starts
  u32 burst_events = 300;         // mean length of a burst
  u32 burst_step_256 = 10;        // drift during a burst
  u32 lean_per_increment = 1400;  // per 10,000: how much an increment of mispricing moves the takers' side
};

class Flow {
 public:
  Flow(const FlowParams& params, Exchange& exchange);

  // When the next event is due; `begin` sets the origin.
  void begin(TimeNs now_ns);
  TimeNs next_ns() const { return next_ns_; }
  // Does the next event at its own time and schedules the one after it.
  void step();
  // Fills the empty books around the reference price (done at the open).
  void seed_books(TimeNs now_ns);
  u64 events() const { return events_; }
  PriceTicks value_ticks(u32 symbol) const;

 private:
  struct SymbolState {
    i64 anchor_256;   // in 1/256 increments
    i64 value_256;
    i64 drift_256 = 0;
    u32 burst_left = 0;
    std::vector<OrderHandle> live;
  };

  void event(u32 symbol, TimeNs now_ns);
  void add(u32 symbol, Side side, TimeNs now_ns);
  void take(u32 symbol, TimeNs now_ns);
  void remove(u32 symbol, TimeNs now_ns, u32 kind);
  OrderHandle pick(SymbolState& s);
  void move_value(SymbolState& s);
  u32 draw_qty();
  i64 exponential_ns(i64 mean_ns);

  FlowParams params_;
  Exchange& exchange_;
  Rng rng_;
  std::vector<SymbolState> symbols_;
  TimeNs next_ns_ = INT64_MAX;
  u64 events_ = 0;
  u64 next_tag_ = 1;
};

// Replays the orders of an ITCH file (u16 length + message blocks) into the exchange. Adds, partial cancels,
// deletes and replaces are done as recorded; an execution becomes a marketable order of that size from the other
// side, so orders of ours that stand in front are filled first.
class RecordedFlow {
 public:
  // `file` must outlive this object. `source_locate` 0 = the first stock that has orders.
  RecordedFlow(Bytes file, u16 source_locate, u32 symbol, u32 speed_percent, Exchange& exchange);

  void begin(TimeNs now_ns);
  TimeNs next_ns() const { return next_ns_; }
  void step();
  u64 events() const { return events_; }
  u64 dropped() const { return dropped_; }  // references not live here any more: our orders took part
  bool done() const { return next_ns_ == INT64_MAX; }

 private:
  void advance();
  void apply(Bytes message, TimeNs now_ns);

  Bytes file_;
  u16 source_locate_;
  u32 symbol_;
  u32 speed_percent_;
  Exchange& exchange_;
  std::unordered_map<u64, OrderHandle> live_;
  std::size_t at_ = 0;
  Bytes pending_;
  u64 first_ts_ns_ = 0;
  bool have_first_ = false;
  TimeNs origin_ns_ = 0;
  TimeNs next_ns_ = INT64_MAX;
  u64 events_ = 0;
  u64 dropped_ = 0;
};

}  // namespace peregrine::venue
