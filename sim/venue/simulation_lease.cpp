// Two shards share an account's limit by leases; one dies. A small supervisor, as the rule wants it: only what is not
// in use comes back, and a dead shard's lease only after its port is reconciled.
#include <algorithm>
#include <filesystem>

#include "core/hash.h"
#include "venue/simulation.h"

namespace peregrine::venue {

namespace {

constexpr i64 kShareLots = 200;  // of each shard; the account's limit is both together
constexpr Money kPlenty = Money{1} << 60;

struct Node {
  Node(const EngineBlueprint& b, const SimulatedVenue& venue, PortIx port) : blueprint(&b), judge(b, venue, port) {}

  void post(journal::CommandKind kind, i64 qty_lots) {
    const Lease lease{++epoch, kind == journal::CommandKind::kLeaseGrant ? kPlenty : 0, qty_lots};
    auto c = std::make_unique<engine::CommandMessage>();
    c->kind = kind;
    const Bytes body = engine::bytes_of(lease);
    c->body.assign(body.begin(), body.end());
    engine->live().post(std::move(c));
  }

  const EngineBlueprint* blueprint;
  Judge judge;
  SimulatedDisk disk;
  JournalPlace place;
  std::vector<u8> telemetry;
  std::unique_ptr<EngineProcess> engine;
  u64 epoch = 1;
  bool finished = false;
};

void clear(const std::string& dir) {
  std::error_code ignored;
  std::filesystem::remove_all(dir, ignored);
  std::filesystem::create_directories(dir, ignored);
}

}  // namespace

LeaseResult Simulation::run_leases(u64 seed, bool trust_the_dead) {
  WorldConfig w = scenario(seed, SimulationMutant::kNone);
  Rng rng(hash_fold(0x1EA5E, seed));
  TimeNs now_ns = w.start_ns;
  SimulatedNetwork network(w.network, seed, now_ns);
  SimulatedVenue venue(w.venue, network, now_ns);
  Node nodes[2] = {{*blueprints_[blueprints_.size() - 2], venue, 0}, {*blueprints_[blueprints_.size() - 1], venue, 1}};
  for (int i = 0; i < 2; ++i) {
    nodes[i].place = w.place;
    nodes[i].place.dir = folder_ + "/journal" + (i == 0 ? "" : "-2");
    nodes[i].place.ring_dir = folder_ + "/ring-" + std::to_string(i);
    clear(nodes[i].place.dir);
    clear(nodes[i].place.ring_dir);
  }
  LeaseResult out;
  out.limit_lots = 2 * kShareLots;
  const auto found = [&out](const std::string& what) {
    if (out.finding.empty()) out.finding = what;
  };
  const auto start = [&](int i) {
    network.set_owner(i);
    Node& n = nodes[i];
    n.engine = std::make_unique<EngineProcess>(*n.blueprint, network.ops(), &now_ns, n.telemetry);
    if (const std::string wrong = n.engine->start(n.place, n.disk, true, {}); !wrong.empty()) found(wrong);
  };

  const TimeNs dies_ns = w.start_ns + rng.between(30'000'000, 80'000'000);
  const bool power_cut = rng.below(2) == 0;
  const TimeNs back_ns = dies_ns + rng.between(30'000'000, 60'000'000);
  const TimeNs stop_ns = back_ns + 120'000'000;
  i64 level[2] = {kShareLots, kShareLots};  // as the supervisor has it
  enum class Reclaim { kNotYet, kAsked, kDone } reclaim = Reclaim::kNotYet;
  bool died = false;
  TimeNs round_ns = now_ns;
  venue.start();
  for (int i = 0; i < 2; ++i) {
    start(i);
    if (!out.finding.empty()) return out;
    nodes[i].post(journal::CommandKind::kLeaseGrant, level[i]);
  }
  while (out.finding.empty() && !(nodes[0].finished && nodes[1].finished) && now_ns < stop_ns + 8'000'000'000) {
    now_ns = std::max(now_ns + 1'000, std::min({venue.due_ns(), network.venue_due_ns(), network.engine_due_ns(), round_ns}));
    if (now_ns >= round_ns) round_ns = now_ns + 1'000'000;
    venue.step();
    if (!died && now_ns >= dies_ns) {
      died = true;
      network.kill(power_cut, 0);
      nodes[0].engine.reset();
      if (power_cut) {
        nodes[0].disk.faults().lose_unsynced(seed, true);
        clear(nodes[0].place.ring_dir);
        nodes[0].judge.power_was_cut(now_ns);
      }
      if (trust_the_dead) {  // the defect: it is dead, so what it held is free
        level[1] += level[0];
        nodes[1].post(journal::CommandKind::kLeaseGrant, level[1]);
        level[0] = 0;
        reclaim = Reclaim::kDone;
      }
    }
    if (died && nodes[0].engine == nullptr && now_ns >= back_ns) {
      start(0);
      if (!out.finding.empty()) break;
      ++out.recoveries;
      // What the power cut took may have been its lease too: it is told again before it can trade.
      nodes[0].epoch += 8;
      nodes[0].post(journal::CommandKind::kLeaseGrant, level[0]);
    }
    for (int i = 0; i < 2; ++i) {
      Node& n = nodes[i];
      if (n.engine == nullptr || n.finished) continue;
      network.set_owner(i);
      const OrderSession& session = n.engine->shard().session();
      const bool calm = session.phase() == SessionPhase::kReady && !session.blocked();
      if (now_ns >= stop_ns && calm) n.engine->live().request_stop(engine::StopReason::kAsked);
      n.engine->live().round();
      const bool over = n.engine->live().over();
      while (n.engine->writer().drain_once(now_ns) > 0) {
      }
      n.judge.observe(n.engine.get(), now_ns);
      if (over) {
        n.engine->live().finish();
        n.finished = true;
      }
    }
    for (Node& n : nodes) n.judge.observe(nullptr, now_ns);
    // Its port is reconciled: now what it does not use may go to the other.
    if (died && nodes[0].engine != nullptr && !nodes[0].finished && nodes[0].engine->shard().session().ready()) {
      const Lease& lease = nodes[0].engine->shard().gate().lease();
      if (reclaim == Reclaim::kNotYet && lease.epoch == nodes[0].epoch) {
        nodes[0].post(journal::CommandKind::kLeaseReturn, level[0]);
        reclaim = Reclaim::kAsked;
      } else if (reclaim == Reclaim::kAsked && lease.epoch == nodes[0].epoch) {
        out.returned_lots = level[0] - lease.qty_lots;
        level[0] = lease.qty_lots;
        level[1] += out.returned_lots;
        if (!nodes[1].finished) nodes[1].post(journal::CommandKind::kLeaseGrant, level[1]);
        reclaim = Reclaim::kDone;
      }
    }
    const i64 all = nodes[0].judge.worst_lots() + nodes[1].judge.worst_lots();
    out.most_lots = std::max(out.most_lots, all);
    if (all > out.limit_lots) {
      found("both shards together hold or may come to hold " + std::to_string(all) + " lots at the venue, the account's limit is " +
            std::to_string(out.limit_lots));
    }
    for (const Node& n : nodes) {
      if (!n.judge.finding().empty()) found(n.judge.finding());
    }
  }
  for (Node& n : nodes) {
    if (!out.finding.empty()) break;
    if (!n.finished) {
      found("a shard did not drain");
      break;
    }
    n.judge.final_state(*n.engine);
    found(n.judge.finding());
  }
  return out;
}

}  // namespace peregrine::venue
