// The gate's checks, one function each, and the one list that orders them.
#include "core/hash.h"
#include "risk/gate.h"

namespace peregrine {

// What the checks share, computed once: sums with this order counted in, by the worst case.
struct GateChecks {
  const Gate& g;
  const OrderRequest& r;
  const MarketView& m;
  const Exposure& x;
  TimeNs now;
  const RiskLimits* l = nullptr;  // of the instrument
  const InstrumentExposure* e = nullptr;
  bool reducing = false;
  Money notional = 0;        // of the order
  Money added_notional = 0;  // more than the replaced order claims already
  QtyLots added_lots = 0;
  i64 added_orders = 0;
  QtyLots side_worst = 0;  // worst case of the order's side with it
  i64 observed = 0;
  i64 limit = 0;
  u64 soft = 0;

  bool is_replace() const { return r.kind == RequestKind::kReplace; }

  // true = refuse. Remembers what was seen and what was allowed; marks the soft state.
  bool over(RiskReason why, i64 seen, i64 allowed) {
    observed = seen;
    limit = allowed;
    const i64 permille = g.account_.soft_permille;  // 1 … 1000
    constexpr u64 kSmall = u64{1} << 52;            // a thousand times this fits into 64 bits
    const bool small = (((static_cast<u64>(seen) + kSmall) | (static_cast<u64>(allowed) + kSmall)) >> 53) == 0;
    const bool near = small ? seen * 1000 >= allowed * permille
                            : static_cast<i128>(seen) * 1000 >= static_cast<i128>(allowed) * permille;
    soft |= u64{near} << static_cast<u8>(why);
    return seen > allowed;
  }
  bool unless(bool good) {
    if (good) [[likely]] return false;
    observed = 0;
    limit = 1;
    return true;
  }

  // ---- what is switched off
  bool killed() { return unless(!g.killed_ || g.reduce_only_); }
  bool paused() { return unless(!g.paused_); }
  bool breaker() { return unless(!g.breaker_ || (g.breaker_reducing_ && g.reduce_only_)); }
  bool session_not_ready() { return unless(g.session_ready_); }
  bool journal_unhealthy() { return unless(g.journal_healthy_); }
  bool reduce_only() { return unless((!g.reduce_only_ && g.active(r.instrument)) || reducing); }

  // ---- who and what
  bool unknown_instrument() {
    return unless(r.instrument < g.config_.max_instruments && r.instrument < x.instruments());
  }
  bool symbol_paused() { return unless(!g.items_[r.instrument].paused); }
  bool strategy_not_authorised() {
    return unless(r.strategy < g.config_.max_strategies && g.authorised_[r.strategy] != 0);
  }
  bool restricted() { return unless(!g.items_[r.instrument].restricted); }
  bool bad_price() { return unless(r.price_ticks > 0); }
  bool bad_quantity() { return unless(r.qty_lots > 0 && r.old_open_lots >= 0 && r.old_notional >= 0); }

  // ---- the market as we see it
  bool feed_not_live() { return unless(m.feed_live); }
  bool book_unsound() { return unless(m.sound); }
  bool quote_stale() {
    observed = now - m.quote_ts_ns;
    limit = l->max_quote_age_ns;
    return observed > limit;
  }
  bool halted() { return unless(m.trading); }
  bool market_closed() { return unless(m.market_open); }

  // ---- the order itself
  // A buy is measured from the ask, a sell from the bid; where that side is empty, from the reference price.
  PriceTicks reference() const {
    const bool buy = r.side == Side::kBuy;
    if (buy ? m.ask_lots > 0 : m.bid_lots > 0) return buy ? m.ask_ticks : m.bid_ticks;
    return m.reference_ticks;
  }
  bool no_reference() { return unless(reference() > 0); }
  bool price_collar() {
    const PriceTicks ref = reference();
    // Division of 128 bits is a call of its own; products that fit into 64 do without and give the same quotient.
    i64 product;
    const i128 share = __builtin_mul_overflow(ref, l->collar_bps, &product)
                           ? static_cast<i128>(ref) * l->collar_bps / 10'000
                           : static_cast<i128>(product / 10'000);
    observed = r.side == Side::kBuy ? r.price_ticks - ref : ref - r.price_ticks;
    limit = share < l->collar_ticks ? static_cast<i64>(share) : l->collar_ticks;
    return observed > limit;
  }
  bool order_quantity() { return refuse_above(r.qty_lots, l->max_order_lots); }
  bool money_overflow() {
    const bool fits = notional_ceil(r.price_ticks, r.qty_lots, x.contract(r.instrument), notional);
    if (unless(fits && x.account().overflows == 0)) return true;
    added_notional = is_replace() ? (notional > r.old_notional ? notional - r.old_notional : 0) : notional;
    return false;
  }
  bool order_notional() { return refuse_above(notional, l->max_order_notional); }
  bool refuse_above(i64 seen, i64 allowed) {
    observed = seen;
    limit = allowed;
    return seen > allowed;
  }

  // ---- with all that is working
  bool working_orders() {
    return over(RiskReason::kWorkingOrders, i64{e->working_orders[0]} + e->working_orders[1] + added_orders,
                l->max_working_orders);
  }
  bool working_notional() {
    return over(RiskReason::kWorkingNotional, add_sat(e->working_notional, added_notional), l->max_working_notional);
  }
  bool account_orders() {
    return over(RiskReason::kAccountOrders, i64{x.account().working_orders} + added_orders,
                g.account_.max_account_orders);
  }
  bool account_notional() {
    return over(RiskReason::kAccountNotional, add_sat(x.account().working_notional, added_notional),
                g.account_.max_account_notional);
  }
  // A reducing order's worst case is at most flat: no limit on it is passed, and none is near.
  bool position_long() {
    return r.side == Side::kBuy && !reducing && over(RiskReason::kPositionLong, side_worst, l->max_long_lots);
  }
  bool position_short() {
    return r.side == Side::kSell && !reducing && over(RiskReason::kPositionShort, side_worst, l->max_short_lots);
  }
  bool gross() {
    return !reducing && over(RiskReason::kGross, add_sat(x.account().gross(), added_notional), g.account_.max_gross);
  }
  bool credit() {
    return !reducing &&
           over(RiskReason::kCredit, add_sat(x.account().credit_used(), added_notional), g.account_.max_credit);
  }
  bool loss() {
    if (reducing) return false;
    return over(RiskReason::kLoss, x.account().loss(), g.account_.max_loss) || g.loss_tripped_;
  }
  bool drawdown() {
    if (reducing) return false;
    return over(RiskReason::kDrawdown, x.account().drawdown(), g.account_.max_drawdown) || g.drawdown_tripped_;
  }
  bool lease_notional() {
    return !reducing &&
           over(RiskReason::kLeaseNotional, add_sat(x.account().gross(), added_notional), g.lease_.notional);
  }
  bool lease_quantity() {
    if (reducing) return false;
    const QtyLots before = e->worst_lots();
    const QtyLots more = side_worst > before ? sub_sat(side_worst, before) : 0;
    return over(RiskReason::kLeaseQuantity, add_sat(x.account().worst_lots, more), g.lease_.qty_lots);
  }

  // An order of an instrument that has neither position nor orders makes one more of them. Beyond the soft level that
  // is done once an interval.
  bool positions() {
    if (e->occupied()) return false;
    observed = i64{x.account().occupied} + 1;
    limit = g.account_.max_positions;
    const bool beyond = g.account_.soft_positions > 0 && observed > g.account_.soft_positions;
    soft |= u64{beyond} << static_cast<u8>(RiskReason::kPositions);
    if (limit > 0 && observed > limit) return true;
    if (!beyond || g.opened_ns_ == 0) return false;
    limit = g.account_.soft_positions;
    return now - g.opened_ns_ < g.account_.soft_positions_interval_ns;
  }

  // ---- conduct
  bool self_trade() {
    const int other = index(opposite(r.side));
    if (e->working_orders[other] == 0) return false;
    observed = r.price_ticks;
    limit = e->own_best_ticks[other];
    return r.side == Side::kBuy ? r.price_ticks >= limit : r.price_ticks <= limit;
  }
  // A buy carries no mark; a sell that could take the position below zero is marked short (or exempt).
  bool short_mark() {
    if (r.side == Side::kBuy) return unless(r.mark == SellMark::kNone);
    if (r.mark == SellMark::kNone) return unless(false);
    observed = side_worst;
    limit = 0;
    return r.mark == SellMark::kLong && side_worst > 0;
  }
  // Reg SHO's price test: a short sale needs a price above the best bid; an exempt one does not.
  bool short_sale_restricted() {
    if (!m.short_sale_restricted || r.mark != SellMark::kShort || m.bid_lots == 0) return false;
    observed = r.price_ticks;
    limit = m.bid_ticks;
    return r.price_ticks <= m.bid_ticks;
  }
  bool duplicate_order() {
    const Gate::PerInstrument& p = g.items_[r.instrument];
    const u32 cap = g.config_.duplicate_capacity;
    const Gate::Sent* ring = &g.sent_[static_cast<std::size_t>(r.instrument) * cap];
    const TimeNs since = now - l->duplicate_window_ns;
    observed = 0;
    limit = 0;
    u32 inside = 0;
    u32 slot = p.sent_first + p.sent_held;  // one past the newest
    for (u32 k = p.sent_held; k > 0; --k) {  // newest first
      --slot;
      const Gate::Sent& s = ring[slot < cap ? slot : slot - cap];
      if (s.at < since) break;
      ++inside;
      if (s.side == r.side && s.price_ticks == r.price_ticks && s.qty_lots == r.qty_lots) {
        observed = 1;
        return true;
      }
    }
    // All remembered orders are inside the window: an older twin may have been forgotten.
    observed = inside;
    limit = cap - 1;
    return inside == cap;
  }
  bool execution_throttle() {
    return over(RiskReason::kExecutionThrottle,
                g.executions_[r.instrument * 2 + static_cast<u32>(index(r.side))].count(now, l->execution_window_ns),
                l->max_executions);
  }
  bool message_rate() {
    const i64 allowed = g.account_.max_messages - g.account_.cancel_reserve;
    return over(RiskReason::kMessageRate, i64{g.messages_.count(now, g.account_.message_window_ns)} + 1,
                allowed > 0 ? allowed : 0);
  }

  // Everything that needs a known instrument and a positive quantity.
  bool prepare() {
    l = &g.limits_[r.instrument];
    e = &x.of(r.instrument);
    added_lots = is_replace() ? (r.qty_lots > r.old_open_lots ? r.qty_lots - r.old_open_lots : 0) : r.qty_lots;
    added_orders = is_replace() ? 0 : 1;
    side_worst = add_sat(r.side == Side::kBuy ? e->worst_long_lots() : e->worst_short_lots(), added_lots);
    reducing = side_worst <= 0;
    return false;
  }
};

// One piece of code without calls: a check is a compare or two, and the order path runs it cold.
[[gnu::flatten]] RiskVerdict Gate::check(const OrderRequest& r, const MarketView& m, const Exposure& x, TimeNs now) const {
  RiskVerdict v;
  if (r.kind == RequestKind::kCancel) return v;
  GateChecks c{*this, r, m, x, now};
  const auto refuse = [&](RiskReason why) {
    v.reason = why;
    v.soft = c.soft;
    v.observed = c.observed;
    v.limit = c.limit;
    return v;
  };
  using R = RiskReason;
  // What needs no instrument comes first; the rest counts the order in.
  if (c.killed()) return refuse(R::kKilled);
  if (c.paused()) return refuse(R::kPaused);
  if (c.breaker()) return refuse(R::kBreaker);
  if (c.session_not_ready()) return refuse(R::kSessionNotReady);
  if (c.journal_unhealthy()) return refuse(R::kJournalUnhealthy);
  if (c.unknown_instrument()) return refuse(R::kUnknownInstrument);
  if (c.symbol_paused()) return refuse(R::kPaused);
  if (c.strategy_not_authorised()) return refuse(R::kStrategyNotAuthorised);
  if (c.restricted()) return refuse(R::kRestricted);
  if (c.bad_price()) return refuse(R::kBadPrice);
  if (c.bad_quantity()) return refuse(R::kBadQuantity);
  c.prepare();
  if (c.reduce_only()) return refuse(R::kReduceOnly);
  if (c.feed_not_live()) return refuse(R::kFeedNotLive);
  if (c.book_unsound()) return refuse(R::kBookUnsound);
  if (c.quote_stale()) return refuse(R::kQuoteStale);
  if (c.halted()) return refuse(R::kHalted);
  if (c.market_closed()) return refuse(R::kMarketClosed);
  if (c.no_reference()) return refuse(R::kNoReference);
  if (c.price_collar()) return refuse(R::kPriceCollar);
  if (c.order_quantity()) return refuse(R::kOrderQuantity);
  if (c.money_overflow()) return refuse(R::kMoneyOverflow);
  if (c.order_notional()) return refuse(R::kOrderNotional);
  if (c.working_orders()) return refuse(R::kWorkingOrders);
  if (c.working_notional()) return refuse(R::kWorkingNotional);
  if (c.account_orders()) return refuse(R::kAccountOrders);
  if (c.account_notional()) return refuse(R::kAccountNotional);
  if (c.position_long()) return refuse(R::kPositionLong);
  if (c.position_short()) return refuse(R::kPositionShort);
  if (c.gross()) return refuse(R::kGross);
  if (c.credit()) return refuse(R::kCredit);
  if (c.loss()) return refuse(R::kLoss);
  if (c.drawdown()) return refuse(R::kDrawdown);
  if (c.lease_notional()) return refuse(R::kLeaseNotional);
  if (c.lease_quantity()) return refuse(R::kLeaseQuantity);
  if (c.positions()) return refuse(R::kPositions);
  if (c.self_trade()) return refuse(R::kSelfTrade);
  if (c.short_mark()) return refuse(R::kShortMark);
  if (c.short_sale_restricted()) return refuse(R::kShortSaleRestricted);
  if (c.duplicate_order()) return refuse(R::kDuplicateOrder);
  if (c.execution_throttle()) return refuse(R::kExecutionThrottle);
  if (c.message_rate()) return refuse(R::kMessageRate);
  v.soft = c.soft;
  return v;
}

}  // namespace peregrine
