// The whole system in one process under virtual time: the real engine, the exchange, a network and a disk in memory.
//
//   a seed ─▶ a scenario, run once uncut ─▶ again for every journal record and every send, the engine's process ended
//   exactly there, recovered, reconnected, traded on, drained ─▶ each judged by the venue's own record
//
// The process is ended by throwing through it at its next visible effect, its ring cut back to the record in question:
// nothing outside can tell that from a death at that record. Same seed, same runs, bit for bit.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "venue/simulation_judge.h"

namespace peregrine::venue {

// Defects on purpose that live around the engine; those inside it are patched into a build of their own.
enum class SimulationMutant : u8 {
  kNone = 0,
  kSendBeforeJournal = 1,  // bytes leave before their intents are in the journal
};

enum class CutAt : u8 { kNowhere = 0, kRecord = 1, kSend = 2, kFullDisk = 3, kLease = 4 };

struct CrashPlan {
  CutAt cut = CutAt::kNowhere;
  u64 number = 0;           // of the journal record, or of the send
  bool power_cut = false;   // un-synced sectors and the ring are gone
  bool keep_none = false;   // … all of them, else each by chance
  bool new_disk = false;    // the whole journal is gone: a fresh one begins on a port that was used before
  u32 again_after = 0;      // ended once more so many records after the recovery; 0 = not
  i32 recovery_call = -1;   // the recovery itself ends at this call to its disk; -1 = not
  u32 operator_cancels = 0;  // mass cancels an operator sends by hand on the port meanwhile
  TimeNs down_ns = 5'000'000;
};

struct WorldConfig {
  const EngineBlueprint* blueprint = nullptr;
  SimulatedVenueConfig venue;
  NetworkFaults network;
  u64 seed = 1;
  TimeNs start_ns = 0;
  TimeNs trade_ns = 150'000'000;   // after the first connection
  TimeNs after_ns = 130'000'000;   // traded on after a recovery
  TimeNs round_ns = 1'000'000;     // the engine polls at least this often
  TimeNs drain_every_ns = 3'000'000;  // the journal's writer
  TimeNs reset_at_ns = INT64_MAX;  // the order connection is reset at this time
  JournalPlace place;
  SimulationMutant mutant = SimulationMutant::kNone;
};

struct WorldResult {
  std::string finding;  // empty = nothing wrong
  u64 first_record = 0, last_record = 0, sends = 0;  // of the first life
  u32 recoveries = 0, operator_cuts = 0;
  u64 fills = 0, orders = 0, records = 0, late_bytes = 0, fingerprint = 0;
};

// One world, run once.
class World final : private EffectHook {
 public:
  World(const WorldConfig& config, const CrashPlan& plan, std::vector<u8>& telemetry);
  WorldResult run();

 private:
  void before_effect() override;
  void after_send(u16 port, std::size_t taken) override;

  void advance();
  void live();
  void start_engine();
  void end_process(bool exact);
  bool past_target() const;
  void finish_engine();
  void full_disk_over();
  void clear_place();

  WorldConfig config_;
  CrashPlan plan_;
  std::vector<u8>& telemetry_;
  TimeNs now_ns_;
  Rng rng_;
  SimulatedNetwork network_;
  SimulatedVenue venue_;
  SimulatedDisk disk_;
  Judge judge_;
  std::unique_ptr<EngineProcess> engine_;
  StateThen then_;
  WorldResult result_;
  u64 target_ = 0;       // end after this record; 0 = none
  bool send_target_ = false;
  bool finished_ = false;
  bool cut_damaged_ = false;
  bool disk_full_ = false;
  TimeNs start_at_ns_;
  TimeNs stop_at_ns_;
  TimeNs round_due_ns_ = 0;
  TimeNs drain_due_ns_ = 0;
  u64 sends_ = 0;
  u64 replay_end_ = 0;        // the port's next message when the engine last logged in
  bool shared_port_ = false;  // somebody else's requests stand in the port's record
};

struct SeedOptions {
  u64 seed = 1;
  SimulationMutant mutant = SimulationMutant::kNone;
  CutAt only = CutAt::kNowhere;  // with only_number: this one run; kNowhere and all = every run of the seed
  u64 only_number = 0;
  bool all = true;
};

struct SeedResult {
  std::string finding;
  CutAt cut = CutAt::kNowhere;  // of the run that failed
  u64 number = 0;
  u64 runs = 0, records = 0, sends = 0, recoveries = 0, operator_cuts = 0, fills = 0, orders = 0, late_bytes = 0;
  u64 journal_records = 0;
  u64 fingerprint = 0;
  u32 variant = 0;
};

struct LeaseResult {
  std::string finding;
  i64 limit_lots = 0, most_lots = 0;  // of the account, as the venue saw it
  i64 returned_lots = 0;              // by the shard that died, once its port was reconciled
  u32 recoveries = 0;
};

class Simulation {
 public:
  // `folder` is this object's own, on memory.
  Simulation(std::vector<std::unique_ptr<EngineBlueprint>> blueprints, const ExchangeConfig& exchange,
             std::string folder, TimeNs start_ns)
      : blueprints_(std::move(blueprints)), exchange_(exchange), folder_(std::move(folder)), start_ns_(start_ns) {}

  SeedResult run(const SeedOptions& options);
  // Two shards on one account; see simulation_lease.cpp.
  LeaseResult run_leases(u64 seed, bool trust_the_dead);
  // Where the journal of the last run lies.
  std::string journal_dir() const { return folder_ + "/journal"; }

 private:
  WorldConfig scenario(u64 seed, SimulationMutant mutant) const;
  CrashPlan plan(u64 seed, CutAt cut, u64 number) const;
  bool one(const WorldConfig& world, const CrashPlan& plan, SeedResult& out, WorldResult* keep = nullptr);

  std::vector<std::unique_ptr<EngineBlueprint>> blueprints_;
  ExchangeConfig exchange_;
  std::string folder_;
  TimeNs start_ns_;
  std::vector<u8> telemetry_;
};

}  // namespace peregrine::venue
