// The risk gate: every order and every replace passes all checks (in order in risk/checks.cpp) before it exists.
// There is no flag to go round it. Cancels are not checked: they lower risk; they only count in the message rate.
//
// check() changes nothing; a request that was really sent is told to on_sent(), an execution to on_execution().
// An order is *reducing* when, even if every working and unknown order of its side filled with it, the position
// would not leave zero to that side. Reducing orders are not measured against gross, credit, loss, drawdown and
// lease, and are the only ones that pass in reduce-only.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "core/types.h"
#include "risk/exposure.h"
#include "risk/limits.h"
#include "risk/rate_window.h"

namespace peregrine {

// Stable codes: they stand in journals.
enum class RiskReason : u8 {
  kPass = 0,
  // What is switched off.
  kKilled = 1,
  kPaused = 2,
  kReduceOnly = 3,
  kSessionNotReady = 4,
  kJournalUnhealthy = 5,
  // Who and what.
  kUnknownInstrument = 6,
  kStrategyNotAuthorised = 7,
  kRestricted = 8,
  kBadPrice = 9,
  kBadQuantity = 10,
  // The market as we see it.
  kFeedNotLive = 11,
  kBookUnsound = 12,
  kQuoteStale = 13,
  kHalted = 14,
  kMarketClosed = 15,
  // The order itself.
  kNoReference = 16,
  kPriceCollar = 17,
  kOrderQuantity = 18,
  kMoneyOverflow = 19,
  kOrderNotional = 20,
  // With all that is working.
  kWorkingOrders = 21,
  kWorkingNotional = 22,
  kAccountOrders = 23,
  kAccountNotional = 24,
  kPositionLong = 25,
  kPositionShort = 26,
  kGross = 27,
  kCredit = 28,
  kLoss = 29,
  kDrawdown = 30,
  kLeaseNotional = 31,
  kLeaseQuantity = 32,
  // Conduct.
  kSelfTrade = 33,
  kShortMark = 34,
  kShortSaleRestricted = 35,
  kDuplicateOrder = 36,
  kExecutionThrottle = 37,
  kMessageRate = 38,
  kBreaker = 39,  // a counting breaker has tripped (risk/breakers.h)
  // How many instruments at once.
  kPositions = 40,
};
inline constexpr int kRiskReasons = 41;
const char* risk_reason_name(RiskReason r);

enum class RequestKind : u8 { kEnter = 0, kReplace = 1, kCancel = 2 };
enum class SellMark : u8 { kNone = 0, kLong = 1, kShort = 2, kShortExempt = 3 };  // buys: kNone

struct OrderRequest {
  InstrumentIx instrument = kNoInstrument;
  RequestKind kind = RequestKind::kEnter;
  Side side = Side::kBuy;
  SellMark mark = SellMark::kNone;
  u8 zero = 0;
  u32 strategy = 0;
  PriceTicks price_ticks = 0;
  QtyLots qty_lots = 0;        // what would be open at the venue (a replace: new total less executions)
  QtyLots old_open_lots = 0;   // replace: what the order claims now, open and unknown …
  Money old_notional = 0;      // … and its claimed notional
};
static_assert(sizeof(OrderRequest) == 48);

// One instrument as the gate needs it; lots 0 = that side is empty.
struct MarketView {
  PriceTicks bid_ticks = 0;
  PriceTicks ask_ticks = 0;
  QtyLots bid_lots = 0;
  QtyLots ask_lots = 0;
  PriceTicks reference_ticks = 0;  // last trade or last close, 0 = none: used when the touch is empty
  TimeNs quote_ts_ns = 0;          // receive time of the last feed message (of any symbol: a heartbeat counts)
  bool feed_live = false;
  bool sound = false;
  bool trading = false;            // TradingState::kTrading and not operationally halted
  bool market_open = false;
  bool short_sale_restricted = false;
  u8 zero[3] = {0, 0, 0};
};
static_assert(sizeof(MarketView) == 56);

struct RiskVerdict {
  RiskReason reason = RiskReason::kPass;
  u64 soft = 0;      // bit r set: the limit of RiskReason r is in its soft state with this order (set also on a pass)
  i64 observed = 0;  // of the failing check
  i64 limit = 0;
  bool pass() const { return reason == RiskReason::kPass; }
  bool is_soft() const { return soft != 0; }
};

struct GateConfig {
  u32 max_instruments = 64;
  u32 message_capacity = 4096;    // largest max_messages + 1
  u32 execution_capacity = 64;    // largest max_executions + 1
  u32 duplicate_capacity = 64;    // orders remembered per instrument; more within the window are refused
  u32 max_strategies = 64;
};

class Gate {
 public:
  explicit Gate(const GateConfig& config);

  // false = invalid (version, negative, beyond a capacity, unknown instrument): nothing changed.
  bool set_limits(const RiskLimits& limits);
  const RiskLimits& limits(InstrumentIx ix) const;  // in force for this instrument
  const RiskLimits& account_limits() const { return account_; }

  RiskVerdict check(const OrderRequest& r, const MarketView& m, const Exposure& e, TimeNs now) const;
  // The request went to the session (cancels too), with what check() had said of it.
  void on_sent(const OrderRequest& r, TimeNs now, const RiskVerdict& said = {});
  void on_execution(InstrumentIx ix, Side side, TimeNs now);
  // Evaluates loss and drawdown after P&L moved; true when one trips now. Tripped breakers stay until reset.
  bool update_breakers(const Exposure& e);
  bool breaker_tripped() const { return loss_tripped_ || drawdown_tripped_; }
  void reset_breakers() { loss_tripped_ = drawdown_tripped_ = false; }
  bool loss_tripped() const { return loss_tripped_; }
  bool drawdown_tripped() const { return drawdown_tripped_; }
  void reset_loss() { loss_tripped_ = false; }
  void reset_drawdown() { drawdown_tripped_ = false; }
  // A counting breaker is open: nothing passes, until reduce-only is asked for anew: then reducing orders.
  void set_breaker(bool v) { breaker_ = v, breaker_reducing_ = false; }
  bool breaker() const { return breaker_; }

  // Levels, changed only by journaled inputs.
  void kill() { killed_ = true, reduce_only_ = false; }  // reduce-only afterwards is a further command
  void revive() { killed_ = false; }
  void set_paused(bool v) { paused_ = v; }
  // When killed or stopped by a breaker: lets reducing orders, and only those, pass.
  void set_reduce_only(bool v) { reduce_only_ = v, breaker_reducing_ = v && breaker_; }
  void set_session_ready(bool v) { session_ready_ = v; }
  void set_journal_healthy(bool v) { journal_healthy_ = v; }
  bool killed() const { return killed_; }
  bool paused() const { return paused_; }
  bool reduce_only() const { return reduce_only_; }

  void set_restricted(InstrumentIx ix, bool v);
  void set_symbol_paused(InstrumentIx ix, bool v);
  bool symbol_paused(InstrumentIx ix) const { return items_[ix].paused; }
  void set_authorised(u32 strategy, bool v);
  // Only the first n instruments may open; the others may only reduce. kAllActive lifts it.
  static constexpr u32 kAllActive = 0xFFFFFFFF;
  void set_active(u32 n) { active_ = n; }
  bool active(InstrumentIx ix) const { return ix < active_; }
  u32 active() const { return active_; }
  // One more instrument waits for its turn (RiskLimits::soft_positions).
  bool positions_throttled(const Exposure& e) const {
    return account_.soft_positions > 0 && i64{e.account().occupied} >= account_.soft_positions;
  }

  // A grant or a changed level; false = old epoch or negative: nothing changed.
  bool grant(const Lease& lease);
  // Gives back up to what is asked for, never what is in use; the new level and epoch are in lease() afterwards.
  Lease give_back(const Lease& asked, const Exposure& e);
  const Lease& lease() const { return lease_; }

  u32 messages_in_window(TimeNs now) const { return messages_.count(now, account_.message_window_ns); }
  u64 rejects(RiskReason r) const { return rejects_[static_cast<u8>(r)]; }
  void count(const RiskVerdict& v) { ++rejects_[static_cast<u8>(v.reason)]; }

  u64 state_hash(u64 h) const;
  template <class A>
  void archive(A& a) {
    a(account_, lease_, killed_, paused_, reduce_only_, session_ready_, journal_healthy_, loss_tripped_,
      drawdown_tripped_, rejects_, breaker_, breaker_reducing_, active_, opened_ns_);
    a.pool(limits_.data(), limits_.size());
    a.pool(items_.data(), items_.size());
    a.pool(sent_.data(), sent_.size());
    a.pool(authorised_.data(), authorised_.size());
    for (RateWindow& w : executions_) w.archive(a);
    messages_.archive(a);
    static_assert(sizeof(Gate) == 808, "a member came or went: is it listed above?");
  }

 private:
  friend struct GateChecks;
  struct Sent {  // an order lately sent, for the duplicate check
    TimeNs at = 0;
    PriceTicks price_ticks = 0;
    QtyLots qty_lots = 0;
    Side side = Side::kBuy;
  };
  struct PerInstrument {
    u32 sent_first = 0;
    u32 sent_held = 0;
    bool restricted = false;
    bool own_limits = false;
    bool paused = false;
  };

  GateConfig config_;
  RiskLimits account_;
  std::vector<RiskLimits> limits_;
  std::vector<PerInstrument> items_;
  std::vector<Sent> sent_;             // duplicate_capacity per instrument
  std::vector<RateWindow> executions_; // two per instrument
  std::vector<u8> authorised_;
  RateWindow messages_;
  Lease lease_;
  bool killed_ = false, paused_ = false, reduce_only_ = false;
  bool session_ready_ = false, journal_healthy_ = false;
  bool loss_tripped_ = false, drawdown_tripped_ = false;
  bool breaker_ = false, breaker_reducing_ = false;
  std::array<u64, kRiskReasons> rejects_{};
  u32 active_ = kAllActive;
  TimeNs opened_ns_ = 0;  // an instrument beyond soft_positions was last opened
};

}  // namespace peregrine
