// Python view of signal/: drives the feature engine by events, for tests and for fitting policies off-line.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>

#include "market/market.h"
#include "signal/features.h"
#include "signal/user_signal.h"

namespace py = pybind11;
using namespace peregrine;

namespace {

using Array64 = py::array_t<i64, py::array::c_style | py::array::forcecast>;

FeatureParams make_params(const std::vector<int>& shifts) {
  FeatureParams p;
  if (shifts.size() != 3) throw py::value_error("bucket_shifts: expected three integers");
  for (std::size_t i = 0; i < 3; ++i) {
    if (shifts[i] < 10 || shifts[i] > 40) throw py::value_error("bucket_shifts: expected integers in 10..40");
    p.bucket_shift[i] = static_cast<u8>(shifts[i]);
  }
  return p;
}

OwnState own_state(const Array64& own) {
  if (own.size() != 5) throw py::value_error("own: expected int64[5]: position, working buy, sell, queue bid, ask");
  const i64* o = own.data();
  return OwnState{o[0], o[1], o[2], o[3], o[4]};
}

py::array_t<i32> compute(FeatureEngine& self, u32 instrument, i64 now_ns, const Array64& book, const Array64& own) {
  if (instrument >= self.instruments()) throw py::index_error("instrument out of range");
  if (book.size() != 20) throw py::value_error("book: expected int64[4, 5]: bid ticks, bid lots, ask ticks, ask lots");
  BookView view;
  const i64* p = book.data();
  std::memcpy(view.bid_ticks, p, 40);
  std::memcpy(view.bid_lots, p + 5, 40);
  std::memcpy(view.ask_ticks, p + 10, 40);
  std::memcpy(view.ask_lots, p + 15, 40);
  py::array_t<i32> out(FeatureEngine::kFeatures);
  self.compute(instrument, now_ns, view, own_state(own), out.mutable_data());
  return out;
}

}  // namespace

void bind_signal(py::module_& m) {
  py::class_<FeatureEngine>(m, "FeatureEngine",
                            "Incremental integer features (hotpath.signal.schema) of a number of instruments.")
      .def(py::init([](u32 instruments, const std::vector<int>& shifts) {
             return FeatureEngine(instruments, make_params(shifts));
           }),
           py::arg("instruments"), py::arg("bucket_shifts") = std::vector<int>{24, 27, 30})
      .def_readonly_static("FEATURES", &FeatureEngine::kFeatures)
      .def(
          "on_event",
          [](FeatureEngine& self, u32 instrument, i64 ts_rx_ns, int kind, int side, u16 flags, i64 price_ticks,
             i64 qty_lots, const std::array<i64, 4>& top) {
            Event e;
            e.instrument = instrument;
            e.ts_rx_ns = ts_rx_ns;
            e.kind = static_cast<EventKind>(kind);
            e.side = static_cast<Side>(side);
            e.flags = flags;
            e.price_ticks = price_ticks;
            e.qty_lots = qty_lots;
            self.on_event(e, TopView{top[0], top[1], top[2], top[3]});
          },
          py::arg("instrument"), py::arg("ts_rx_ns"), py::arg("kind"), py::arg("side"), py::arg("flags"),
          py::arg("price_ticks"), py::arg("qty_lots"), py::arg("top"),
          "One event and the top of the book after it: (bid ticks, bid lots, ask ticks, ask lots).")
      .def("compute", &compute, py::arg("instrument"), py::arg("now_ns"), py::arg("book"), py::arg("own"),
           "int32[FEATURES] of one instrument; book int64[4, 5], own int64[5].")
      .def(
          "on_market_event",
          [](FeatureEngine& self, const Event& e, const Market& market) { self.on_event(e, market); }, py::arg("event"),
          py::arg("market"), "One event that `market` has just applied.")
      .def(
          "compute_market",
          [](FeatureEngine& self, u32 instrument, i64 now_ns, const Market& market, const Array64& own) {
            if (instrument >= self.instruments() || instrument >= market.instruments()) {
              throw py::index_error("instrument out of range");
            }
            py::array_t<i32> out(FeatureEngine::kFeatures);
            self.compute(instrument, now_ns, market, own_state(own), out.mutable_data());
            return out;
          },
          py::arg("instrument"), py::arg("now_ns"), py::arg("market"), py::arg("own"),
          "int32[FEATURES] of one instrument of `market`; own int64[5].")
      .def("reset", &FeatureEngine::reset)
      .def("state_hash", &FeatureEngine::state_hash);
  m.def(
      "schema_canonical", [](const std::vector<int>& s) { return schema_canonical(make_params(s)); },
      py::arg("bucket_shifts") = std::vector<int>{24, 27, 30}, "The text of the feature schema that is hashed.");
  m.def(
      "schema_hash",
      [](const std::vector<int>& s) {
        char hex[65];
        sha256_hex(schema_hash(make_params(s)).bytes, hex);
        return std::string(hex);
      },
      py::arg("bucket_shifts") = std::vector<int>{24, 27, 30}, "SHA-256 of schema_canonical(), hex.");
  m.def(
      "sha256", [](const py::bytes& b) {
        const std::string_view v = b;
        char hex[65];
        sha256_hex(Sha256::of(v).bytes, hex);
        return std::string(hex);
      },
      py::arg("data"), "SHA-256 of bytes by the engine's own code, hex.");
  m.def(
      "call_user_signal",
      [](u64 address, const py::array_t<i32, py::array::c_style | py::array::forcecast>& features) {
        if (address == 0) throw py::value_error("address: expected the address of a compiled function, found 0");
        const UserSignalResult r =
            UserSignal::from_address(address).call(features.data(), static_cast<i32>(features.size()));
        return py::make_tuple(r.value, static_cast<int>(r.status));
      },
      py::arg("address"), py::arg("features"), "(value, status) of a user's signal, called as the shard calls it.");
}
