// Python view of the whole-system simulator: blueprints in, findings out.
#include <malloc.h>

#include "bindings/shard_view.h"
#include "venue/simulation.h"

namespace py = pybind11;
using namespace peregrine;
using bindings::get;

namespace {

template <class T>
std::vector<T> array_of(const std::string& bytes) {
  std::vector<T> v(bytes.size() / sizeof(T));
  std::memcpy(v.data(), bytes.data(), v.size() * sizeof(T));
  return v;
}

// As bindings::policy_from, kept so that it can be loaded again and again.
std::unique_ptr<venue::StoredPolicy> stored_policy(const py::dict& d, const FeatureParams& features) {
  auto p = std::make_unique<venue::StoredPolicy>();
  (void)bindings::policy_from(d, features);  // refuses what is not a policy, with the reason
  p->slot = get<u32>(d, "slot");
  p->config.weight = get<i16>(d, "weight");
  p->config.role = get<std::string>(d, "role") == "risk" ? PolicySet::Role::kRisk : PolicySet::Role::kVoter;
  for (const u32 a : get<std::vector<u32>>(d, "veto_actions")) p->config.veto_actions |= static_cast<u16>(1u << (a & 15));
  p->config.forced_action = get<u8>(d, "forced_action");
  p->feature_index = get<std::vector<u16>>(d, "feature_index");
  p->quant_m = get<std::vector<i16>>(d, "quant_m");
  p->quant_s = get<std::vector<u8>>(d, "quant_s");
  PolicySpec& spec = p->spec;
  spec.n_inputs = static_cast<u32>(p->feature_index.size());
  spec.feature_index = p->feature_index.data();
  spec.quant_m = p->quant_m.data();
  spec.quant_s = p->quant_s.data();
  const py::list layers = get<py::list>(d, "layers");
  spec.n_layers = static_cast<u32>(layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const py::dict l = layers[i].cast<py::dict>();
    p->weights.push_back(array_of<i8>(get<py::bytes>(l, "weights")));
    p->bias.push_back(array_of<i32>(get<py::bytes>(l, "bias")));
    p->shift.push_back(array_of<u8>(get<py::bytes>(l, "shift")));
    LayerSpec& layer = spec.layer[i];
    layer.inputs = get<u32>(l, "inputs");
    layer.outputs = get<u32>(l, "outputs");
    layer.relu = get<bool>(l, "relu");
  }
  for (std::size_t i = 0; i < layers.size(); ++i) {
    spec.layer[i].weights = p->weights[i].data();
    spec.layer[i].bias = p->bias[i].data();
    spec.layer[i].shift = i + 1 == layers.size() ? nullptr : p->shift[i].data();
  }
  spec.schema_hash = bindings::digest_from(get<std::string>(d, "schema_hash"), "schema_hash");
  spec.action_map_hash = bindings::digest_from(get<std::string>(d, "action_map_hash"), "action_map_hash");
  spec.artifact_hash = bindings::digest_from(get<std::string>(d, "artifact_hash"), "artifact_hash");
  p->context.n_schema_features = FeatureEngine::kFeatures;
  p->context.n_actions = get<u32>(d, "n_actions");
  p->context.schema_hash = schema_hash(features);
  p->context.action_map_hash = spec.action_map_hash;
  return p;
}

engine::LiveConfig live_config(const std::string& username) {
  engine::LiveConfig c;
  c.ouch = {"127.0.0.1", venue::kOuchPort};
  c.glimpse = {"127.0.0.1", venue::kGlimpsePort};
  c.retransmit = {"127.0.0.1", venue::kRetransmitPort};
  c.itch_a = {"127.0.0.1", venue::kLineAPort};
  c.itch_b = {"127.0.0.1", venue::kLineBPort};
  c.username = username;
  c.password = "SIMULATED";
  c.feed.window_messages = 256;
  c.feed.arbitration_wait_ns = 1'500'000;
  c.feed.request_timeout_ns = 3'000'000;
  c.feed.request_retries = 3;
  c.feed.silence_timeout_ns = 60'000'000;
  c.feed.snapshot_timeout_ns = 40'000'000;
  c.feed.snapshot_retry_ns = 4'000'000;
  c.heartbeat_ns = 100'000'000;
  c.silence_ns = 350'000'000;
  c.reconnect_delay_ns = 4'000'000;
  c.connect_timeout_ns = 20'000'000;
  c.idle = engine::IdleMode::kSpin;
  c.stage_sample = 1u << 30;
  c.drain_timeout_ns = 6'000'000'000;
  c.noise_ns = 0;
  c.send_buffer_bytes = 4096;
  return c;
}

std::unique_ptr<venue::EngineBlueprint> blueprint_from(const py::dict& d) {
  auto b = std::make_unique<venue::EngineBlueprint>();
  b->shard = bindings::shard_config_from(get<py::dict>(d, "shard"));
  for (const py::handle h : get<py::list>(d, "policies")) {
    b->policies.push_back(stored_policy(py::reinterpret_borrow<py::dict>(h), b->shard.features));
  }
  b->quorum = get<u16>(d, "quorum");
  const std::string header = get<py::bytes>(d, "header");
  b->header.assign(header.begin(), header.end());
  b->live = live_config(get<std::string>(d, "username"));
  return b;
}

venue::ExchangeConfig exchange_from(const py::dict& d, const engine::ShardConfig& shard) {
  venue::ExchangeConfig c;
  c.symbols.clear();
  for (const engine::InstrumentSpec& i : shard.instruments) {
    venue::SymbolConfig s;
    s.symbol = i.symbol;
    s.increment_ticks = i.tactic.increment_ticks;
    c.symbols.push_back(s);
  }
  for (const char* number : {"1", "2"}) {
    venue::PortConfig port;
    port.user = std::string("SIM00") + number;
    port.password = "SIMULATED";
    port.firm = std::string("SIM") + number;
    c.ports.push_back(port);
  }
  c.midnight_ns = get<i64>(d, "midnight_ns");
  c.taker_fee_ticks = shard.orders.fees.removed;
  c.maker_fee_ticks = shard.orders.fees.added;
  c.max_orders = 1024;
  return c;
}

venue::CutAt cut_from(const std::string& name) {
  if (name == "record") return venue::CutAt::kRecord;
  if (name == "send") return venue::CutAt::kSend;
  if (name == "disk") return venue::CutAt::kFullDisk;
  if (name == "lease") return venue::CutAt::kLease;
  if (name == "none") return venue::CutAt::kNowhere;
  throw py::value_error("cut \"" + name + "\": one of none, record, send, disk, lease");
}
const char* cut_name(venue::CutAt cut) {
  constexpr const char* names[] = {"none", "record", "send", "disk", "lease"};
  return names[static_cast<u8>(cut)];
}

py::dict result_dict(const venue::SeedResult& r, u64 seed) {
  py::dict d;
  d["seed"] = seed;
  d["finding"] = r.finding;
  d["cut"] = cut_name(r.cut);
  d["number"] = r.number;
  d["runs"] = r.runs;
  d["records"] = r.records;
  d["sends"] = r.sends;
  d["recoveries"] = r.recoveries;
  d["operator_cuts"] = r.operator_cuts;
  d["fills"] = r.fills;
  d["orders"] = r.orders;
  d["late_bytes"] = r.late_bytes;
  d["journal_records"] = r.journal_records;
  d["fingerprint"] = r.fingerprint;
  d["variant"] = r.variant;
  return d;
}

}  // namespace

void bind_simulation(py::module_& m) {
  py::class_<venue::Simulation>(m, "Simulation",
                                "Engine, exchange, network and disk in one process under virtual time; ends the engine "
                                "after every record and every send and judges each run by the venue's own record.")
      .def(py::init([](const py::list& blueprints, const std::string& folder, i64 start_ns) {
             // Each run makes and drops the same large blocks: they stay in the heap instead of going to the kernel.
             ::mallopt(M_MMAP_THRESHOLD, 256 << 20);
             ::mallopt(M_TRIM_THRESHOLD, 512 << 20);
             std::vector<std::unique_ptr<venue::EngineBlueprint>> made;
             for (const py::handle h : blueprints) made.push_back(blueprint_from(py::reinterpret_borrow<py::dict>(h)));
             if (made.empty()) throw py::value_error("at least one blueprint");
             const py::dict first = blueprints[0].cast<py::dict>();
             venue::ExchangeConfig exchange = exchange_from(get<py::dict>(first, "shard"), made[0]->shard);
             return std::make_unique<venue::Simulation>(std::move(made), exchange, folder, start_ns);
           }),
           py::arg("blueprints"), py::arg("folder"), py::arg("start_ns"))
      .def(
          "run",
          [](venue::Simulation& s, u64 seed, const std::string& mutant, const std::string& cut, i64 number) {
            venue::SeedOptions o;
            o.seed = seed;
            if (mutant == "send_before_journal") o.mutant = venue::SimulationMutant::kSendBeforeJournal;
            else if (!mutant.empty()) throw py::value_error("mutant \"" + mutant + "\" is unknown");
            o.all = cut.empty();
            if (!o.all) o.only = cut_from(cut);
            o.only_number = number < 0 ? 0 : static_cast<u64>(number);
            venue::SeedResult r;
            {
              const py::gil_scoped_release release;
              r = s.run(o);
            }
            return result_dict(r, seed);
          },
          py::arg("seed"), py::arg("mutant") = "", py::arg("cut") = "", py::arg("number") = -1,
          "Every run of a seed, or with `cut` (none, record, send, disk, lease) and `number` the one named. The result's "
          "`finding` is empty when nothing was wrong.")
      .def(
          "run_leases",
          [](venue::Simulation& s, u64 seed, bool trusted) {
            venue::LeaseResult r;
            {
              const py::gil_scoped_release release;
              r = s.run_leases(seed, trusted);
            }
            py::dict d;
            d["seed"] = seed;
            d["finding"] = r.finding;
            d["limit_lots"] = r.limit_lots;
            d["most_lots"] = r.most_lots;
            d["returned_lots"] = r.returned_lots;
            d["recoveries"] = r.recoveries;
            return d;
          },
          py::arg("seed"), py::arg("trusted") = false,
          "Two shards share an account's limit by leases and one dies. `trusted`: its lease is given to the other at "
          "once, before its port is reconciled, which the judge must find.")
      .def_property_readonly("journal_dir", &venue::Simulation::journal_dir, "Where the last run's journal lies.");
}
