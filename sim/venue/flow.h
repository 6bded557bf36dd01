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

// Shares per 10,000 unless the name says otherwise; calibrated on the AAPL recordings (docs/concepts/venue.md).
struct FlowParams {
  u64 seed = 7;
  u32 rate_per_s = 2000;  // events per second and symbol; 0 = no flow
  u32 participants = 8;
  // The event mix; the rest are adds.
  u32 take = 500;
  u32 cancel = 4300;  // at target_orders; more when the book is fuller, fewer when it is thinner
  u32 partial = 56;
  u32 replace = 100;
  u32 hidden = 950;          // of adds
  u32 improve = 3500;        // of adds, at the usual spread: inside it
  u32 join = 900;            // of adds: at the touch
  u32 recent_cancel = 6500;  // of cancels: one of the youngest orders
  u32 touch_cancel = 2200;   // of cancels while the spread is narrower than usual: the touch gives way
  u32 recent = 5;            // how many orders count as the youngest
  u32 target_orders = 340;   // live background orders a symbol
  u32 usual_spread = 26;     // increments
  u32 value_step_256 = 384;  // random walk of the value per event, up to this many 1/256 increments each way
  u32 revert_shift = 14;     // pull of the anchor: (anchor - value) >> shift per event
  u32 burst = 4;             // per 10,000 events: momentum starts
  u32 burst_events = 300;    // mean length of a burst
  u32 burst_step_256 = 26;   // drift during a burst
  u32 lean = 500;            // what one increment of mispricing moves the takers' side
};

class Flow {
 public:
  Flow(const FlowParams& params, Exchange& exchange);

  // When the next event is due; `begin` sets the origin.
  void begin(TimeNs now_ns);
  TimeNs next_ns() const { return next_ns_; }
  // From the next event on; 0 is not a rate (pause the flow instead).
  void set_rate(u32 rate_per_s) { params_.rate_per_s = rate_per_s; }
  // Does the next event at its own time and schedules the one after it.
  void step();
  // Fills the empty books around the reference price (done at the open).
  void seed_books(TimeNs now_ns);
  u64 events() const { return events_; }
  PriceTicks value_ticks(u32 symbol) const;

 private:
  struct SymbolState {
    i64 anchor_256;  // in 1/256 increments
    i64 value_256;
    i64 drift_256 = 0;
    u32 burst_left = 0;
    std::vector<OrderHandle> live;
  };

  void event(u32 symbol, TimeNs now_ns);
  void add(u32 symbol, TimeNs now_ns);
  void take(u32 symbol, TimeNs now_ns);
  void remove(u32 symbol, TimeNs now_ns, bool partial);
  void replace(u32 symbol, TimeNs now_ns);
  bool place(u32 symbol, Side side, PriceTicks price_ticks, u32 qty, bool hidden, TimeNs now_ns);
  bool pick(SymbolState& s, std::size_t& at, OrderView& view);
  void move_value(SymbolState& s);
  i64 mispricing(u32 symbol) const;  // value less displayed mid, in increments
  Side leaning_side(u32 symbol, u32 weight);
  i64 draw_distance();  // from the touch, increments
  u32 draw_qty();
  bool roll(u32 per_10k) { return rng_.below(10'000) < per_10k; }
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
