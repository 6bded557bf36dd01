// What a shard shows of itself, every 10 ms, from its own thread.
#include "engine/shard_stage.h"

namespace peregrine::engine {

using journal::FeedState;

namespace {
// Instruments refreshed in one go: with thousands of them the panel may lag a little, the next input may not.
constexpr u32 kInstrumentsAtOnce = 256;
}  // namespace

void ShardStage::update_telemetry(bool whole) {
  const Shard& shard = runner_.shard();
  const ShardCounters& c = shard.counters();
  const AccountExposure& a = shard.exposure().account();
  Telemetry& t = telemetry_;
  const auto set = [&t](Counter k, auto v) { t.set(k, static_cast<i64>(v)); };
  const journal::RingHeader& ring = appender_.ring()->header();
  const u64 journal_head = ring.head.load(std::memory_order_relaxed);
  const u64 journal_held = journal_head - ring.tail.load(std::memory_order_relaxed);
  if (journal_held > journal_high_) journal_high_ = journal_held;
  set(Counter::now_ns, clock_.now_ns);
  set(Counter::clock_offset_ns, clock_.tsc.error_ns());
  set(Counter::clock_steps, clock_.tsc.steps_seen());
  set(Counter::events, c.events);
  set(Counter::malformed, c.malformed + control_.feed_malformed.load(std::memory_order_relaxed));
  set(Counter::decisions, c.decisions);
  set(Counter::held, c.held);
  set(Counter::orders, c.orders + c.replaces);
  set(Counter::cancels, c.cancels);
  set(Counter::acks, c.acks);
  set(Counter::fills, c.fills);
  set(Counter::filled_lots, c.filled_lots);
  set(Counter::rejects, c.rejects);
  set(Counter::risk_rejects, c.risk_rejects);
  set(Counter::working_orders, shard.working_orders());
  set(Counter::unknown_orders, a.unknown_orders);
  set(Counter::pnl_units, a.pnl());
  set(Counter::fees_units, a.fees);
  set(Counter::feed_state, static_cast<u8>(shard.feed_state()));
  set(Counter::session_ready, shard.session().ready() ? 1 : 0);
  set(Counter::session_phase, static_cast<u8>(shard.session().phase()));
  set(Counter::lost_orders, shard.lost_orders());
  set(Counter::lost_messages, shard.lost_messages());
  i64 trading = shard.session().ready() && shard.feed_state() == FeedState::kLive ? 1 : 0;
  if (trading == 1 && shard.gate().positions_throttled(shard.exposure())) trading = 2;
  if (shard.gate().paused()) trading = 3;
  if (shard.draining()) trading = 4;
  if (shard.gate().breaker()) trading = 7;
  if (shard.gate().killed()) trading = 5;
  if (journal_stopped_) trading = 6;
  set(Counter::trading_state, trading);
  set(Counter::gaps, control_.feed_gaps.load(std::memory_order_relaxed));
  set(Counter::recovered, control_.feed_requests.load(std::memory_order_relaxed));
  set(Counter::snapshots, c.snapshots);
  set(Counter::stale_ns, c.stale_ns);
  set(Counter::reconnects, connections_ > 0 ? connections_ - 1 : 0);
  set(Counter::journal_seq, appender_.next_seq() - 1);
  set(Counter::journal_bytes, journal_head);
  set(Counter::journal_free_bytes, appender_.free_bytes());
  set(Counter::policy_version, shard.policies().version());
  set(Counter::inputs, runner_.inputs());
  set(Counter::idle_polls, idle_polls_);
  set(Counter::overruns, overruns_);
  set(Counter::breakers_open, shard.breakers().open());
  set(Counter::breaker_trips, shard.breakers().trips());
  set(Counter::breakers_cooling, shard.breakers().hot(kAllBreakers, clock_.now_ns));
  update_limits();
  update_health();
  set(Counter::lease_lots, shard.gate().lease().qty_lots);
  set(Counter::lease_epoch, shard.gate().lease().epoch);  // after the level: who reads it has read no older one
  update_instruments(whole);
  t.publish();
  if (segment_ != nullptr && heartbeats_) segment_->heartbeat(clock_.now_ns);
}

// What is used of the account's limits and what they are, as the gate has them now; what was refused, by reason.
void ShardStage::update_limits() {
  const Shard& shard = runner_.shard();
  const ShardCounters& c = shard.counters();
  const AccountExposure& a = shard.exposure().account();
  const RiskLimits& limits = shard.gate().account_limits();
  Telemetry& t = telemetry_;
  const auto set = [&t](Counter k, auto v) { t.set(k, static_cast<i64>(v)); };
  set(Counter::journal_ring_bytes, appender_.ring()->header().ring_bytes);
  set(Counter::account_orders, a.working_orders);
  set(Counter::limit_account_orders, limits.max_account_orders);
  set(Counter::account_units, a.working_notional);
  set(Counter::limit_account_units, limits.max_account_notional);
  set(Counter::gross_units, a.gross());
  set(Counter::limit_gross_units, limits.max_gross);
  set(Counter::lease_units, shard.gate().lease().notional);
  set(Counter::credit_units, a.credit_used());
  set(Counter::limit_credit_units, limits.max_credit);
  set(Counter::loss_units, a.loss());
  set(Counter::limit_loss_units, limits.max_loss);
  set(Counter::drawdown_units, a.drawdown());
  set(Counter::limit_drawdown_units, limits.max_drawdown);
  set(Counter::window_messages, shard.gate().messages_in_window(clock_.now_ns));
  set(Counter::limit_messages, limits.max_messages);
  set(Counter::soft_permille, limits.soft_permille);
  set(Counter::device_used, c.device_used);
  set(Counter::device_fallback, c.device_fallback);
  set(Counter::device_late, c.device_late);
  set(Counter::device_dropped, c.device_dropped);
  set(Counter::device_wrong, c.device_wrong);
  set(Counter::device_full, c.device_full);
  const DeviceHealth device = runner_.device_health();
  set(Counter::device_state, static_cast<u8>(device.state));
  set(Counter::device_asked, device.asked);
  set(Counter::device_missed, device.missed);
  set(Counter::device_failed, device.failed);
  set(Counter::device_trips, device.trips);
  for (u32 r = 0; r < kRiskReasons; ++r) t.set_risk_rejects(r, shard.gate().rejects(static_cast<RiskReason>(r)));
  for (u32 code = 0; code < kRejectCodes; ++code) t.set_venue_rejects(code, c.reject_codes[code]);
}

// How well its thread serves it, and how many of its symbols it may and does look after.
void ShardStage::update_health() {
  const Shard& shard = runner_.shard();
  const Gate& gate = shard.gate();
  const u32 n = static_cast<u32>(shard.config().instruments.size());
  const auto set = [this](Counter k, auto v) { telemetry_.set(k, static_cast<i64>(v)); };
  set(Counter::lag_ns, std::exchange(lag_ns_, 0));
  set(Counter::stalls, stalls_);
  set(Counter::stall_max_ns, stall_max_ns_);
  set(Counter::thread, thread_);
  set(Counter::active_symbols, gate.active() < n ? gate.active() : n);
  set(Counter::positions, shard.exposure().account().occupied);
  set(Counter::limit_positions, gate.account_limits().max_positions);
  set(Counter::soft_positions, gate.account_limits().soft_positions);
}

void ShardStage::update_instruments(bool whole) {
  const Shard& shard = runner_.shard();
  const u32 n = static_cast<u32>(shard.config().instruments.size());
  const u32 count = whole || n <= kInstrumentsAtOnce ? n : kInstrumentsAtOnce;
  for (u32 i = 0; i < count; ++i) {
    const InstrumentIx ix = next_instrument_;
    next_instrument_ = ix + 1 == n ? 0 : ix + 1;
    const InstrumentExposure& x = shard.exposure().of(ix);
    const Top top = shard.market().top(ix);
    InstrumentTelemetry it{};
    it.bid_ticks = top.bid_ticks;
    it.ask_ticks = top.ask_ticks;
    it.last_ticks = shard.market().last_trade_ticks(ix);
    it.position_lots = x.position_lots;
    it.pnl_units = sub_sat(add_sat(x.realized, x.unrealized()), x.fees);
    it.working_lots = x.open_lots[0] + x.open_lots[1] + x.unknown_lots[0] + x.unknown_lots[1];
    it.state = shard.feed_state() != FeedState::kLive || !shard.market().sound(ix)       ? 0
               : shard.gate().killed() || shard.gate().paused() || shard.gate().breaker() || shard.gate().symbol_paused(ix) ? 3
               : shard.market().trading_state(ix) == TradingState::kTrading              ? 1
                                                                                          : 2;
    telemetry_.set_instrument(ix, it);
    const RiskLimits& limits = shard.gate().limits(ix);
    telemetry_.set_limits(ix, {x.worst_long_lots(), limits.max_long_lots, x.worst_short_lots(), limits.max_short_lots,
                               i64{x.working_orders[0]} + x.working_orders[1], limits.max_working_orders,
                               x.working_notional, limits.max_working_notional});
  }
}

}  // namespace peregrine::engine
