// Python view of core/shm.h and core/command_ring.h.
#include <pybind11/native_enum.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <optional>

#include "core/clock.h"
#include "core/command_ring.h"
#include "core/shm.h"

namespace py = pybind11;
using namespace peregrine;

namespace {

struct ShmError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void raise_if(const Error& e) {
  if (e.failed()) throw ShmError(e.text);
}

using SegmentPtr = std::shared_ptr<Segment>;

// Views of a region keep the mapping alive: closing a segment never pulls memory away under numpy.
struct Region {
  SegmentPtr segment;
  u8* at;
  u64 bytes;
  std::string name;
};

struct PySegment {
  SegmentPtr held;
  Segment& get() const {
    if (held == nullptr) throw ShmError("the segment is closed");
    return *held;
  }
};

std::string lock_text(u32 lock) {
  if (lock == 0) return "locked";
  if (lock == 1) return "not asked for";
  return std::string("failed: ") + std::strerror(static_cast<int>(lock - 1000));
}

py::dict header_of(const Segment& s) {
  const ShmHeader& h = s.header();
  py::dict d;
  d["layout_version"] = h.layout_version;
  d["total_bytes"] = h.total_bytes;
  d["epoch"] = h.epoch;
  d["pid"] = h.pid;
  d["start_ticks"] = h.start_ticks;
  d["created_ns"] = h.created_ns;
  d["heartbeat_count"] = load_acquire(h.heartbeat_count);
  d["heartbeat_ns"] = load_relaxed(h.heartbeat_ns);
  d["state"] = static_cast<EngineState>(load_acquire(h.state));
  d["kill_level"] = static_cast<u32>(load_acquire(h.kill_word));
  d["kill_ns"] = load_relaxed(h.kill_ns);
  d["kill_pid"] = load_relaxed(h.kill_pid);
  d["lease_pid"] = static_cast<i32>(load_acquire(h.lease_owner) >> 32);
  d["lease_takeovers"] = load_relaxed(h.lease_takeovers);
  d["supervisor_beats"] = load_relaxed(h.supervisor_beats);
  d["n_regions"] = h.n_regions;
  return d;
}

py::list regions_of(const Segment& s) {
  py::list out;
  for (u32 i = 0; i < s.region_count(); ++i) {
    const ShmRegion& r = s.region_at(i);
    py::dict d;
    d["name"] = std::string(r.name);
    d["offset"] = r.offset;
    d["bytes"] = r.bytes;
    d["kind"] = r.kind;
    d["version"] = r.version;
    d["lock"] = lock_text(r.lock);
    out.append(d);
  }
  return out;
}

Region region_of(const PySegment& s, const std::string& name) {
  u64 bytes = 0;
  u8* at = s.get().region(name, &bytes);
  if (at == nullptr) throw py::key_error("segment '" + s.get().name() + "' has no region '" + name + "'");
  return {s.held, at, bytes, name};
}

struct PyCommandWriter {
  SegmentPtr segment;
  std::unique_ptr<CommandWriter> writer;
};
struct PyCommandReader {
  SegmentPtr segment;
  CommandReader reader;
};

void bind_commands(py::module_& m) {
  m.def(
      "command_region", [](u64 slots, const std::string& name) { return command_region(slots, name.c_str()); },
      py::arg("slot_count"), py::arg("name") = kCommandRegion, "RegionSpec of a command ring.");
  py::class_<PyCommandWriter>(m, "CommandWriter", "Control side of the command ring; holds its lease.")
      .def(py::init([](const PySegment& s) {
             auto w = std::make_unique<CommandWriter>();
             raise_if(CommandWriter::claim(s.get(), *w));
             return PyCommandWriter{s.held, std::move(w)};
           }),
           py::arg("segment"), "Claim the lease. ShmError while another living process holds it.")
      .def(
          "push",
          [](PyCommandWriter& w, const py::bytes& command) {
            const std::string_view view = command;
            bool pushed = false;
            raise_if(w.writer->try_push(view.data(), static_cast<u32>(std::min<std::size_t>(view.size(), 1u << 30)),
                                        pushed));
            return pushed;
          },
          py::arg("command"), "False when the ring is full. ShmError when the lease is lost or it is too long.")
      .def(
          "beside",
          [](const PyCommandWriter& w, const std::string& name) {
            auto other = std::make_unique<CommandWriter>();
            raise_if(CommandWriter::claim_beside(*w.writer, name.c_str(), *other));
            return PyCommandWriter{w.segment, std::move(other)};
          },
          py::arg("name"), py::keep_alive<0, 1>(), "Another ring of the segment under the same lease.")
      .def("release", [](PyCommandWriter& w) { w.writer->release(); })
      .def_property_readonly("holds_lease", [](const PyCommandWriter& w) { return w.writer->holds_lease(); })
      .def_property_readonly("written", [](const PyCommandWriter& w) { return w.writer->written(); })
      .def_property_readonly("consumed", [](const PyCommandWriter& w) { return w.writer->consumed(); });
  py::class_<PyCommandReader>(m, "CommandReader", "Engine side of the command ring, for tests and tools.")
      .def(py::init([](const PySegment& s) {
             PyCommandReader r{s.held, {}};
             raise_if(CommandReader::create(s.get(), r.reader));
             return r;
           }),
           py::arg("segment"))
      .def(
          "poll",
          [](PyCommandReader& r) -> py::object {
            u8 out[kCommandMaxBytes];
            u32 bytes = 0;
            switch (r.reader.poll(out, bytes)) {
              case CommandReader::Poll::kNone: return py::none();
              case CommandReader::Poll::kCommand: return py::bytes(reinterpret_cast<const char*>(out), bytes);
              case CommandReader::Poll::kMalformed: throw py::value_error("malformed command dropped");
              case CommandReader::Poll::kBroken: break;
            }
            throw ShmError("the command ring is broken");
          },
          "The next command, or None. ValueError: a malformed one was dropped; ShmError: the ring is out of use.");
  m.attr("COMMAND_MAX_BYTES") = kCommandMaxBytes;
}

}  // namespace

void bind_core_shm(py::module_& m) {
  py::register_exception<ShmError>(m, "ShmError", PyExc_RuntimeError);
  py::native_enum<KillLevel>(m, "KillLevel", "enum.IntEnum")
      .value("RUN", KillLevel::kRun)
      .value("CANCEL_ALL", KillLevel::kCancelAll)
      .value("FLATTEN", KillLevel::kFlatten)
      .finalize();
  py::native_enum<EngineState>(m, "EngineState", "enum.IntEnum")
      .value("STARTING", EngineState::kStarting)
      .value("READY", EngineState::kReady)
      .value("TRADING", EngineState::kTrading)
      .value("PAUSED", EngineState::kPaused)
      .value("KILLED", EngineState::kKilled)
      .value("ENDED", EngineState::kEnded)
      .finalize();
  py::native_enum<RegionKind>(m, "RegionKind", "enum.IntEnum")
      .value("RAW", RegionKind::kRaw)
      .value("COUNTERS", RegionKind::kCounters)
      .value("HISTOGRAM", RegionKind::kHistogram)
      .value("SPSC_RING", RegionKind::kSpscRing)
      .value("BROADCAST", RegionKind::kBroadcast)
      .value("COMMAND_RING", RegionKind::kCommandRing)
      .value("SEQLOCK", RegionKind::kSeqlock)
      .value("TEXT", RegionKind::kText)
      .value("RECORD_RING", RegionKind::kRecordRing)
      .finalize();
  py::class_<RegionSpec>(m, "RegionSpec", "A region to ask for when a segment is made.")
      .def(py::init([](std::string name, u64 bytes, RegionKind kind, u32 version, bool lock) {
             return RegionSpec{std::move(name), bytes, kind, version, lock};
           }),
           py::arg("name"), py::arg("bytes"), py::arg("kind") = RegionKind::kRaw, py::arg("version") = 0,
           py::arg("lock") = false)
      .def_readonly("name", &RegionSpec::name)
      .def_readonly("bytes", &RegionSpec::bytes);
  py::class_<Region>(m, "ShmRegion", py::buffer_protocol(),
                     "Bytes of a region by the buffer protocol; read-only when the segment is. Keeps it mapped.")
      .def_buffer([](Region& r) {
        return py::buffer_info(r.at, 1, "B", 1, {static_cast<py::ssize_t>(r.bytes)}, {py::ssize_t{1}},
                               !r.segment->writable());
      })
      .def("__len__", [](const Region& r) { return r.bytes; })
      .def_readonly("name", &Region::name);
  py::class_<PySegment>(m, "Segment", "Shared memory of one engine: header, kill word, heartbeat, named regions.")
      .def_static(
          "create",
          [](const std::string& name, const std::vector<RegionSpec>& regions, u64 epoch, bool prefault) {
            auto s = std::make_shared<Segment>();
            raise_if(Segment::create(name, regions, {epoch, prefault}, *s));
            return PySegment{s};
          },
          py::arg("name"), py::arg("regions"), py::arg("epoch") = 0, py::arg("prefault") = true,
          "Make /dev/shm/peregrine.<name>; ShmError while a living engine has it. epoch 0: one more than before.")
      .def_static(
          "create_anonymous",
          [](const std::vector<RegionSpec>& regions, u64 epoch, bool prefault) {
            auto s = std::make_shared<Segment>();
            raise_if(Segment::create_anonymous(regions, {epoch, prefault}, *s));
            return PySegment{s};
          },
          py::arg("regions"), py::arg("epoch") = 0, py::arg("prefault") = true,
          "The same without a name: shared with forked children only.")
      .def_static(
          "attach",
          [](const std::string& name, bool write) {
            auto s = std::make_shared<Segment>();
            raise_if(Segment::attach(name, write ? Segment::Access::kReadWrite : Segment::Access::kRead, *s));
            return PySegment{s};
          },
          py::arg("name"), py::arg("write") = false,
          "Attach to a running engine's segment. ShmError says what does not fit (missing, version, damage).")
      .def_static(
          "unlink", [](const std::string& name, bool only_if_dead) { raise_if(Segment::unlink(name, only_if_dead)); },
          py::arg("name"), py::arg("only_if_dead") = false)
      .def_static("list_names", &Segment::list_names, "Names of all segments on this machine.")
      .def_static("path_of", [](const std::string& name) { return Segment::path_of(name); }, py::arg("name"))
      .def("header", [](const PySegment& s) { return header_of(s.get()); }, "The header's fields as a dict.")
      .def("regions", [](const PySegment& s) { return regions_of(s.get()); },
           "Regions in order: name, offset, bytes, kind, version, lock.")
      .def("region", &region_of, py::arg("name"), "A region; memoryview(region) or np.frombuffer(region, dtype).")
      .def("heartbeat", [](PySegment& s, std::optional<i64> now_ns) { s.get().heartbeat(now_ns.value_or(wall_ns())); },
           py::arg("now_ns") = py::none())
      .def(
          "set_kill",
          [](PySegment& s, u32 level) {
            if (!s.get().writable()) throw ShmError("the segment is attached read-only");
            s.get().set_kill_level(static_cast<KillLevel>(level), wall_ns());
          },
          py::arg("level"), "Set the kill word (0 = run, 1 = cancel all, 2 = flatten).")
      .def(
          "lift_kill",
          [](PySegment& s, u64 seen) {
            if (!s.get().writable()) throw ShmError("the segment is attached read-only");
            return s.get().lift_kill(seen, wall_ns());
          },
          py::arg("seen"), "Set the kill word to run if it is still `seen` (kill_word); False where a kill came since.")
      .def("set_state",
           [](PySegment& s, EngineState state) {
             if (!s.get().writable()) throw ShmError("the segment is attached read-only");
             s.get().set_state(state);
           })
      .def("owner_liveness", [](const PySegment& s) { return std::string(liveness_name(s.get().owner_liveness())); },
           "\"alive\", \"dead\", \"reused\" or \"unknown\".")
      .def("supervisor_beat",
           [](PySegment& s) {
             ShmHeader& h = s.get().header();
             store_relaxed(h.supervisor_beats, load_relaxed(h.supervisor_beats) + 1);
           },
           "The supervisor's sign of life; one process at a time gives it.")
      .def("superseded", [](const PySegment& s) { return s.get().superseded(); },
           "True when the name now leads elsewhere: the engine restarted or ended.")
      .def(
          "close",
          [](PySegment& s, bool remove_name) {
            if (s.held == nullptr) return;
            if (remove_name && s.held->owner() && !s.held->superseded()) raise_if(Segment::unlink(s.held->name()));
            s.held.reset();
          },
          py::arg("remove_name") = false, "Let go; the memory stays mapped while a view of a region lives.")
      .def_property_readonly("kill_level", [](const PySegment& s) { return static_cast<u32>(s.get().kill_level()); })
      .def_property_readonly("kill_word", [](const PySegment& s) { return s.get().kill_word(); },
                             "Level and, above 32 bits, the stamp of its last setting.")
      .def_property_readonly("name", [](const PySegment& s) { return s.get().name(); })
      .def_property_readonly("writable", [](const PySegment& s) { return s.get().writable(); })
      .def_property_readonly("epoch", [](const PySegment& s) { return s.get().header().epoch; });
  m.attr("SHM_LAYOUT_VERSION") = kShmLayoutVersion;
  bind_commands(m);
}
