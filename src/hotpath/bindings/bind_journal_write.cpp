// Python view of journal/: ring, appender, writer, faulty disk, recovery.
#include <pybind11/stl.h>

#include "bind_journal.h"
#include "journal/appender.h"
#include "journal/faults.h"
#include "journal/recover.h"
#include "journal/writer.h"

namespace py = pybind11;
using namespace peregrine;
using namespace peregrine::journal;

namespace bind {
namespace {

struct PyAppender {
  std::unique_ptr<Appender> appender;
  Appender& get() {
    if (appender == nullptr) throw py::value_error("this appender was abandoned");
    return *appender;
  }
};

struct PyWriter {
  std::shared_ptr<FaultyDisk> disk;  // outlives the writer
  std::unique_ptr<Writer> writer;
  Writer& get() {
    if (writer == nullptr) throw py::value_error("this writer was abandoned");
    return *writer;
  }
};

std::unique_ptr<PyAppender> create_appender(const std::string& dir, const std::string& name,
                                            const std::string& ring_dir, u64 ring_bytes, u32 generation, u64 next_seq,
                                            u64 journal_id, u64 reserve_bytes) {
  RingOptions o;
  o.name = name;
  o.ring_dir = ring_dir;
  o.journal_dir = dir;
  o.ring_bytes = ring_bytes;
  o.generation = generation;
  o.next_seq = next_seq;
  o.journal_id = journal_id;
  JournalError error;
  auto a = Appender::create(o, reserve_bytes, error);
  if (a == nullptr) raise(error);
  return std::make_unique<PyAppender>(PyAppender{std::move(a)});
}

std::unique_ptr<PyWriter> open_writer(PyAppender& appender, const std::string& dir, u64 segment_bytes, u64 batch_bytes,
                                      const std::string& sync, i64 sync_interval_ns, bool allocate_ahead,
                                      bool remove_ring_on_close, std::shared_ptr<FaultyDisk> disk) {
  WriterOptions o;
  o.dir = dir;
  o.segment_bytes = segment_bytes;
  o.batch_bytes = batch_bytes;
  o.sync_interval_ns = sync_interval_ns;
  o.allocate_ahead = allocate_ahead;
  o.remove_ring_on_close = remove_ring_on_close;
  o.ops = disk != nullptr ? &disk->ops() : nullptr;
  if (sync == "never") o.sync = SyncPolicy::kNever;
  else if (sync == "close") o.sync = SyncPolicy::kOnClose;
  else if (sync == "interval") o.sync = SyncPolicy::kInterval;
  else throw py::value_error("sync: expected never, close or interval, found " + sync);
  JournalError error;
  auto w = Writer::open(appender.get().ring(), o, error);
  if (w == nullptr) raise(error);
  return std::make_unique<PyWriter>(PyWriter{std::move(disk), std::move(w)});
}

py::dict counters(const Writer& w) {
  const WriterCounters c = w.counters();
  py::dict d;
  d["records"] = c.records;
  d["bytes"] = c.bytes;
  d["pwrites"] = c.pwrites;
  d["syncs"] = c.syncs;
  d["segments_closed"] = c.segments_closed;
  d["failures"] = c.failures;
  d["retries"] = c.retries;
  d["max_backlog_bytes"] = c.max_backlog_bytes;
  return d;
}

py::dict py_recover(const std::string& dir, const std::string& ring_name, const std::string& ring_dir, i64 now_ns,
                    std::string_view header, bool cut_damaged_tail, std::shared_ptr<FaultyDisk> disk) {
  RecoverOptions o;
  o.dir = dir;
  o.ring_name = ring_name;
  o.ring_dir = ring_dir;
  o.now_ns = now_ns;
  o.header = view(header);
  o.cut_damaged_tail = cut_damaged_tail;
  o.ops = disk != nullptr ? &disk->ops() : nullptr;
  RecoverResult r;
  JournalError error;
  bool good = false;
  {
    py::gil_scoped_release release;
    good = recover(o, r, error);
  }
  if (!good) raise(error);
  py::dict d;
  d["fresh"] = r.fresh;
  d["next_seq"] = r.next_seq;
  d["generation"] = r.generation;
  d["journal_id"] = r.journal_id;
  d["recovered_seq"] = r.recovered_seq;
  d["header_seq"] = r.header_seq;
  d["epoch"] = r.recovered.epoch;
  d["last_user_ref_num"] = r.recovered.last_user_ref_num;
  d["last_intent_seq"] = r.recovered.last_intent_seq;
  d["venue_seq"] = r.recovered.venue_seq;
  d["last_seq_before"] = r.last_seq_before;
  d["merged_records"] = r.merged_records;
  d["cut_bytes"] = r.cut_bytes;
  d["cut_offset"] = r.cut_offset;
  d["cut_file"] = r.cut_file;
  d["malformed"] = r.malformed;
  d["notes"] = r.notes;
  return d;
}

void bind_appender(py::module_& m) {
  py::class_<PyAppender>(m, "Appender", "The appending end of a journal ring (one thread)")
      .def(py::init(&create_appender), py::arg("dir"), py::arg("name"), py::arg("ring_dir") = "/dev/shm",
           py::arg("ring_bytes") = u64{1} << 20, py::arg("generation") = 1, py::arg("next_seq") = 1,
           py::arg("journal_id") = 0, py::arg("reserve_bytes") = 0,
           "Create the ring <ring_dir>/<name>.pgr for the journal in `dir`")
      .def(
          "append",
          [](PyAppender& a, int type, i64 ts_ns, std::string_view x, std::string_view y, std::string_view z) {
            return a.get().append(static_cast<RecordType>(type), ts_ns, view(x), view(y), view(z));
          },
          py::arg("type"), py::arg("ts_ns"), py::arg("a") = "", py::arg("b") = "", py::arg("c") = "",
          "Append one record with payload a + b + c; its sequence number, or 0 when nothing was written")
      .def(
          "append_reserved",
          [](PyAppender& a, int type, i64 ts_ns, std::string_view x) {
            return a.get().append_reserved(static_cast<RecordType>(type), ts_ns, view(x));
          },
          py::arg("type"), py::arg("ts_ns"), py::arg("a") = "",
          "As append, into the reserve too and also while the writer is failed")
      .def(
          "append_repeated",
          [](PyAppender& a, int type, i64 ts_ns, std::string_view x, u64 times) {
            py::gil_scoped_release release;
            u64 n = 0;
            while (n < times && a.get().append(static_cast<RecordType>(type), ts_ns, view(x)) != 0) ++n;
            return n;
          },
          py::arg("type"), py::arg("ts_ns"), py::arg("a"), py::arg("times"),
          "The same record `times` times; how many were taken")
      .def("abandon", [](PyAppender& a) { a.appender.reset(); }, "Let go of the ring as a dying process would")
      .def_property_readonly("free_bytes", [](PyAppender& a) { return a.get().free_bytes(); })
      .def_property_readonly("next_seq", [](PyAppender& a) { return a.get().next_seq(); })
      .def_property_readonly("generation", [](PyAppender& a) { return a.get().generation(); })
      .def_property_readonly("healthy", [](PyAppender& a) { return a.get().healthy(); })
      .def_property_readonly("writer_status", [](PyAppender& a) { return status_name(a.get().writer_status()); })
      .def_property_readonly("ring_path", [](PyAppender& a) { return a.get().ring()->path(); })
      .def_property_readonly("ring_bytes", [](PyAppender& a) { return a.get().ring()->bytes(); })
      .def_property_readonly("notes", [](PyAppender& a) { return a.get().ring()->notes(); });
}

void bind_writer(py::module_& m) {
  py::class_<PyWriter>(m, "Writer", "Moves a ring's records to segment files")
      .def(py::init(&open_writer), py::arg("appender"), py::arg("dir"), py::arg("segment_bytes") = u64{1} << 22,
           py::arg("batch_bytes") = u64{1} << 20, py::arg("sync") = "never", py::arg("sync_interval_ns") = 50'000'000,
           py::arg("allocate_ahead") = true, py::arg("remove_ring_on_close") = true, py::arg("disk") = py::none(),
           "sync: never, close or interval. Raises JournalError when the directory needs recover() first")
      .def("drain_once", [](PyWriter& w, i64 now_ns) { return w.get().drain_once(now_ns); }, py::arg("now_ns") = 0,
           py::call_guard<py::gil_scoped_release>(), "Move one batch; bytes moved, 0 = nothing to do or failed")
      .def("start", [](PyWriter& w) { w.get().start(); }, "Drain from a thread of its own")
      .def("stop", [](PyWriter& w) { w.get().stop(); }, py::call_guard<py::gil_scoped_release>())
      .def(
          "close",
          [](PyWriter& w) {
            JournalError error;
            bool good = false;
            {
              py::gil_scoped_release release;
              good = w.get().close(error);
            }
            if (!good) raise(error);
          },
          "Drain, sync and close the segment with its trailer")
      .def(
          "abandon",
          [](PyWriter& w) {
            py::gil_scoped_release release;
            w.writer.reset();
          },
          "Stop without draining or closing, as a dying process would")
      .def("retry", [](PyWriter& w) { return w.get().retry(); }, "After a failure: try again; False = there was none")
      .def_property_readonly("status", [](PyWriter& w) { return status_name(w.get().status()); })
      .def_property_readonly("last_error",
                             [](PyWriter& w) -> py::object {
                               const JournalError e = w.get().last_error();
                               return e.good() ? py::object(py::none()) : py::object(py::str(e.text()));
                             })
      .def_property_readonly("counters", [](PyWriter& w) { return counters(w.get()); })
      .def_property_readonly("last_seq_on_disk", [](PyWriter& w) { return w.get().last_seq_on_disk(); })
      .def_property_readonly("segment_number", [](PyWriter& w) { return w.get().segment_number(); });
}

DiskFaults faults(i64 space_bytes, i64 pwrites_until_eio, i64 syncs_until_eio, u64 short_write_bytes,
                  bool fallocate_unsupported) {
  return {space_bytes, pwrites_until_eio, syncs_until_eio, short_write_bytes, fallocate_unsupported};
}

}  // namespace

void bind_journal_write(py::module_& m) {
  bind_appender(m);
  bind_writer(m);
  py::class_<FaultyDisk, std::shared_ptr<FaultyDisk>>(m, "FaultyDisk", "A disk that fails as told")
      .def(py::init([](bool remember_unsynced) { return std::make_shared<FaultyDisk>(DiskFaults{}, remember_unsynced); }),
           py::arg("remember_unsynced") = false)
      .def(
          "set",
          [](FaultyDisk& d, i64 space, i64 pwrites, i64 syncs, u64 short_bytes, bool no_fallocate) {
            d.set(faults(space, pwrites, syncs, short_bytes, no_fallocate));
          },
          py::arg("space_bytes") = -1, py::arg("pwrites_until_eio") = -1, py::arg("syncs_until_eio") = -1,
          py::arg("short_write_bytes") = 0, py::arg("fallocate_unsupported") = false,
          "Replace all faults (no argument = a good disk); not while a writer thread runs")
      .def("lose_unsynced", &FaultyDisk::lose_unsynced, py::arg("seed"), py::arg("keep_none") = false,
           "A power cut: sectors written since the last sync go back to what they were; how many did")
      .def_property_readonly("unsynced_bytes", &FaultyDisk::unsynced_bytes);
  m.def("recover", &py_recover, py::arg("dir"), py::arg("ring_name") = "peregrine", py::arg("ring_dir") = "/dev/shm",
        py::arg("now_ns") = 0, py::arg("header") = "", py::arg("cut_damaged_tail") = false, py::arg("disk") = py::none(),
        "Make a journal directory ready for the next run; a dict of what was found and done");
  m.def("ring_path_of", &ring_path_of, py::arg("dir"), "Path of the ring the last run of this journal used, or ''");
}

}  // namespace bind
