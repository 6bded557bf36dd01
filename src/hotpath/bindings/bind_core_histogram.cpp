// Python view of core/histogram.h.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>

#include "core/histogram.h"

namespace py = pybind11;
using namespace peregrine;

namespace {

// Values as a buffer of int64 of one dimension, any stride.
void record_many(Histogram& h, const py::buffer& values) {
  const py::buffer_info info = values.request();
  if (info.ndim != 1 || info.itemsize != 8 || (info.format != "q" && info.format != "l"))
    throw py::type_error("expected a one-dimensional buffer of int64, got format '" + info.format + "'");
  const u8* p = static_cast<const u8*>(info.ptr);
  for (py::ssize_t i = 0; i < info.shape[0]; ++i) {
    i64 v;
    std::memcpy(&v, p + i * info.strides[0], 8);
    h.record(v);
  }
}

std::unique_ptr<Histogram> from_buffer(const py::buffer& memory, std::size_t offset) {
  const py::buffer_info info = memory.request();
  const std::size_t bytes = static_cast<std::size_t>(info.size * info.itemsize);
  if (!PyBuffer_IsContiguous(info.view(), 'C')) throw py::value_error("expected a contiguous buffer");
  if (offset > bytes || bytes - offset < sizeof(Histogram))
    throw py::value_error("buffer has " + std::to_string(bytes) + " bytes, a histogram at " + std::to_string(offset) +
                          " needs " + std::to_string(sizeof(Histogram)));
  const u8* at = static_cast<const u8*>(info.ptr) + offset;
  auto out = std::make_unique<Histogram>();
  if (reinterpret_cast<std::uintptr_t>(at) % 8 == 0) {
    const auto* shared = reinterpret_cast<const Histogram*>(__builtin_assume_aligned(at, 8));
    if (!shared->valid()) throw py::value_error("no histogram of this layout there");
    shared->snapshot_into(*out);
  } else {
    auto copy = std::make_unique<Histogram>();
    std::memcpy(static_cast<void*>(copy.get()), at, sizeof(Histogram));
    if (!copy->valid()) throw py::value_error("no histogram of this layout there");
    copy->snapshot_into(*out);
  }
  return out;
}

py::list buckets(const Histogram& h) {
  py::list out;
  for (u32 i = 0; i < Histogram::kBuckets; ++i)
    if (h.counts[i] != 0) out.append(py::make_tuple(Histogram::lowest_of(i), Histogram::highest_of(i), h.counts[i]));
  return out;
}

}  // namespace

void bind_core_histogram(py::module_& m) {
  py::class_<Histogram, std::unique_ptr<Histogram>> c(
      m, "Histogram", "Log-linear histogram of non-negative integers; percentiles at most 1/256 (0.4 %) too high.");
  c.def(py::init([] { return std::make_unique<Histogram>(); }))
      .def_static("from_buffer", &from_buffer, py::arg("memory"), py::arg("offset") = 0,
                  "Snapshot of the histogram in `memory` (a region of shared memory, or to_bytes()).")
      .def("record", &Histogram::record, py::arg("value"))
      .def("record_n", &Histogram::record_n, py::arg("value"), py::arg("n"))
      .def("record_many", &record_many, py::arg("values"), "Record a one-dimensional int64 buffer.")
      .def("merge", &Histogram::merge, py::arg("other"), "Add all of `other`.")
      .def("reset", &Histogram::reset)
      .def("percentile", &Histogram::percentile, py::arg("percent"),
           "Value that at least `percent` % of the values do not pass; 0 when empty.")
      .def(
          "percentiles",
          [](const Histogram& h, const std::vector<double>& percents) {
            std::vector<i64> out;
            for (double p : percents) out.push_back(h.percentile(p));
            return out;
          },
          py::arg("percents"))
      .def("hgrm", &Histogram::to_hgrm, py::arg("unit") = 1.0, py::arg("ticks_per_half_distance") = 5,
           "Percentile distribution as .hgrm text; values divided by `unit` (1000: ns shown as µs).")
      .def("buckets", &buckets, "Non-empty buckets: (lowest, highest, count).")
      .def("to_bytes",
           [](const Histogram& h) { return py::bytes(reinterpret_cast<const char*>(&h), sizeof(Histogram)); })
      .def("summary",
           [](const Histogram& h) {
             py::dict d;
             d["count"] = h.count;
             d["min"] = h.count != 0 ? h.min : 0;
             d["mean"] = h.mean();
             d["p50"] = h.percentile(50);
             d["p90"] = h.percentile(90);
             d["p99"] = h.percentile(99);
             d["p99_9"] = h.percentile(99.9);
             d["p99_99"] = h.percentile(99.99);
             d["max"] = h.max;
             d["clamped"] = h.clamped;
             d["negative"] = h.negative;
             return d;
           })
      .def_property_readonly("count", [](const Histogram& h) { return h.count; })
      .def_property_readonly("sum", [](const Histogram& h) { return h.sum; })
      .def_property_readonly("min", [](const Histogram& h) { return h.count != 0 ? h.min : 0; })
      .def_property_readonly("max", [](const Histogram& h) { return h.max; })
      .def_property_readonly("negative", [](const Histogram& h) { return h.negative; })
      .def_property_readonly("clamped", [](const Histogram& h) { return h.clamped; })
      .def_property_readonly("mean", &Histogram::mean)
      .def_property_readonly("standard_deviation", &Histogram::standard_deviation);
  c.attr("BYTES") = sizeof(Histogram);
  c.attr("MAX_VALUE") = Histogram::kMaxValue;
}
