// Python view of a replay that is looked at from record to record, for the report of a run.
#include <memory>

#include "bindings/shard_factory.h"
#include "engine/replay.h"
#include "engine/replay_watch.h"

namespace py = pybind11;
using namespace peregrine;

namespace {

constexpr u64 kRecordsBetweenCalls = 200'000;  // how often Python hears of the progress, and may stop it
constexpr const char* kAccountNames[] = {"pnl_units", "realized_units", "fees_units", "gross_units", "credit_units",
                                         "working_orders", "soft_orders", "risk_rejects", "events", "decisions"};
constexpr const char* kInstrumentNames[] = {"position_lots", "pnl_units", "bid_ticks", "ask_ticks"};
constexpr const char* kStateNames[] = {"killed", "paused", "reduce_only", "draining", "session", "feed", "message_breaker",
                                       "reject_breaker", "loss_breaker", "drawdown_breaker"};
static_assert(std::size(kAccountNames) == engine::ReplayWatch::kAccountCurves);
static_assert(std::size(kInstrumentNames) == engine::ReplayWatch::kInstrumentCurves);
static_assert(std::size(kStateNames) == engine::kWatchedStates);

py::bytes spans_of(const engine::Curve& c) {
  return py::bytes(reinterpret_cast<const char*>(c.spans().data()), c.spans().size() * sizeof(engine::Span));
}

// Replays one shard's journal and keeps what its report shows.
class WatchedReplay {
 public:
  WatchedReplay(const py::dict& spec, const py::list& policies, u16 quorum, const py::object& stage)
      : factory_(bindings::shard_factory(spec, policies, quorum, stage)), shard_(factory_.make()) {}

  // Records of a type in `types` go to on_record(type, seq, ts_ns, generation, payload) after they were stepped.
  py::dict run(const std::string& dir, i64 first_ns, i64 last_ns, u32 columns, u32 rows, const std::vector<u16>& types,
               const py::object& on_record, const py::object& on_progress) {
    if (columns == 0 || rows == 0) throw py::value_error("at least one column and one row are needed");
    bool wanted[256] = {};
    for (const u16 t : types) wanted[t & 255] = true;
    journal::JournalError error;
    std::unique_ptr<journal::Reader> reader = journal::Reader::open(dir, {}, error);
    if (reader == nullptr) throw py::value_error(error.text());
    engine::Replay replay(*shard_, [this](u32 slot, Bytes artifact) { factory_.stage(*shard_, slot, artifact); });
    watch_ = std::make_unique<engine::ReplayWatch>(*shard_, first_ns, last_ns, columns, rows);
    bool corrupt = false;
    {
      const py::gil_scoped_release release;
      journal::RecordView view;
      journal::ReadResult r;
      u64 seen = 0;
      i64 before_ns = 0;
      while ((r = reader->next(view)) == journal::ReadResult::kRecord) {
        replay.on_record(view.header, view.payload);
        if (static_cast<journal::RecordType>(view.header.type) == journal::RecordType::kRecovered) stops_.emplace_back(before_ns, view.header.ts_ns);
        before_ns = view.header.ts_ns;
        if (journal::is_input(static_cast<journal::RecordType>(view.header.type))) watch_->look(view.header.seq, view.header.ts_ns);
        const bool report = ++seen % kRecordsBetweenCalls == 0;
        if (!report && !wanted[view.header.type & 255]) continue;
        const py::gil_scoped_acquire gil;
        if (report) {
          if (PyErr_CheckSignals() != 0) throw py::error_already_set();
          if (!on_progress.is_none()) on_progress(seen);
        }
        if (!wanted[view.header.type & 255]) continue;
        const py::bytes payload(reinterpret_cast<const char*>(view.payload.data()), view.payload.size());
        on_record(view.header.type, view.header.seq, view.header.ts_ns, view.header.generation, payload);
      }
      corrupt = r == journal::ReadResult::kCorrupt;
    }
    if (corrupt) throw py::value_error(reader->error().text());
    replay.finish(!reader->end().last_segment_closed);
    const engine::ReplayResult& result = replay.result();
    py::dict d;
    d["records"] = result.records;
    d["inputs"] = result.inputs;
    d["orders"] = result.orders;
    d["state_hashes"] = result.state_hashes;
    d["recoveries"] = result.recoveries;
    d["unsent"] = result.unsent;
    d["first_ts_ns"] = result.first_ts_ns;
    d["last_ts_ns"] = result.last_ts_ns;
    d["identical"] = result.identical;
    d["closed"] = reader->end().last_segment_closed;
    d["torn_bytes"] = reader->end().torn_bytes;
    d["summary"] = bindings::shard_summary(*shard_);
    return d;
  }

  // {name: spans (engine/replay_watch.h)} of the account; the same a symbol.
  py::dict account_curves() const {
    py::dict d;
    for (int i = 0; i < engine::ReplayWatch::kAccountCurves; ++i) d[kAccountNames[i]] = spans_of(done().account(i));
    return d;
  }
  py::dict symbol_curves() const {
    py::dict out;
    for (InstrumentIx ix = 0; ix < shard_->config().instruments.size(); ++ix) {
      py::dict d;
      for (int i = 0; i < engine::ReplayWatch::kInstrumentCurves; ++i) d[kInstrumentNames[i]] = spans_of(done().instrument(ix, i));
      out[py::str(shard_->config().instruments[ix].symbol)] = d;
    }
    return out;
  }
  py::list changes() const {
    py::list out;
    for (const engine::StateChange& c : done().changes()) {
      out.append(py::make_tuple(c.seq, c.at_ns, kStateNames[c.what], c.from, c.to));
    }
    return out;
  }
  py::list decision_intervals() const {
    py::list out;
    for (u32 i = 0; i < rows(); ++i) out.append(py::cast(done().decision_interval(i)));
    return out;
  }
  std::vector<std::pair<i64, i64>> stops() const { return stops_; }
  u64 changes_not_kept() const { return done().changes_not_kept(); }
  i64 max_drawdown() const { return done().max_drawdown(); }
  py::tuple lease() const {
    const Lease& l = shard_->gate().lease();
    return py::make_tuple(l.epoch, l.notional, l.qty_lots);
  }

 private:
  const engine::ReplayWatch& done() const {
    if (watch_ == nullptr) throw py::value_error("nothing was replayed yet: run() comes first");
    return *watch_;
  }
  u32 rows() const { return done().rows(); }

  engine::ShardFactory factory_;
  std::unique_ptr<engine::Shard> shard_;
  std::unique_ptr<engine::ReplayWatch> watch_;
  std::vector<std::pair<i64, i64>> stops_;
};

}  // namespace

void bind_watch(py::module_& m) {
  py::class_<WatchedReplay>(m, "WatchedReplay", "Replays one shard's journal and keeps what a report of it shows.")
      .def(py::init<const py::dict&, const py::list&, u16, const py::object&>(), py::arg("shard"), py::arg("policies"),
           py::arg("quorum"), py::arg("stage") = py::none())
      .def("run", &WatchedReplay::run, py::arg("dir"), py::arg("first_ns"), py::arg("last_ns"), py::arg("columns"),
           py::arg("rows"), py::arg("types"), py::arg("on_record"), py::arg("on_progress") = py::none(),
           "The whole journal of a folder, once; ValueError where it is corrupt. What came of it, `summary` the shard's.")
      .def_property_readonly("account_curves", &WatchedReplay::account_curves, "{name: spans of 64 bytes}")
      .def_property_readonly("symbol_curves", &WatchedReplay::symbol_curves, "{symbol: {name: spans of 64 bytes}}")
      .def_property_readonly("changes", &WatchedReplay::changes, "[(seq, ts_ns, what, from, to)]")
      .def_property_readonly("stops", &WatchedReplay::stops, "[(stamp of the last record before a crash, of the recovery)]")
      .def_property_readonly("changes_not_kept", &WatchedReplay::changes_not_kept)
      .def_property_readonly("lease", &WatchedReplay::lease, "(epoch, units, lots) after the last record; on_record may ask too")
      .def_property_readonly("decision_intervals", &WatchedReplay::decision_intervals, "[Histogram], a span of time each")
      .def_property_readonly("max_drawdown_units", &WatchedReplay::max_drawdown);
}
