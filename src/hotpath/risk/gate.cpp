#include "risk/gate.h"

#include "core/hash.h"

namespace peregrine {
namespace {

constexpr const char* kNames[kRiskReasons] = {"pass",
                                              "killed",
                                              "paused",
                                              "reduce_only",
                                              "session_not_ready",
                                              "journal_unhealthy",
                                              "unknown_instrument",
                                              "strategy_not_authorised",
                                              "restricted",
                                              "bad_price",
                                              "bad_quantity",
                                              "feed_not_live",
                                              "book_unsound",
                                              "quote_stale",
                                              "halted",
                                              "market_closed",
                                              "no_reference",
                                              "price_collar",
                                              "order_quantity",
                                              "money_overflow",
                                              "order_notional",
                                              "working_orders",
                                              "working_notional",
                                              "account_orders",
                                              "account_notional",
                                              "position_long",
                                              "position_short",
                                              "gross",
                                              "credit",
                                              "loss",
                                              "drawdown",
                                              "lease_notional",
                                              "lease_quantity",
                                              "self_trade",
                                              "short_mark",
                                              "short_sale_restricted",
                                              "duplicate_order",
                                              "execution_throttle",
                                              "message_rate",
                                              "breaker",
                                              "positions"};

bool valid(const RiskLimits& l) {
  if (l.version != kRiskLimitsVersion) return false;
  for (const i64 v :
       {l.collar_ticks,         l.collar_bps,       l.max_order_lots,     l.max_order_notional,   l.max_working_orders,
        l.max_working_notional, l.max_long_lots,    l.max_short_lots,     l.max_executions,       l.execution_window_ns,
        l.duplicate_window_ns,  l.max_quote_age_ns, l.max_account_orders, l.max_account_notional, l.max_gross,
        l.max_credit,           l.max_loss,         l.max_drawdown,       l.max_messages,         l.message_window_ns,
        l.cancel_reserve,      l.max_positions,     l.soft_positions,     l.soft_positions_interval_ns})
    if (v < 0) return false;
  return l.soft_permille >= 1 && l.soft_permille <= 1000;
}

}  // namespace

const char* risk_reason_name(RiskReason r) {
  const auto i = static_cast<u8>(r);
  return i < kRiskReasons ? kNames[i] : "?";
}

Gate::Gate(const GateConfig& config)
    : config_(config),
      limits_(config.max_instruments),
      items_(config.max_instruments),
      sent_(static_cast<std::size_t>(config.max_instruments) * config.duplicate_capacity),
      authorised_(config.max_strategies, 0),
      messages_(config.message_capacity) {
  PRG_ASSERT(config.duplicate_capacity > 0);
  executions_.reserve(static_cast<std::size_t>(config.max_instruments) * 2);
  for (u32 i = 0; i < config.max_instruments * 2; ++i) executions_.emplace_back(config.execution_capacity);
}

bool Gate::set_limits(const RiskLimits& l) {
  if (!valid(l) || l.max_executions >= config_.execution_capacity) return false;
  if (l.instrument == kNoInstrument) {
    if (l.max_messages >= config_.message_capacity) return false;
    account_ = l;
    for (u32 i = 0; i < config_.max_instruments; ++i)
      if (!items_[i].own_limits) limits_[i] = l;
    return true;
  }
  if (l.instrument >= config_.max_instruments) return false;
  limits_[l.instrument] = l;
  items_[l.instrument].own_limits = true;
  return true;
}

const RiskLimits& Gate::limits(InstrumentIx ix) const {
  PRG_ASSERT(ix < config_.max_instruments);
  return limits_[ix];
}

void Gate::on_sent(const OrderRequest& r, TimeNs now, const RiskVerdict& said) {
  messages_.record(now);
  if ((said.soft >> static_cast<u8>(RiskReason::kPositions) & 1) != 0) opened_ns_ = now;
  if (r.kind == RequestKind::kCancel || r.instrument >= config_.max_instruments) return;
  PerInstrument& p = items_[r.instrument];
  Sent* ring = &sent_[static_cast<std::size_t>(r.instrument) * config_.duplicate_capacity];
  if (p.sent_held == config_.duplicate_capacity) {
    p.sent_first = p.sent_first + 1 == config_.duplicate_capacity ? 0 : p.sent_first + 1;
    --p.sent_held;
  }
  u32 slot = p.sent_first + p.sent_held;
  if (slot >= config_.duplicate_capacity) slot -= config_.duplicate_capacity;
  ring[slot] = {now, r.price_ticks, r.qty_lots, r.side};
  ++p.sent_held;
}

void Gate::on_execution(InstrumentIx ix, Side side, TimeNs now) {
  if (ix >= config_.max_instruments) return;
  executions_[ix * 2 + static_cast<u32>(index(side))].record(now);
}

bool Gate::update_breakers(const Exposure& e) {
  const bool before = breaker_tripped();
  if (e.account().loss() > account_.max_loss) loss_tripped_ = true;
  if (e.account().drawdown() > account_.max_drawdown) drawdown_tripped_ = true;
  return breaker_tripped() && !before;
}

void Gate::set_restricted(InstrumentIx ix, bool v) {
  PRG_ASSERT(ix < config_.max_instruments);
  items_[ix].restricted = v;
}

void Gate::set_symbol_paused(InstrumentIx ix, bool v) {
  PRG_ASSERT(ix < config_.max_instruments);
  items_[ix].paused = v;
}

void Gate::set_authorised(u32 strategy, bool v) {
  PRG_ASSERT(strategy < config_.max_strategies);
  authorised_[strategy] = v ? 1 : 0;
}

bool Gate::grant(const Lease& lease) {
  if (lease.epoch <= lease_.epoch || lease.notional < 0 || lease.qty_lots < 0) return false;
  lease_ = lease;
  return true;
}

Lease Gate::give_back(const Lease& asked, const Exposure& e) {
  if (asked.epoch <= lease_.epoch || asked.notional < 0 || asked.qty_lots < 0) return Lease{lease_.epoch, 0, 0};
  const Money used = e.account().gross();
  const QtyLots used_lots = e.account().worst_lots;
  const Money free = lease_.notional > used ? lease_.notional - used : 0;
  const QtyLots free_lots = lease_.qty_lots > used_lots ? lease_.qty_lots - used_lots : 0;
  const Lease given{asked.epoch, asked.notional < free ? asked.notional : free,
                    asked.qty_lots < free_lots ? asked.qty_lots : free_lots};
  lease_ = {asked.epoch, lease_.notional - given.notional, lease_.qty_lots - given.qty_lots};
  return given;
}

u64 Gate::state_hash(u64 h) const {
  const auto fold = [&h](auto v) { h = hash_fold(h, static_cast<u64>(v)); };
  h = hash_bytes(h, &account_, sizeof(account_));
  for (const RiskLimits& l : limits_) h = hash_bytes(h, &l, sizeof(l));
  for (u32 i = 0; i < config_.max_instruments; ++i) {
    const PerInstrument& p = items_[i];
    fold(p.restricted | p.paused << 1), fold(p.own_limits), fold(p.sent_held);
    const Sent* ring = &sent_[static_cast<std::size_t>(i) * config_.duplicate_capacity];
    for (u32 k = 0; k < p.sent_held; ++k) {
      const Sent& s = ring[(p.sent_first + k) % config_.duplicate_capacity];
      fold(s.at), fold(s.price_ticks), fold(s.qty_lots), fold(index(s.side));
    }
  }
  for (const RateWindow& w : executions_) h = w.fold(h);
  for (const u8 a : authorised_) fold(a);
  h = messages_.fold(h);
  fold(lease_.epoch), fold(lease_.notional), fold(lease_.qty_lots);
  fold(killed_ | paused_ << 1 | reduce_only_ << 2 | session_ready_ << 3 | journal_healthy_ << 4 | loss_tripped_ << 5 |
       drawdown_tripped_ << 6 | breaker_ << 7 | breaker_reducing_ << 8);
  // Folded only where they say something: journals of before they existed hash as they did.
  if (active_ != kAllActive) fold(active_);
  if (opened_ns_ != 0) fold(opened_ns_);
  return h;
}

}  // namespace peregrine
