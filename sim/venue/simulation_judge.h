// Judges a run by the venue's own record, and by the journal read with nothing of the engine but its reader.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "venue/simulation_engine.h"
#include "venue/simulation_venue.h"

namespace peregrine::venue {

class Judge {
 public:
  Judge(const EngineBlueprint& blueprint, const SimulatedVenue& venue, PortIx port)
      : blueprint_(blueprint), venue_(venue), port_(port), position_(blueprint.shard.instruments.size()) {}

  // Between two rounds: the record so far against the limits, and against what the engine holds to be working.
  void observe(EngineProcess* engine, TimeNs now_ns);
  void power_was_cut(TimeNs now_ns) { power_cut_ns_ = now_ns; }
  void journal_was_lost(TimeNs now_ns) { power_cut_ns_ = journal_lost_ns_ = now_ns; }
  // The venue is still telling the engine what was before this connection. A port that others use too (a run whose
  // journal is gone, an operator's hand) may bring old answers then; the agreement is made again when the true one comes.
  void replaying(TimeNs now_ns) {
    if (replays_.empty() || replayed_ns_ + kUnderWayNs < now_ns) replays_.push_back({now_ns, now_ns});
    replayed_ns_ = now_ns;
    replays_.back().second = now_ns + kUnderWayNs;
  }
  // The engine is drained and its journal closed.
  void final_state(EngineProcess& engine);
  // What the surviving journal says, over all its generations; `final_hash` 0 = the last engine's state is not known.
  void journal(const std::string& dir, u64 final_hash);

  const std::string& finding() const { return finding_; }
  void found(const std::string& what) {
    if (finding_.empty()) finding_ = what;
  }
  u64 fingerprint() const { return fingerprint_; }  // of every journaled payload and every entry of the record
  u64 records() const { return records_; }
  i64 position_lots() const;
  i64 worst_lots() const;  // position and open orders of the worse side, over all symbols

 private:
  struct Working {
    u32 symbol;
    u8 side;
    u32 open;
  };
  struct Sent {
    std::vector<u8> message;
    u8 kind;
    u32 arrivals = 0;
  };
  void take(const RecordEntry& e);
  void check_limits(const RecordEntry& e);
  void check_arrivals(std::map<u32, Sent>& intents);
  bool buys(u8 side) const { return side == 'B'; }
  const RiskLimits& limits() const { return blueprint_.shard.limits.front(); }

  const EngineBlueprint& blueprint_;
  const SimulatedVenue& venue_;
  PortIx port_;
  std::size_t at_ = 0;
  std::map<u32, Working> working_;
  std::vector<i64> position_;
  TimeNs power_cut_ns_ = -1;
  TimeNs journal_lost_ns_ = -1;
  static constexpr TimeNs kUnderWayNs = 8'000'000;  // what was sent meanwhile has arrived by then
  TimeNs replayed_ns_ = -1;
  std::vector<std::pair<TimeNs, TimeNs>> replays_;
  std::string finding_;
  u64 fingerprint_ = 0;
  u64 records_ = 0;
};

}  // namespace peregrine::venue
