// Python view of replay: a journal's inputs through a fresh shard, its outputs held against what was journaled.
#include "bindings/shard_view.h"
#include "engine/replay.h"

namespace py = pybind11;
using namespace peregrine;

namespace {

py::bytes to_bytes(const std::vector<u8>& v) { return py::bytes(reinterpret_cast<const char*>(v.data()), v.size()); }

py::dict result_dict(const engine::ReplayResult& r) {
  py::dict d;
  d["records"] = r.records;
  d["inputs"] = r.inputs;
  d["outputs"] = r.outputs;
  d["orders"] = r.orders;
  d["state_hashes"] = r.state_hashes;
  d["recoveries"] = r.recoveries;
  d["unsent"] = r.unsent;
  d["last_seq"] = r.last_seq;
  d["first_ts_ns"] = r.first_ts_ns;
  d["last_ts_ns"] = r.last_ts_ns;
  d["generation"] = r.generation;
  d["identical"] = r.identical;
  if (r.diverged) {
    py::dict f;
    f["input_seq"] = r.first.input_seq;
    f["record_seq"] = r.first.record_seq;
    f["type"] = r.first.type;
    f["reason"] = r.first.reason;
    f["journaled"] = to_bytes(r.first.journaled);
    f["replayed"] = to_bytes(r.first.replayed);
    f["decision_journaled"] = to_bytes(r.first.decision_journaled);
    f["decision_replayed"] = to_bytes(r.first.decision_replayed);
    f["input_type"] = r.first.input_type;
    f["input"] = to_bytes(r.first.input);
    d["divergence"] = f;
  }
  return d;
}

class ReplayEngine {
 public:
  ReplayEngine(const py::dict& shard_spec, const py::list& policies, u16 quorum, const py::object& stage)
      : shard_(bindings::shard_config_from(shard_spec)), stage_(stage) {
    bindings::load_policies(shard_, policies, quorum);
    engine::Replay::StagePolicy hook;
    if (!stage_.is_none()) {
      hook = [this](u32 slot, Bytes artifact) {
        const py::gil_scoped_acquire gil;
        const py::dict spec =
            stage_(slot, py::bytes(reinterpret_cast<const char*>(artifact.data()), artifact.size())).cast<py::dict>();
        bindings::stage_bank(shard_, slot, spec);
      };
    }
    replay_ = std::make_unique<engine::Replay>(shard_, hook);
  }

  // The whole journal of a folder. Raises ValueError where it is corrupt.
  py::dict run(const std::string& dir, bool crashed) {
    journal::ReaderOptions options;
    journal::JournalError error;
    std::unique_ptr<journal::Reader> reader = journal::Reader::open(dir, options, error);
    if (reader == nullptr) throw py::value_error(error.text());
    bool corrupt = false;
    {
      const py::gil_scoped_release release;
      journal::RecordView view;
      journal::ReadResult r;
      while ((r = reader->next(view)) == journal::ReadResult::kRecord) replay_->on_record(view.header, view.payload);
      corrupt = r == journal::ReadResult::kCorrupt;
    }
    if (corrupt) throw py::value_error(reader->error().text());
    const bool open_end = !reader->end().last_segment_closed;
    replay_->finish(crashed || open_end);
    py::dict d = result_dict(replay_->result());
    d["summary"] = bindings::shard_summary(shard_);
    return d;
  }
  // One record at a time, for journals made or altered in Python.
  void feed(u16 type, u64 seq, i64 ts_ns, const py::bytes& payload) {
    const std::string p = payload;
    journal::RecordHeader h{};
    h.type = type;
    h.seq = seq;
    h.ts_ns = ts_ns;
    replay_->on_record(h, Bytes(reinterpret_cast<const u8*>(p.data()), p.size()));
  }
  py::dict finish(bool crashed) {
    replay_->finish(crashed);
    py::dict d = result_dict(replay_->result());
    d["summary"] = bindings::shard_summary(shard_);
    return d;
  }
  py::dict book(int levels) const { return bindings::book_summary(shard_.market(), levels); }

 private:
  engine::Shard shard_;
  py::object stage_;
  std::unique_ptr<engine::Replay> replay_;
};

}  // namespace

void bind_replay(py::module_& m) {
  py::class_<ReplayEngine>(m, "ReplayEngine", "Replays a journal's inputs and compares what comes out.")
      .def(py::init<const py::dict&, const py::list&, u16, const py::object&>(), py::arg("shard"), py::arg("policies"),
           py::arg("quorum"), py::arg("stage") = py::none())
      .def("run", &ReplayEngine::run, py::arg("dir"), py::arg("crashed") = false)
      .def("feed", &ReplayEngine::feed, py::arg("type"), py::arg("seq"), py::arg("ts_ns"), py::arg("payload"))
      .def("finish", &ReplayEngine::finish, py::arg("crashed") = false)
      .def("book", &ReplayEngine::book, py::arg("levels") = 10);
}
