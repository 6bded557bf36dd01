// Python view of core/: build, CPU, checksums, clock and noise; the larger parts have a file each.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>

#include "core/build.h"
#include "core/clock.h"
#include "core/cpu.h"
#include "core/crc32c.h"
#include "core/hash.h"
#include "core/noise.h"
#include "core/ring_broadcast.h"
#include "core/ring_spsc.h"
#include "journal/record.h"
#include "market/event.h"

namespace py = pybind11;
using namespace peregrine;

void bind_core_histogram(py::module_& m);
void bind_core_pin(py::module_& m);
void bind_core_shm(py::module_& m);

namespace {

py::dict build_info() {
  py::dict d;
  d["version"] = build_version();
  d["compiler"] = build_compiler();
  return d;
}

py::dict cpu_features_dict() {
  const CpuFeatures& f = cpu_features();
  py::dict d;
  d["sse4.2"] = f.sse42;
  d["popcnt"] = f.popcnt;
  d["pclmul"] = f.pclmul;
  d["avx"] = f.avx;
  d["avx2"] = f.avx2;
  d["fma"] = f.fma;
  d["bmi2"] = f.bmi2;
  d["avxvnni"] = f.avxvnni;
  d["avx512f"] = f.avx512f;
  d["avx512bw"] = f.avx512bw;
  d["avx512vl"] = f.avx512vl;
  d["avx512vnni"] = f.avx512vnni;
  d["movdir64b"] = f.movdir64b;
  d["clwb"] = f.clwb;
  d["sha"] = f.sha;
  d["rdtscp"] = f.rdtscp;
  d["invariant_tsc"] = f.invariant_tsc;
  d["hypervisor"] = f.hypervisor;
  return d;
}

template <u32 (*Function)(u32, const void*, std::size_t)>
u32 crc_of(const py::buffer& data, u32 crc) {
  const py::buffer_info info = data.request();
  if (!PyBuffer_IsContiguous(info.view(), 'C')) throw py::value_error("expected a contiguous buffer");
  return Function(crc, info.ptr, static_cast<std::size_t>(info.size * info.itemsize));
}

// name → (offset, bytes) as the compiler laid it out.
#define PRG_FIELD(d, T, f) (d)[#f] = py::make_tuple(offsetof(T, f), sizeof(T::f))

py::dict event_layout() {
  py::dict d;
  PRG_FIELD(d, Event, seq);
  PRG_FIELD(d, Event, ts_event_ns);
  PRG_FIELD(d, Event, ts_rx_ns);
  PRG_FIELD(d, Event, instrument);
  PRG_FIELD(d, Event, kind);
  PRG_FIELD(d, Event, side);
  PRG_FIELD(d, Event, flags);
  PRG_FIELD(d, Event, order_id);
  PRG_FIELD(d, Event, price_ticks);
  PRG_FIELD(d, Event, qty_lots);
  PRG_FIELD(d, Event, aux);
  d["__sizeof__"] = sizeof(Event);
  return d;
}

py::dict record_header_layout() {
  using journal::RecordHeader;
  py::dict d;
  PRG_FIELD(d, RecordHeader, length);
  PRG_FIELD(d, RecordHeader, type);
  PRG_FIELD(d, RecordHeader, pad);
  PRG_FIELD(d, RecordHeader, seq);
  PRG_FIELD(d, RecordHeader, ts_ns);
  PRG_FIELD(d, RecordHeader, generation);
  PRG_FIELD(d, RecordHeader, crc32c);
  d["__sizeof__"] = sizeof(RecordHeader);
  return d;
}

py::dict noise(double seconds) {
  if (!(seconds > 0.0 && seconds <= 3600.0)) throw py::value_error("seconds must be over 0 and at most 3600");
  auto gaps = std::make_unique<Histogram>();
  NoiseReport r;
  {
    py::gil_scoped_release nogil;
    const TscClock clock = TscClock::calibrate();
    r = spin_noise(clock, static_cast<TimeNs>(seconds * 1e9), *gaps);
  }
  py::dict d;
  d["asked_ns"] = r.asked_ns;
  d["elapsed_ns"] = r.elapsed_ns;
  d["loops"] = r.loops;
  d["p50_ns"] = gaps->percentile(50);
  d["p99_ns"] = gaps->percentile(99);
  d["p99_9_ns"] = gaps->percentile(99.9);
  d["p99_99_ns"] = gaps->percentile(99.99);
  d["p99_999_ns"] = gaps->percentile(99.999);
  d["max_gap_ns"] = r.max_gap_ns;
  d["over_1us"] = r.over_1us;
  d["over_10us"] = r.over_10us;
  d["over_100us"] = r.over_100us;
  d["over_1ms"] = r.over_1ms;
  d["stolen_ns"] = r.stolen_ns;
  d["voluntary_switches"] = r.voluntary_switches;
  d["involuntary_switches"] = r.involuntary_switches;
  d["hgrm"] = gaps->to_hgrm();
  return d;
}

void bind_clock(py::module_& m) {
  m.def("wall_ns", &wall_ns, "CLOCK_REALTIME in ns since the epoch.");
  m.def("monotonic_ns", &monotonic_ns, "CLOCK_MONOTONIC in ns.");
  py::class_<TscClock>(m, "TscClock", "Nanoseconds since the epoch from the time stamp counter; never backwards.")
      .def_static(
          "calibrate", [](i64 budget_ns) { return TscClock::calibrate(budget_ns); },
          py::arg("budget_ns") = 20'000'000, py::call_guard<py::gil_scoped_release>(),
          "A calibrated clock; spins for about `budget_ns`. Falls back to CLOCK_MONOTONIC where there is no "
          "invariant TSC (see `source`).")
      .def_static("from_kernel", &TscClock::from_kernel, "The fallback by choice: CLOCK_MONOTONIC underneath.")
      .def("now_ns", &TscClock::now_ns, "Nanoseconds since the epoch, never less than the last answer.")
      .def("ticks", &TscClock::ticks, "The raw counter.")
      .def("to_ns", &TscClock::to_ns, py::arg("ticks"), "Time of a counter value.")
      .def("to_duration_ns", &TscClock::to_duration_ns, py::arg("delta_ticks"), "Ticks as a duration in ns.")
      .def("discipline", &TscClock::discipline,
           "Refine the rate and slew towards the wall clock; returns the error found, in ns.")
      .def(
          "now_many",
          [](TscClock& c, std::size_t n) {
            std::vector<i64> out(n);
            for (i64& t : out) t = c.now_ns();
            return out;
          },
          py::arg("n"), "n readings one after the other, in ns.")
      .def_property_readonly("uses_tsc", &TscClock::uses_tsc)
      .def_property_readonly("source", &TscClock::source, "\"tsc\", or why it was not taken.")
      .def_property_readonly("frequency_hz", &TscClock::frequency_hz)
      .def("start_at_least", &TscClock::start_at_least, py::arg("least_ns"), "From here on not before this time; the rate stays.")
      .def_property_readonly("error_ns", &TscClock::error_ns, "What the last correction found: wall clock less ours.")
      .def_property_readonly("steps_seen", &TscClock::steps_seen, "How often that changed by more than a second.");
}

}  // namespace

void bind_core(py::module_& m) {
  m.def("build_info", &build_info, "Version and compiler of this binary.");
  m.def("cpu_features", &cpu_features_dict, "What the CPU and the operating system let us use: name → bool.");
  m.def("cpu_feature_names", &cpu_feature_names, "Names of the features that are there, separated by a space.");
  m.def("cpu_model", &cpu_model, "Brand string of the CPU.");
  m.def("crc32c", &crc_of<&crc32c>, py::arg("data"), py::arg("crc") = 0,
        "CRC-32C (Castagnoli) of a buffer, continuing `crc`.");
  m.def("crc32c_table", &crc_of<&crc32c_table>, py::arg("data"), py::arg("crc") = 0, "The same by tables.");
  m.def("crc32c_hardware", &crc_of<&crc32c_hardware>, py::arg("data"), py::arg("crc") = 0,
        "The same by the CPU's instruction, where there is one.");
  m.def("crc32c_has_hardware", &crc32c_has_hardware);
  m.def("event_layout", &event_layout, "Event as compiled: field → (offset, bytes), and __sizeof__.");
  m.def("record_header_layout", &record_header_layout, "journal::RecordHeader as compiled, like event_layout.");
  m.def("spsc_bytes_needed", &SpscRing::bytes_needed, py::arg("slot_bytes"), py::arg("slot_count"),
        "Memory that an SPSC ring takes, header included.");
  m.def("broadcast_bytes_needed", &BroadcastShape::bytes_needed, py::arg("slot_bytes"), py::arg("slot_count"),
        "Memory that a broadcast ring takes, header included.");
  m.def("spin_noise", &noise, py::arg("seconds") = 1.0,
        "Noise floor: spins on this thread for `seconds` and reports the gaps between two clock readings, in ns.");
  bind_clock(m);
  bind_core_histogram(m);
  bind_core_pin(m);
  bind_core_shm(m);
}
