// Python view of replay: a journal's inputs through a fresh shard, its outputs held against what was journaled.
#include <map>

#include "bindings/shard_factory.h"
#include "engine/recovery.h"
#include "journal/snapshot.h"

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
    f["replayed_type"] = r.first.replayed_type;
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
      : factory_(bindings::shard_factory(shard_spec, policies, quorum, stage)), shard_(factory_.make()) {
    initial_ = engine::InitialPolicies::of(shard_->policies());
    replay_ = make_replay();
  }

  // The whole journal of a folder, or from its newest snapshot. Raises ValueError where it is corrupt.
  py::dict run(const std::string& dir, bool crashed, bool from_snapshot) {
    journal::ReaderOptions options;
    journal::JournalError error;
    std::vector<std::string> notes;
    if (from_snapshot) {
      engine::Rebuilt start;
      if (!engine::load_newest(dir, factory_, start)) notes.push_back("no snapshot fits: replayed from the first record");
      notes.insert(notes.end(), start.notes.begin(), start.notes.end());
      shard_ = std::move(start.shard);
      replay_ = make_replay();
      options.from_seq = start.snapshot_seq + 1;
    }
    std::unique_ptr<journal::Reader> reader = journal::Reader::open(dir, options, error);
    if (reader == nullptr) throw py::value_error(error.text());
    std::map<u64, journal::Snapshot> snapshots = journal::all_snapshots(dir, notes);
    u64 held = 0, differ = 0;
    bool corrupt = false;
    {
      const py::gil_scoped_release release;
      journal::RecordView view;
      journal::ReadResult r;
      while ((r = reader->next(view)) == journal::ReadResult::kRecord) {
        replay_->on_record(view.header, view.payload);
        if (snapshots.empty() || snapshots.begin()->first > view.header.seq) continue;
        // What a snapshot says of this point is what the replay has come to.
        const bool here = snapshots.begin()->first == view.header.seq;
        if (here) ++(snapshots.begin()->second.state_hash == shard_->state_hash() ? held : differ);
        snapshots.erase(snapshots.begin());
      }
      corrupt = r == journal::ReadResult::kCorrupt;
    }
    if (corrupt) throw py::value_error(reader->error().text());
    const bool open_end = !reader->end().last_segment_closed;
    replay_->finish(crashed || open_end);
    py::dict d = result_dict(replay_->result());
    d["summary"] = bindings::shard_summary(*shard_);
    d["from_seq"] = options.from_seq;
    d["snapshots"] = held;
    d["snapshots_differ"] = differ;
    d["notes"] = notes;
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
    d["summary"] = bindings::shard_summary(*shard_);
    return d;
  }
  // The state here as a snapshot's payload; None within a step. And a state made so, into a fresh shard.
  py::object save() {
    if (!replay_->quiescent()) return py::none();
    std::vector<u8> payload;
    if (!engine::save_shard(*shard_, initial_, artifacts_, payload)) throw py::value_error("an artifact is missing");
    return to_bytes(payload);
  }
  void load(const py::bytes& payload, u64 state_hash) {
    const std::string p = payload;
    shard_ = factory_.make();
    replay_ = make_replay();
    const std::string error = engine::load_shard(
        *shard_, factory_, Bytes(reinterpret_cast<const u8*>(p.data()), p.size()), state_hash, artifacts_);
    if (!error.empty()) throw py::value_error(error);
  }
  u64 state_hash() const { return shard_->state_hash(); }
  py::dict book(int levels) const { return bindings::book_summary(shard_->market(), levels); }

 private:
  std::unique_ptr<engine::Replay> make_replay() {
    return std::make_unique<engine::Replay>(*shard_, [this](u32 slot, Bytes artifact) {
      artifacts_.put(artifact);
      factory_.stage(*shard_, slot, artifact);
    });
  }

  engine::ShardFactory factory_;
  std::unique_ptr<engine::Shard> shard_;
  engine::InitialPolicies initial_;
  engine::ArtifactStore artifacts_;
  std::unique_ptr<engine::Replay> replay_;
};

}  // namespace

void bind_replay(py::module_& m) {
  py::class_<ReplayEngine>(m, "ReplayEngine", "Replays a journal's inputs and compares what comes out.")
      .def(py::init<const py::dict&, const py::list&, u16, const py::object&>(), py::arg("shard"), py::arg("policies"),
           py::arg("quorum"), py::arg("stage") = py::none())
      .def("run", &ReplayEngine::run, py::arg("dir"), py::arg("crashed") = false,
           py::arg("from_snapshot") = false)
      .def("feed", &ReplayEngine::feed, py::arg("type"), py::arg("seq"), py::arg("ts_ns"), py::arg("payload"))
      .def("finish", &ReplayEngine::finish, py::arg("crashed") = false)
      .def("save", &ReplayEngine::save, "A snapshot's payload of the state here; None within a step.")
      .def("load", &ReplayEngine::load, py::arg("payload"), py::arg("state_hash"),
           "Goes on from a saved state; ValueError where it does not fit.")
      .def("state_hash", &ReplayEngine::state_hash)
      .def("book", &ReplayEngine::book, py::arg("levels") = 10);
}
