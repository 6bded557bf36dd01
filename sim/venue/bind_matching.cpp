// hotpath._venue.Matching: the matching engine alone.
#include "venue/bind_common.h"

using namespace peregrine::venue;
using namespace peregrine::venue::bind;
using peregrine::u32;
using peregrine::u64;
using peregrine::u8;

namespace {

struct PyMatching : MatchSink {
  PyMatching(u32 symbols, u32 max_orders, u32 max_levels, const std::string& stp)
      : engine({symbols, max_orders, max_levels, stp_of(stp)}, this) {}
  void on_fill(const Fill& f) override {
    py::dict d;
    d["kind"] = "fill";
    d["match"] = f.match;
    d["price_ticks"] = f.price_ticks;
    d["qty"] = f.qty;
    d["maker"] = f.maker;
    d["maker_ref"] = f.maker_ref;
    d["maker_tag"] = f.maker_tag;
    d["maker_owner"] = f.maker_owner;
    d["maker_left"] = f.maker_left;
    d["maker_hidden"] = f.maker_hidden;
    d["taker_ref"] = f.taker_ref;
    d["taker_tag"] = f.taker_tag;
    d["taker_owner"] = f.taker_owner;
    events.append(d);
  }
  void on_prevented(const Prevented& p) override {
    py::dict d;
    d["kind"] = "prevented";
    d["price_ticks"] = p.price_ticks;
    d["qty"] = p.qty;
    d["resting_ref"] = p.resting_ref;
    d["resting_tag"] = p.resting_tag;
    d["resting_decrement"] = p.resting_decrement;
    d["incoming_decrement"] = p.incoming_decrement;
    d["resting_left"] = p.resting_left;
    events.append(d);
  }
  void checked(u32 symbol) const {
    if (symbol >= engine.symbols()) throw py::index_error("symbol " + std::to_string(symbol));
  }
  Matching engine;
  py::list events;
};

BookMode mode_of(const std::string& s) {
  if (s == "continuous") return BookMode::kContinuous;
  if (s == "no_cross") return BookMode::kNoCross;
  if (s == "halted") return BookMode::kHalted;
  if (s == "collect") return BookMode::kCollect;
  throw py::value_error("mode \"" + s + "\": one of continuous, no_cross, halted, collect");
}

}  // namespace

void bind_matching(py::module_& m) {
  py::class_<PyMatching>(m, "Matching", "Price-time matching of several symbols; fills are collected in `take_events`.")
      .def(py::init<u32, u32, u32, std::string>(), py::arg("symbols") = 1, py::arg("max_orders") = 65536,
           py::arg("max_levels_per_side") = 4096, py::arg("stp") = "cancel_resting")
      .def(
          "enter", [](PyMatching& s, const py::kwargs& k) { return result_dict(s.engine.enter(order_spec(k))); },
          "Enter an order: symbol, side (B S), price_ticks, qty, tif (day ioc), hidden, post_only, min_qty, owner, "
          "stp_group, tag. Returns outcome, handle, ref, filled, left, prevented.")
      .def(
          "cancel", [](PyMatching& s, u64 h) { return s.engine.cancel(h); }, py::arg("handle"),
          "Remove an order; False when it is not live.")
      .def(
          "reduce", [](PyMatching& s, u64 h, u32 qty) { return s.engine.reduce(h, qty); }, py::arg("handle"),
          py::arg("qty"), "Cut the open quantity, keeping priority; returns what was removed.")
      .def(
          "cross",
          [](PyMatching& s, u32 symbol, peregrine::PriceTicks reference) {
            s.checked(symbol);
            const auto r = s.engine.cross(symbol, reference);
            return py::make_tuple(r.price_ticks, r.qty);
          },
          py::arg("symbol"), py::arg("reference_ticks"), "Uncross a collected book; (price_ticks, quantity).")
      .def("set_mode",
           [](PyMatching& s, u32 symbol, const std::string& mode) {
             s.checked(symbol);
             s.engine.set_mode(symbol, mode_of(mode));
           })
      .def(
          "levels",
          [](const PyMatching& s, u32 symbol, const std::string& side, int n) {
            s.checked(symbol);
            return level_list(s.engine, symbol, side_of(side), n);
          },
          py::arg("symbol"), py::arg("side"), py::arg("n") = 10,
          "Best first: (price_ticks, displayed qty, displayed orders, hidden qty, hidden orders).")
      .def(
          "orders",
          [](const PyMatching& s, u32 symbol, const std::string& side) {
            s.checked(symbol);
            return order_list(s.engine, symbol, side_of(side));
          },
          "Live orders of a side in priority order.")
      .def(
          "take_events",
          [](PyMatching& s) {
            py::list out = s.events;
            s.events = py::list();
            return out;
          },
          "Fills and preventions since the last call.")
      .def("live_orders", [](const PyMatching& s) { return s.engine.live_orders(); })
      .def("traded_qty",
           [](const PyMatching& s, u32 symbol) {
             s.checked(symbol);
             return s.engine.traded_qty(symbol);
           })
      .def("state_hash", [](const PyMatching& s) { return s.engine.state_hash(); })
      .def("check", [](const PyMatching& s) { s.engine.check(); }, "Assert every invariant (aborts when one fails).");
}
