// Python view of the tactic: one decision's orders as plain values, for tests held against a slow oracle.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/shard_view.h"
#include "engine/tactic.h"

namespace py = pybind11;
using namespace peregrine;
using bindings::get;

namespace {

engine::Quote quote_from(const py::handle& h) {
  engine::Quote q;
  if (h.is_none()) return q;
  const py::dict d = h.cast<py::dict>();
  q.user_ref_num = get<u32>(d, "user_ref_num");
  q.pending = get<bool>(d, "pending");
  q.price_ticks = get<i64>(d, "price_ticks");
  q.open_lots = get<i64>(d, "open_lots");
  q.since_ns = get<i64>(d, "since_ns");
  return q;
}

py::list plan(const py::dict& config, int action, const py::tuple& top, const py::object& bid, const py::object& ask,
              QtyLots position_lots, TimeNs last_take_ns, TimeNs now_ns) {
  engine::TacticConfig c;
  c.order_qty_lots = get<i64>(config, "order_qty_lots");
  c.max_inventory_lots = get<i64>(config, "max_inventory_lots");
  c.increment_ticks = get<i64>(config, "increment_ticks");
  c.max_away_ticks = get<i64>(config, "max_away_ticks");
  c.min_resting_ns = get<i64>(config, "min_resting_ns");
  c.max_resting_ns = get<i64>(config, "max_resting_ns");
  c.take_interval_ns = get<i64>(config, "take_interval_ns");
  engine::TacticInput in;
  if (action < 0 || action > 4) throw py::value_error("action: 0 to 4");
  in.action = static_cast<engine::Action>(action);
  in.top.bid_ticks = top[0].cast<i64>();
  in.top.bid_lots = top[1].cast<i64>();
  in.top.ask_ticks = top[2].cast<i64>();
  in.top.ask_lots = top[3].cast<i64>();
  in.quote[0] = quote_from(bid);
  in.quote[1] = quote_from(ask);
  in.position_lots = position_lots;
  in.last_take_ns = last_take_ns;
  in.now_ns = now_ns;
  engine::Op ops[engine::kMaxOps];
  const int n = engine::plan(c, in, ops);
  static constexpr const char* kKinds[] = {"enter", "replace", "cancel"};
  py::list out;
  for (int i = 0; i < n; ++i) {
    const engine::Op& o = ops[i];
    out.append(py::make_tuple(kKinds[static_cast<int>(o.kind)], static_cast<int>(o.side), o.immediate, o.user_ref_num,
                              o.price_ticks, o.qty_lots));
  }
  return out;
}

}  // namespace

void bind_tactic(py::module_& m) {
  m.def("plan_orders", &plan, py::arg("config"), py::arg("action"), py::arg("top"), py::arg("bid") = py::none(),
        py::arg("ask") = py::none(), py::arg("position_lots") = 0, py::arg("last_take_ns") = 0, py::arg("now_ns") = 0,
        "What the tactic makes of an action: [(kind, side, immediate, user_ref_num, price_ticks, qty_lots)]; top is "
        "(bid_ticks, bid_lots, ask_ticks, ask_lots).");
}
