// Scenarios and crash plans by seed, and the sweep over every record and every send.
#include "venue/simulation.h"

#include "core/hash.h"

namespace peregrine::venue {

namespace {

constexpr u64 kOfScenario = 0x5CE0, kOfPlan = 0x91A7;

constexpr u64 kFullDisks = 8;
constexpr std::size_t kSharing = 2;  // the last blueprints share an account, in run_leases()

u32 pick(Rng& rng, u32 a, u32 b) { return static_cast<u32>(rng.between(a, b)); }

}  // namespace

WorldConfig Simulation::scenario(u64 seed, SimulationMutant mutant) const {
  Rng rng(hash_fold(kOfScenario, seed));
  WorldConfig w;
  w.blueprint = blueprints_[rng.below(blueprints_.size() - kSharing)].get();
  w.seed = seed;
  w.start_ns = start_ns_;
  w.mutant = mutant;
  w.place.dir = folder_ + "/journal";
  w.place.ring_dir = folder_ + "/ring";
  w.venue.exchange = exchange_;
  w.venue.exchange.ports[0].cancel_on_disconnect = rng.below(4) == 0;
  w.venue.exchange.reject_per_million = rng.below(3) == 0 ? 100'000 : 0;
  FlowParams& f = w.venue.flow;
  f.seed = seed;
  f.rate_per_s = pick(rng, 250, 600);
  f.target_orders = 10;
  f.take = pick(rng, 800, 3000);
  f.hidden = 0;
  f.usual_spread = pick(rng, 2, 8);
  NetworkFaults& n = w.network;
  n.low_ns = 20'000;
  n.high_ns = rng.below(2) == 0 ? 200'000 : 2'000'000;
  n.split_ppm = pick(rng, 50'000, 600'000);
  n.partial_ppm = pick(rng, 0, 150'000);
  n.block_ppm = pick(rng, 0, 100'000);
  n.reset_ppm = rng.below(3) == 0 ? 20'000 : 0;
  n.refuse_ppm = rng.below(3) == 0 ? 200'000 : 0;
  n.late_ns = 60'000'000;
  for (int i = 0; i < 2; ++i) {
    LineFaults& l = w.venue.lines[i];
    l.loss_ppm = pick(rng, 0, 40'000);
    l.reorder_ppm = pick(rng, 0, 40'000);
    l.dup_ppm = pick(rng, 0, 40'000);
    l.corrupt_ppm = pick(rng, 0, 10'000);
    l.delay_ppm = pick(rng, 0, 40'000);
    l.delay_ns = 3'000'000;
  }
  w.venue.lines[kRetransmit].loss_ppm = pick(rng, 0, 200'000);
  w.trade_ns = rng.between(80'000'000, 120'000'000);
  w.after_ns = 60'000'000;
  w.drain_every_ns = rng.between(1'000'000, 12'000'000);
  w.place.sync_interval_ns = rng.between(1'000'000, 15'000'000);
  w.place.sync = rng.below(4) == 0 ? journal::SyncPolicy::kOnClose : journal::SyncPolicy::kInterval;
  w.place.segment_bytes = rng.below(3) == 0 ? (1u << 14) : (1u << 20);
  if (rng.below(2) == 0) w.reset_at_ns = start_ns_ + rng.between(30'000'000, 90'000'000);
  if (rng.below(3) == 0) {
    w.venue.halt_at_ns = start_ns_ + rng.between(20'000'000, 70'000'000);
    w.venue.halt_until_ns = w.venue.halt_at_ns + rng.between(1'000'000, 30'000'000);
  }
  return w;
}

CrashPlan Simulation::plan(u64 seed, CutAt cut, u64 number) const {
  Rng rng(hash_fold(hash_fold(kOfPlan, seed), number * 4 + static_cast<u64>(cut)));
  CrashPlan p;
  p.cut = cut;
  p.number = number;
  if (cut == CutAt::kNowhere || cut == CutAt::kFullDisk) return p;
  p.power_cut = rng.below(3) == 0;
  p.keep_none = rng.below(2) == 0;
  p.down_ns = rng.between(100'000, 30'000'000);
  if (rng.below(4) == 0) p.operator_cancels = pick(rng, 1, 3);
  if (rng.below(24) == 0) {
    // Nobody can know what is still under way then: whoever starts over waits until nothing is.
    p.new_disk = true;
    p.down_ns = 150'000'000;
    return p;
  }
  if (rng.below(6) == 0) p.again_after = pick(rng, 1, 40);
  if (rng.below(5) == 0) p.recovery_call = static_cast<i32>(rng.below(12));
  return p;
}

bool Simulation::one(const WorldConfig& world, const CrashPlan& plan, SeedResult& out, WorldResult* keep) {
  const WorldResult r = World(world, plan, telemetry_).run();
  ++out.runs;
  out.recoveries += r.recoveries;
  out.operator_cuts += r.operator_cuts;
  out.fills += r.fills;
  out.orders += r.orders;
  out.late_bytes += r.late_bytes;
  out.journal_records += r.records;
  out.fingerprint = hash_fold(out.fingerprint, r.fingerprint);
  if (keep != nullptr) *keep = r;
  if (r.finding.empty()) return true;
  out.finding = r.finding;
  out.cut = plan.cut;
  out.number = plan.number;
  return false;
}

SeedResult Simulation::run(const SeedOptions& o) {
  SeedResult out;
  const WorldConfig world = scenario(o.seed, o.mutant);
  for (u32 i = 0; i < blueprints_.size(); ++i) {
    if (blueprints_[i].get() == world.blueprint) out.variant = i;
  }
  const auto leases = [&] {
    const LeaseResult r = run_leases(o.seed, false);
    ++out.runs;
    out.recoveries += r.recoveries;
    if (!r.finding.empty()) {
      out.finding = r.finding;
      out.cut = CutAt::kLease;
    }
  };
  if (!o.all) {
    if (o.only == CutAt::kLease) {
      leases();
      return out;
    }
    one(world, plan(o.seed, o.only, o.only_number), out);
    return out;
  }
  WorldResult uncut;
  if (!one(world, plan(o.seed, CutAt::kNowhere, 0), out, &uncut)) return out;
  out.records = uncut.last_record - uncut.first_record + 1;
  out.sends = uncut.sends;
  for (u64 r = uncut.first_record; r <= uncut.last_record; ++r) {
    if (!one(world, plan(o.seed, CutAt::kRecord, r), out)) return out;
  }
  for (u64 s = 1; s <= uncut.sends; ++s) {
    if (!one(world, plan(o.seed, CutAt::kSend, s), out)) return out;
  }
  for (u64 i = 0; i < kFullDisks; ++i) {
    const u64 bytes = world.blueprint->header.size() + 1'000 + i * 1'500 + o.seed * 131 % 1'500;
    if (!one(world, plan(o.seed, CutAt::kFullDisk, bytes), out)) return out;
  }
  leases();
  return out;
}

}  // namespace peregrine::venue
