// What a journal passes through while it is replayed, kept small enough to draw: money, positions and top of book in
// equal spans of time, and each change of state with the record that made it.
//
// Of a span in which a value moved four points are kept, so that a line drawn a span a pixel column wide looks as the
// whole one would; a span in which nothing moved keeps none: the value before it goes on.
//
//   Span, 64 bytes
//   0              8             16            24           32         40         48         56        64
//   +--------------+-------------+-------------+------------+----------+----------+----------+---------+
//   | first_at_ns  | low_at_ns   | high_at_ns  | last_at_ns | first    | low      | high     | last    |
//   +--------------+-------------+-------------+------------+----------+----------+----------+---------+
#pragma once

#include <vector>

#include "core/histogram.h"
#include "engine/shard.h"

namespace peregrine::engine {

struct Span {
  i64 first_at_ns, low_at_ns, high_at_ns, last_at_ns;
  i64 first, low, high, last;
};
static_assert(sizeof(Span) == 64 && offsetof(Span, first) == 32);

// One value over time. Adding is amortised constant; as many spans at most as there are columns.
class Curve {
 public:
  void add(u32 column, TimeNs at, i64 value);
  const std::vector<Span>& spans() const { return spans_; }

 private:
  std::vector<Span> spans_;
  u32 column_ = 0;
  bool any_ = false;
  i64 value_ = 0;
};

enum class Watched : u8 {
  kKilled = 0, kPaused = 1, kReduceOnly = 2, kDraining = 3, kSessionPhase = 4, kFeedState = 5,
  kMessageBreaker = 6, kRejectBreaker = 7, kLossBreaker = 8, kDrawdownBreaker = 9,
};
inline constexpr int kWatchedStates = 10;

struct StateChange {
  u64 seq;  // the input's journal number
  i64 at_ns;
  i64 what;  // Watched
  i64 from, to;
};
static_assert(sizeof(StateChange) == 40);

class ReplayWatch {
 public:
  // The journal's first and last stamp, and into how many spans the time between is divided. `rows` spans of time for
  // the distribution of the time between two decisions.
  ReplayWatch(const Shard& shard, TimeNs first_ns, TimeNs last_ns, u32 columns, u32 rows);

  // After each record of the journal.
  void look(u64 seq, TimeNs now);

  enum Account { kPnl = 0, kRealized, kFees, kGross, kCredit, kWorking, kSoft, kRiskRejects, kEvents, kDecisions, kAccountCurves };
  enum Instrument { kPosition = 0, kOwnPnl, kBid, kAsk, kInstrumentCurves };
  static constexpr u32 kMaxChanges = 100'000;

  const Curve& account(int which) const { return account_[which]; }
  const Curve& instrument(InstrumentIx ix, int which) const { return instruments_[ix].curve[which]; }
  const std::vector<StateChange>& changes() const { return changes_; }
  u64 changes_not_kept() const { return changes_not_kept_; }
  u32 rows() const { return rows_; }
  const Histogram& decision_interval(u32 row) const { return decision_interval_[row]; }
  Money max_drawdown() const { return max_drawdown_; }
  Money pnl_peak() const { return pnl_peak_; }

 private:
  struct PerInstrument {
    Curve curve[kInstrumentCurves];
    i64 seen[kInstrumentCurves] = {0, 0, 0, 0};
  };
  u32 part(TimeNs at, u32 parts) const;
  void change(Watched what, i64 now_is, u64 seq, TimeNs at);

  const Shard& shard_;
  TimeNs first_ns_, width_ns_;
  u32 columns_, rows_;
  Curve account_[kAccountCurves];
  std::vector<PerInstrument> instruments_;
  i64 states_[kWatchedStates] = {};
  std::vector<StateChange> changes_;
  u64 changes_not_kept_ = 0;
  std::vector<Histogram> decision_interval_;
  u64 decisions_ = 0;
  TimeNs decided_ns_ = 0;
  Money max_drawdown_ = 0, pnl_peak_ = 0;
};

}  // namespace peregrine::engine
