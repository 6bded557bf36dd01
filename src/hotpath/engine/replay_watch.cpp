#include "engine/replay_watch.h"

#include "core/assert.h"

namespace peregrine::engine {

void Curve::add(u32 column, TimeNs at, i64 value) {
  if (any_ && value == value_) return;
  PRG_ASSERT(!any_ || column >= column_);
  if (!any_ || column != column_) spans_.push_back({at, at, at, at, value, value, value, value});
  any_ = true;
  column_ = column;
  value_ = value;
  Span& s = spans_.back();
  s.last_at_ns = at;
  s.last = value;
  if (value < s.low) s.low_at_ns = at, s.low = value;
  if (value > s.high) s.high_at_ns = at, s.high = value;
}

ReplayWatch::ReplayWatch(const Shard& shard, TimeNs first_ns, TimeNs last_ns, u32 columns, u32 rows)
    : shard_(shard),
      first_ns_(first_ns),
      width_ns_(last_ns > first_ns ? last_ns - first_ns + 1 : 1),
      columns_(columns),
      rows_(rows),
      instruments_(shard.config().instruments.size()),
      decision_interval_(rows) {
  PRG_ASSERT(columns > 0 && rows > 0);
}

u32 ReplayWatch::part(TimeNs at, u32 parts) const {
  if (at <= first_ns_) return 0;
  const i128 which = static_cast<i128>(at - first_ns_) * parts / width_ns_;
  return which >= parts ? parts - 1 : static_cast<u32>(which);
}

void ReplayWatch::change(Watched what, i64 now_is, u64 seq, TimeNs at) {
  i64& before = states_[static_cast<u8>(what)];
  if (before == now_is) return;
  if (changes_.size() < kMaxChanges) {
    changes_.push_back({seq, at, static_cast<i64>(what), before, now_is});
  } else {
    ++changes_not_kept_;
  }
  before = now_is;
}

void ReplayWatch::look(u64 seq, TimeNs now) {
  const u32 column = part(now, columns_);
  const AccountExposure& a = shard_.exposure().account();
  const ShardCounters& c = shard_.counters();
  const i64 account[kAccountCurves] = {
      a.pnl(), a.realized, a.fees, a.gross(), a.credit_used(), static_cast<i64>(a.working_orders),
      static_cast<i64>(c.soft), static_cast<i64>(c.risk_rejects), static_cast<i64>(c.events), static_cast<i64>(c.decisions)};
  for (int i = 0; i < kAccountCurves; ++i) account_[i].add(column, now, account[i]);
  if (a.drawdown() > max_drawdown_) max_drawdown_ = a.drawdown();
  pnl_peak_ = a.pnl_peak;

  for (InstrumentIx ix = 0; ix < instruments_.size(); ++ix) {
    const InstrumentExposure& x = shard_.exposure().of(ix);
    const i64 values[kInstrumentCurves] = {x.position_lots, sub_sat(add_sat(x.realized, x.unrealized()), x.fees),
                                           x.mark_bid_ticks, x.mark_ask_ticks};
    PerInstrument& item = instruments_[ix];
    for (int i = 0; i < kInstrumentCurves; ++i) {
      if (values[i] == item.seen[i]) continue;
      item.seen[i] = values[i];
      item.curve[i].add(column, now, values[i]);
    }
  }

  const Gate& gate = shard_.gate();
  change(Watched::kKilled, gate.killed(), seq, now);
  const u32 open = shard_.breakers().open();
  change(Watched::kMessageBreaker, (open & kMessageBreaker) != 0, seq, now);
  change(Watched::kRejectBreaker, (open & kRejectBreaker) != 0, seq, now);
  change(Watched::kLossBreaker, gate.loss_tripped(), seq, now);
  change(Watched::kDrawdownBreaker, gate.drawdown_tripped(), seq, now);
  change(Watched::kPaused, gate.paused(), seq, now);
  change(Watched::kReduceOnly, gate.reduce_only(), seq, now);
  change(Watched::kDraining, shard_.draining(), seq, now);
  change(Watched::kSessionPhase, static_cast<i64>(shard_.session().phase()), seq, now);
  change(Watched::kFeedState, static_cast<i64>(shard_.feed_state()), seq, now);

  if (c.decisions != decisions_) {
    if (decisions_ != 0) decision_interval_[part(now, rows_)].record_n(now - decided_ns_, 1);
    decisions_ = c.decisions;
    decided_ns_ = now;
  }
}

}  // namespace peregrine::engine
