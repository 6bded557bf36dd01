// Python view of journal/: reader, summary, snapshots, follower.
#include <pybind11/stl.h>

#include <algorithm>

#include "bind_journal.h"
#include "journal/reader.h"
#include "journal/snapshot.h"

namespace py = pybind11;
using namespace peregrine;
using namespace peregrine::journal;

namespace bind {
namespace {

ReaderOptions reader_options(bool ring, const std::string& ring_path, bool verify_chain) {
  ReaderOptions o;
  o.ring = ring;
  o.ring_path = ring_path;
  o.verify_chain = verify_chain;
  return o;
}

struct PyReader {
  std::unique_ptr<Reader> reader;
  RecordView view{};

  py::tuple next() {
    switch (reader->next(view)) {
      case ReadResult::kRecord: break;
      case ReadResult::kEnd: throw py::stop_iteration();
      case ReadResult::kCorrupt: raise(reader->error());
    }
    return record();
  }
  // Others are passed over without the interpreter's lock.
  py::object find(const std::vector<u16>& types) {
    ReadResult result = ReadResult::kEnd;
    {
      const py::gil_scoped_release release;
      do {
        result = reader->next(view);
      } while (result == ReadResult::kRecord && std::find(types.begin(), types.end(), view.header.type) == types.end());
    }
    if (result == ReadResult::kCorrupt) raise(reader->error());
    return result == ReadResult::kEnd ? py::object(py::none()) : py::object(record());
  }
  py::tuple record() const {
    const RecordHeader& h = view.header;
    return py::make_tuple(h.type, h.seq, h.ts_ns, h.generation, to_bytes(view.payload));
  }
};

py::dict end_dict(const JournalEnd& e) {
  py::dict d;
  d["last_seq"] = e.last_seq;
  d["generation"] = e.generation;
  d["journal_id"] = e.journal_id;
  d["last_segment"] = e.last_segment;
  d["last_segment_closed"] = e.last_segment_closed;
  d["disk_last_seq"] = e.disk_last_seq;
  d["disk_end_offset"] = e.disk_end_offset;
  d["torn_bytes"] = e.torn_bytes;
  d["ring_records"] = e.ring_records;
  return d;
}

py::dict summary_dict(const JournalSummary& s) {
  py::dict d, counts;
  for (u16 t = 0; t < 256; ++t) {
    if (s.count_by_type[t] != 0) counts[type_name(t)] = s.count_by_type[t];
  }
  d["records"] = s.records;
  d["first_seq"] = s.first_seq;
  d["last_seq"] = s.last_seq;
  d["first_ts_ns"] = s.first_ts_ns;
  d["last_ts_ns"] = s.last_ts_ns;
  d["payload_bytes"] = s.payload_bytes;
  d["ring_records"] = s.ring_records;
  d["torn_bytes"] = s.torn_bytes;
  d["segments"] = s.segments;
  d["generations"] = s.generations;
  d["counts"] = counts;
  return d;
}

py::dict snapshot_dict(const Snapshot& s) {
  py::dict d;
  d["after_seq"] = s.after_seq;
  d["state_hash"] = s.state_hash;
  d["generation"] = s.generation;
  d["journal_id"] = s.journal_id;
  d["payload"] = to_bytes(s.payload);
  d["file"] = s.file;
  return d;
}

class PySink : public FollowerSink {
 public:
  PySink(py::object on_record, py::object on_snapshot)
      : on_record_(std::move(on_record)), on_snapshot_(std::move(on_snapshot)) {}
  void on_record(const RecordView& r) override {
    on_record_(r.header.type, r.header.seq, r.header.ts_ns, r.header.generation, to_bytes(r.payload));
  }
  bool on_snapshot_due(u64 after_seq, u64& state_hash, std::vector<u8>& payload) override {
    if (on_snapshot_.is_none()) return false;
    const py::object answer = on_snapshot_(after_seq);
    if (answer.is_none()) return false;
    const auto [hash, bytes] = answer.cast<std::pair<u64, std::string>>();
    state_hash = hash;
    payload.assign(bytes.begin(), bytes.end());
    return true;
  }

 private:
  py::object on_record_, on_snapshot_;
};

struct PyFollower {
  std::unique_ptr<PySink> sink;
  std::unique_ptr<Follower> follower;
};

void bind_snapshots(py::module_& m) {
  m.def(
      "write_snapshot",
      [](const std::string& dir, u64 after_seq, u64 state_hash, std::string_view payload, u32 generation, u64 id) {
        Snapshot s;
        s.after_seq = after_seq;
        s.state_hash = state_hash;
        s.generation = generation;
        s.journal_id = id;
        s.payload.assign(payload.begin(), payload.end());
        JournalError error;
        if (!write_snapshot(dir, s, nullptr, error)) raise(error);
      },
      py::arg("dir"), py::arg("after_seq"), py::arg("state_hash"), py::arg("payload"), py::arg("generation") = 1,
      py::arg("journal_id") = 0, "Write <dir>/snapshot-<after_seq>.pgs: temporary file, sync, rename");
  m.def(
      "read_snapshot",
      [](const std::string& file) {
        Snapshot s;
        JournalError error;
        if (!read_snapshot(file, s, error)) raise(error);
        return snapshot_dict(s);
      },
      py::arg("file"), "One snapshot file as a dict; JournalError when it is not whole");
  m.def(
      "newest_snapshot",
      [](const std::string& dir, u64 journal_id, u64 max_seq) {
        Snapshot s;
        std::vector<SkippedSnapshot> skipped;
        const bool found = newest_snapshot(dir, journal_id, max_seq, s, skipped);
        std::vector<std::pair<std::string, std::string>> passed;
        for (const SkippedSnapshot& k : skipped) passed.emplace_back(k.file, k.reason);
        return py::make_tuple(found ? py::object(snapshot_dict(s)) : py::object(py::none()), passed);
      },
      py::arg("dir"), py::arg("journal_id"), py::arg("max_seq"),
      "(newest valid snapshot or None, [(file, why it was passed over)])");
  m.def("prune_snapshots", &prune_snapshots, py::arg("dir"), py::arg("keep"),
        "Delete all but the newest `keep` snapshots; how many went");
}

}  // namespace

void bind_journal_read(py::module_& m) {
  py::class_<PyReader>(m, "Reader", "Iterates (type, seq, ts_ns, generation, payload), checking everything")
      .def(py::init([](const std::string& dir, bool ring, const std::string& ring_path, bool verify_chain, u64 from_seq) {
             JournalError error;
             ReaderOptions options = reader_options(ring, ring_path, verify_chain);
             options.from_seq = from_seq;
             auto r = Reader::open(dir, options, error);
             if (r == nullptr) raise(error);
             return std::make_unique<PyReader>(PyReader{std::move(r)});
           }),
           py::arg("dir"), py::arg("ring") = true, py::arg("ring_path") = "", py::arg("verify_chain") = true,
           py::arg("from_seq") = 1,
           "Read the journal in `dir`, then what only its ring holds. On a live journal, iterate again for more")
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__", &PyReader::next)
      .def("find", &PyReader::find, py::arg("types"),
           "The next record of one of these types, None where nothing more is there yet; checks all it passes over")
      .def_property_readonly("end", [](PyReader& r) { return end_dict(r.reader->end()); },
                             "How the journal ends (after the iteration stopped)")
      .def_property_readonly("location", [](PyReader& r) { return py::make_tuple(r.view.segment, r.view.offset); },
                             "(segment number, offset) of the last record; segment 0 = the ring")
      .def_property_readonly("raw", [](PyReader& r) { return to_bytes(r.view.raw); }, "Bytes of the last record");
  m.def(
      "summarize",
      [](const std::string& dir, bool ring, bool verify_chain) {
        JournalSummary s;
        JournalError error;
        bool good = false;
        {
          py::gil_scoped_release release;
          good = summarize(dir, reader_options(ring, "", verify_chain), s, error);
        }
        if (!good) raise(error);
        return summary_dict(s);
      },
      py::arg("dir"), py::arg("ring") = true, py::arg("verify_chain") = true,
      "Counts by type, first and last numbers and stamps, in one pass in C++");
  m.def(
      "verify_chain",
      [](const std::string& dir) {
        JournalSummary s;
        JournalError error;
        bool good = false;
        {
          py::gil_scoped_release release;
          good = summarize(dir, reader_options(true, "", true), s, error);
        }
        py::dict d;
        d["good"] = good;
        d["summary"] = summary_dict(s);
        d["error"] = good ? py::object(py::none()) : py::object(to_dict(error));
        d["text"] = good ? std::string() : error.text();
        return d;
      },
      py::arg("dir"), "Check every CRC, number and SHA-256 of a journal; never raises for what it finds");
  bind_snapshots(m);
  py::class_<PyFollower>(m, "Follower", "Reads a journal as it grows and writes snapshots")
      .def(py::init([](const std::string& dir, u64 every_records, py::object on_record, py::object on_snapshot) {
             auto sink = std::make_unique<PySink>(std::move(on_record), std::move(on_snapshot));
             JournalError error;
             auto f = Follower::open(dir, every_records, *sink, error);
             if (f == nullptr) raise(error);
             return std::make_unique<PyFollower>(PyFollower{std::move(sink), std::move(f)});
           }),
           py::arg("dir"), py::arg("every_records"), py::arg("on_record"), py::arg("on_snapshot") = py::none(),
           "on_record(type, seq, ts_ns, generation, payload); on_snapshot(after_seq) -> (state_hash, bytes) or None")
      .def(
          "poll",
          [](PyFollower& f, u64 max_records) {
            const i64 n = f.follower->poll(max_records);
            if (n < 0) raise(f.follower->error());
            return n;
          },
          py::arg("max_records") = u64{1} << 20, "Pass on what is new; how many records")
      .def_property_readonly("last_seq", [](PyFollower& f) { return f.follower->last_seq(); })
      .def_property_readonly("snapshots_written", [](PyFollower& f) { return f.follower->snapshots_written(); })
      .def_property_readonly("snapshots_failed", [](PyFollower& f) { return f.follower->snapshots_failed(); });
}

}  // namespace bind
