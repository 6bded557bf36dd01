// Python view of virtual time: engine and exchange in one process, as fast as the machine goes.
#include <pybind11/numpy.h>

#include "bindings/device_host.h"
#include "bindings/shard_view.h"
#include "device/faulty_device.h"
#include "journal/recover.h"
#include "venue/virtual_run.h"

namespace py = pybind11;
using namespace peregrine;
using bindings::get;

namespace {

venue::LatencyModel latency_from(const py::dict& d) {
  venue::LatencyModel m;
  const std::string kind = get<std::string>(d, "kind");
  if (kind == "constant") {
    m.kind = venue::LatencyModel::Kind::kConstant;
    m.min_ns = m.max_ns = get<i64>(d, "latency_ns");
  } else if (kind == "uniform") {
    m.kind = venue::LatencyModel::Kind::kUniform;
    m.min_ns = get<i64>(d, "low_ns");
    m.max_ns = get<i64>(d, "high_ns");
    if (m.max_ns < m.min_ns) throw py::value_error("latency: high_ns below low_ns");
  } else if (kind == "recorded") {
    m.kind = venue::LatencyModel::Kind::kRecorded;
    m.samples_ns = get<std::vector<i64>>(d, "samples_ns");
    if (m.samples_ns.empty()) throw py::value_error("latency: samples_ns is empty");
    m.min_ns = m.samples_ns[0];
  } else {
    throw py::value_error("latency kind must be constant, uniform or recorded, not '" + kind + "'");
  }
  return m;
}

venue::VirtualConfig virtual_config_from(const py::dict& d) {
  venue::VirtualConfig c;
  c.exchange.symbols.clear();
  for (const py::handle h : get<py::list>(d, "symbols")) {
    const py::dict s = py::reinterpret_borrow<py::dict>(h);
    venue::SymbolConfig symbol;
    symbol.symbol = get<std::string>(s, "symbol");
    symbol.increment_ticks = get<i64>(s, "increment_ticks");
    symbol.round_lot = get<u32>(s, "round_lot_lots");
    symbol.reference_ticks = get<i64>(s, "reference_ticks");
    c.exchange.symbols.push_back(symbol);
  }
  venue::PortConfig port;
  port.user = get<std::string>(d, "username");
  port.password = "virtual";
  port.firm = get<std::string>(d, "firm");
  c.exchange.ports = {port};
  c.exchange.midnight_ns = get<i64>(d, "midnight_ns");
  c.exchange.taker_fee_ticks = get<i64>(d, "taker_fee");
  c.exchange.maker_fee_ticks = get<i64>(d, "maker_fee");
  c.exchange.max_orders = get<u32>(d, "max_orders");
  c.flow.seed = get<u64>(d, "seed");
  c.flow.rate_per_s = get<u32>(d, "rate_per_s");
  c.feed = latency_from(get<py::dict>(d, "feed_latency"));
  c.order = latency_from(get<py::dict>(d, "order_latency"));
  c.answer = latency_from(get<py::dict>(d, "answer_latency"));
  c.latency_seed = get<u64>(d, "latency_seed");
  c.start_ns = get<i64>(d, "start_ns");
  c.duration_ns = get<i64>(d, "duration_ns");
  c.recorded = get<bool>(d, "recorded");
  c.source_locate = get<u16>(d, "source_locate");
  c.speed_percent = get<u32>(d, "speed_percent");
  return c;
}

// Every decision as rows for training: features, action, best prices, position, time.
class Tap final : public engine::DecisionTap {
 public:
  void on_decision(InstrumentIx ix, TimeNs now, const i32* features, const PolicySet::Decision& decision,
                   const Top& top, QtyLots position_lots) override {
    features_.insert(features_.end(), features, features + FeatureEngine::kFeatures);
    for (const i64 v : {static_cast<i64>(now), static_cast<i64>(ix), static_cast<i64>(decision.action), top.bid_ticks,
                        top.bid_lots, top.ask_ticks, top.ask_lots, position_lots}) {
      facts_.push_back(v);
    }
  }
  static constexpr std::size_t kFacts = 8;
  py::array_t<i32> features() const {
    return py::array_t<i32>({features_.size() / FeatureEngine::kFeatures, std::size_t{FeatureEngine::kFeatures}},
                            features_.data());
  }
  py::array_t<i64> facts() const { return py::array_t<i64>({facts_.size() / kFacts, kFacts}, facts_.data()); }

 private:
  std::vector<i32> features_;
  std::vector<i64> facts_;
};

class VirtualEngine {
 public:
  VirtualEngine(const py::dict& shard_spec, const py::list& policies, u16 quorum, const py::dict& virtual_spec,
                const py::bytes& recording, const py::object& journal, u64 signal_address, bool tap, const py::object& device)
      : recording_(recording), shard_(bindings::shard_config_from(shard_spec)) {
    bindings::load_policies(shard_, policies, quorum);
    if (tap) shard_.set_tap(&tap_);
    if (!journal.is_none()) open_journal(journal.cast<py::dict>());
    runner_ = std::make_unique<engine::StepRunner>(shard_, journal_.appender.get());
    if (signal_address != 0) runner_->set_signal(UserSignal::from_address(signal_address));
    if (!device.is_none()) attach_device(device.cast<py::dict>());
    const venue::VirtualConfig config = virtual_config_from(virtual_spec);
    run_ = std::make_unique<venue::VirtualRun>(
        config, *runner_, Bytes(reinterpret_cast<const u8*>(recording_.data()), recording_.size()), journal_.writer.get());
  }

  bool run(i64 budget_ns) {
    const py::gil_scoped_release release;
    return run_->run(budget_ns < 0 ? INT64_MAX : budget_ns);
  }
  py::dict finish() {
    {
      const py::gil_scoped_release release;
      run_->finish();
    }
    if (journal_.writer) {
      journal::JournalError error;
      if (!journal_.writer->close(error)) throw py::value_error("journal could not be closed: " + error.text());
    }
    return summary();
  }
  py::dict summary() const {
    py::dict d = bindings::shard_summary(shard_);
    d["now_ns"] = run_->now_ns();
    d["feed_messages"] = run_->feed_messages();
    d["journal_failed"] = run_->journal_failed();
    d["intents_refused"] = runner_->intents_refused();
    const venue::PortSummary p = run_->exchange().summary(0);
    py::dict v;
    v["accepted"] = p.accepted;
    v["replaced"] = p.replaced;
    v["canceled"] = p.canceled;
    v["rejected"] = p.rejected;
    v["executed"] = p.executed;
    v["ignored"] = p.ignored;
    v["bought"] = p.bought;
    v["sold"] = p.sold;
    v["cash_ticks"] = p.cash_ticks;
    v["fees_ticks"] = p.fees_ticks;
    v["open_orders"] = p.open_orders;
    d["venue"] = v;
    d["device"] = device_ != nullptr ? py::object(device_->summary()) : py::none();
    if (faulty_ != nullptr) {
      py::list faults;
      for (u32 f = 0; f < static_cast<u32>(sim::DeviceFault::kCount); ++f) faults.append(faulty_->faults(static_cast<sim::DeviceFault>(f)));
      d["device_faults"] = faults;
    }
    return d;
  }
  py::dict book(int levels) const { return bindings::book_summary(shard_.market(), levels); }
  py::array_t<i32> features() const { return tap_.features(); }
  py::array_t<i64> facts() const { return tap_.facts(); }

 private:
  void open_journal(const py::dict& d) {
    header_ = get<py::bytes>(d, "header");
    journal::RecoverOptions recover;
    recover.dir = get<std::string>(d, "dir");
    recover.ring_name = get<std::string>(d, "ring_name");
    recover.now_ns = get<i64>(d, "now_ns");
    recover.header = Bytes(reinterpret_cast<const u8*>(header_.data()), header_.size());
    journal::RingOptions ring;
    ring.ring_bytes = get<u64>(d, "ring_bytes");
    journal::WriterOptions writer;
    writer.segment_bytes = get<u64>(d, "segment_bytes");
    writer.sync = journal::SyncPolicy::kNever;
    journal::JournalError error;
    if (!journal::open_journal(recover, ring, ring.ring_bytes / 16, writer, journal_, error)) {
      throw py::value_error(error.text());
    }
    if (!journal_.recovered.fresh) {
      throw py::value_error("a virtual run starts a journal of its own: " + recover.dir + " holds one");
    }
  }

  // Virtual time has no clock that a deadline could be read from: a device's is counted in polls. With `faults` they
  // stand between the engine and the device.
  void attach_device(const py::dict& spec) {
    const TscClock clock = TscClock::from_kernel();
    if (!spec.contains("faults")) {
      device_ = std::make_unique<bindings::DeviceHost>(spec, clock);
    } else {
      const py::dict faults = get<py::dict>(spec, "faults");
      sim::DeviceFaultPlan plan;
      plan.seed = get<u64>(faults, "seed");
      const auto permille = get<std::vector<u32>>(faults, "permille");
      if (permille.size() != plan.permille.size()) throw py::value_error("faults: permille of each kind of fault");
      std::copy(permille.begin(), permille.end(), plan.permille.begin());
      plan.first_request = get<u64>(faults, "first_request");
      plan.requests = get<u64>(faults, "requests");
      plan.late_polls = get<u32>(faults, "late_polls");
      plan.failing_resets = get<u32>(faults, "failing_resets");
      inner_ = std::make_unique<bindings::DeviceHost>(spec, clock);
      faulty_ = std::make_unique<sim::FaultyDevice>(inner_->backend(), inner_->device(), plan);
      py::dict outer(spec);
      outer["table"] = reinterpret_cast<std::uintptr_t>(&sim::FaultyDevice::table());
      outer["handle"] = reinterpret_cast<std::uintptr_t>(faulty_->handle());
      device_ = std::make_unique<bindings::DeviceHost>(outer, clock);
    }
    device_->prepare(shard_.policies());
    runner_->set_device(device_->port());
  }

  std::string recording_;
  std::string header_;
  std::unique_ptr<bindings::DeviceHost> inner_;
  std::unique_ptr<sim::FaultyDevice> faulty_;
  std::unique_ptr<bindings::DeviceHost> device_;
  engine::Shard shard_;
  Tap tap_;
  journal::OpenJournal journal_;
  std::unique_ptr<engine::StepRunner> runner_;
  std::unique_ptr<venue::VirtualRun> run_;
};

}  // namespace

void bind_virtual(py::module_& m) {
  py::class_<VirtualEngine>(m, "VirtualEngine", "Engine and simulated exchange in virtual time, the live objects linked.")
      .def(py::init<const py::dict&, const py::list&, u16, const py::dict&, const py::bytes&, const py::object&, u64, bool, const py::object&>(),
           py::arg("shard"), py::arg("policies"), py::arg("quorum"), py::arg("virtual"), py::arg("recording") = py::bytes(),
           py::arg("journal") = py::none(), py::arg("signal_address") = 0, py::arg("tap") = false,
           py::arg("device") = py::none())
      .def("run", &VirtualEngine::run, py::arg("budget_ns") = -1,
           "Runs for budget_ns of virtual time (-1: to the end); False when the end is reached.")
      .def("finish", &VirtualEngine::finish, "Cancels what works, closes the journal, returns the summary.")
      .def("summary", &VirtualEngine::summary)
      .def("book", &VirtualEngine::book, py::arg("levels") = 10)
      .def_property_readonly("features", &VirtualEngine::features, "int32 (decisions, features); needs tap=True")
      .def_property_readonly("facts", &VirtualEngine::facts,
                             "int64 (decisions, 8): now_ns, instrument, action, bid_ticks, bid_lots, ask_ticks, "
                             "ask_lots, position_lots; needs tap=True");
}
