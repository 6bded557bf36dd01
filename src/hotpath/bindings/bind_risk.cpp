// Python view of risk/: the gate, exposure, limits; batch checks over structured numpy arrays.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>

#include "risk/breakers.h"
#include "risk/gate.h"

namespace py = pybind11;
using namespace peregrine;

namespace {

// A struct's bytes from a Python buffer of exactly that size (a numpy record, bytes, struct.pack).
template <class T>
T from_buffer(const py::object& obj, const char* what) {
  const py::bytes raw = py::bytes(obj);
  const std::string_view v = raw;
  if (v.size() != sizeof(T))
    throw py::value_error(std::string(what) + ": expected " + std::to_string(sizeof(T)) + " bytes, got " +
                          std::to_string(v.size()));
  T t;
  std::memcpy(&t, v.data(), sizeof(T));
  return t;
}

py::dict verdict_dict(const RiskVerdict& v) {
  py::dict d;
  d["reason"] = risk_reason_name(v.reason);
  d["code"] = static_cast<int>(v.reason);
  d["soft"] = v.soft;
  d["observed"] = v.observed;
  d["limit"] = v.limit;
  return d;
}

py::dict instrument_dict(const InstrumentExposure& e) {
  py::dict d;
  d["position_lots"] = e.position_lots;
  d["open_lots"] = py::make_tuple(e.open_lots[0], e.open_lots[1]);
  d["unknown_lots"] = py::make_tuple(e.unknown_lots[0], e.unknown_lots[1]);
  d["working_orders"] = py::make_tuple(e.working_orders[0], e.working_orders[1]);
  d["own_best_ticks"] = py::make_tuple(e.own_best_ticks[0], e.own_best_ticks[1]);
  d["working_notional"] = e.working_notional;
  d["cost_basis"] = e.cost_basis;
  d["realized"] = e.realized;
  d["unrealized"] = e.unrealized();
  d["fees"] = e.fees;
  d["mark_value"] = e.mark_value;
  d["worst_long_lots"] = e.worst_long_lots();
  d["worst_short_lots"] = e.worst_short_lots();
  d["fills"] = e.fills;
  d["traded_lots"] = e.traded_lots;
  return d;
}

py::dict account_dict(const AccountExposure& a) {
  py::dict d;
  d["working_orders"] = a.working_orders;
  d["unknown_orders"] = a.unknown_orders;
  d["occupied"] = a.occupied;
  d["working_notional"] = a.working_notional;
  d["position_notional"] = a.position_notional;
  d["cost_notional"] = a.cost_notional;
  d["worst_lots"] = a.worst_lots;
  d["gross"] = a.gross();
  d["credit_used"] = a.credit_used();
  d["realized"] = a.realized;
  d["unrealized"] = a.unrealized;
  d["fees"] = a.fees;
  d["pnl"] = a.pnl();
  d["loss"] = a.loss();
  d["drawdown"] = a.drawdown();
  d["pnl_peak"] = a.pnl_peak;
  d["overflows"] = a.overflows;
  return d;
}

// One row of work for run_batch; the Python dtype is RISK_OP_DTYPE in tests/oracles/risk_gate.py.
struct Op {
  u8 kind;  // 0 check (and on a pass: sent, claimed), 1 fill, 2 mark, 3 release claim, 4 cancel sent
  u8 side;
  u8 zero[2];
  u32 instrument;
  i64 now;
  i64 a, b, c;  // fill: lots, price, fee; mark: bid, ask; release: open lots, notional, own best after
  OrderRequest request;
  MarketView view;
};
static_assert(sizeof(Op) == 144);

py::tuple run_batch(Gate& g, Exposure& x, const py::array& ops) {
  if (static_cast<std::size_t>(ops.itemsize()) != sizeof(Op) || ops.ndim() != 1)
    throw py::value_error("run_batch: a one-dimensional array of 144-byte records");
  const auto n = static_cast<std::size_t>(ops.size());
  py::array_t<u8> codes(static_cast<py::ssize_t>(n));
  py::array_t<u64> soft(static_cast<py::ssize_t>(n));
  py::array_t<i64> observed(static_cast<py::ssize_t>(n)), limit(static_cast<py::ssize_t>(n));
  const auto* base = static_cast<const u8*>(ops.data());
  for (std::size_t i = 0; i < n; ++i) {
    Op op;
    std::memcpy(&op, base + i * sizeof(Op), sizeof(Op));
    const Side side = static_cast<Side>(op.side & 1);
    RiskVerdict v;
    switch (op.kind) {
      case 0: {
        v = g.check(op.request, op.view, x, op.now);
        g.count(v);
        if (!v.pass()) break;
        g.on_sent(op.request, op.now, v);
        const OrderRequest& r = op.request;
        Money notional = 0;
        notional_ceil(r.price_ticks, r.qty_lots, x.contract(r.instrument), notional);
        const OrderClaim before{r.old_open_lots, 0, r.old_notional};
        const OrderClaim after{r.old_open_lots, r.qty_lots > r.old_open_lots ? r.qty_lots - r.old_open_lots : 0,
                               notional > r.old_notional ? notional : r.old_notional};
        const bool replace = r.kind == RequestKind::kReplace;
        x.move_claim(r.instrument, r.side, replace ? before : OrderClaim{},
                     replace ? after : OrderClaim{0, r.qty_lots, notional});
        const PriceTicks best = x.of(r.instrument).own_best_ticks[index(r.side)];
        if (best == 0 || (r.side == Side::kBuy ? r.price_ticks > best : r.price_ticks < best))
          x.set_own_best(r.instrument, r.side, r.price_ticks);
        break;
      }
      case 1:
        x.apply_fill(op.instrument, side, op.a, op.b, op.c);
        g.on_execution(op.instrument, side, op.now);
        g.update_breakers(x);
        break;
      case 2:
        x.mark(op.instrument, op.a, op.b);
        g.update_breakers(x);
        break;
      case 3:
        x.move_claim(op.instrument, side, OrderClaim{0, op.a, op.b}, OrderClaim{});
        x.set_own_best(op.instrument, side, op.c);
        break;
      case 4: g.on_sent(op.request, op.now); break;
      default: throw py::value_error("run_batch: unknown op kind");
    }
    codes.mutable_at(static_cast<py::ssize_t>(i)) = static_cast<u8>(v.reason);
    soft.mutable_at(static_cast<py::ssize_t>(i)) = v.soft;
    observed.mutable_at(static_cast<py::ssize_t>(i)) = v.observed;
    limit.mutable_at(static_cast<py::ssize_t>(i)) = v.limit;
  }
  return py::make_tuple(codes, soft, observed, limit);
}

}  // namespace

void bind_risk(py::module_& m) {
  py::list names;
  for (int i = 0; i < kRiskReasons; ++i) names.append(risk_reason_name(static_cast<RiskReason>(i)));
  m.attr("RISK_REASONS") = py::tuple(names);
  m.attr("RISK_LIMITS_BYTES") = sizeof(RiskLimits);

  py::class_<Exposure>(m, "Exposure")
      .def(py::init<u32>(), py::arg("max_instruments"))
      .def("set_contract", [](Exposure& x, u32 ix, i64 mult, u8 shift) { x.set_contract(ix, {mult, shift}); })
      .def("set_position", &Exposure::set_position)
      .def(
          "move_claim",
          [](Exposure& x, u32 ix, int side, std::tuple<i64, i64, i64> b, std::tuple<i64, i64, i64> a) {
            x.move_claim(ix, static_cast<Side>(side), {std::get<0>(b), std::get<1>(b), std::get<2>(b)},
                         {std::get<0>(a), std::get<1>(a), std::get<2>(a)});
          },
          "instrument, side, (open, unknown, notional) before, after")
      .def("set_own_best", [](Exposure& x, u32 ix, int side, i64 p) { x.set_own_best(ix, static_cast<Side>(side), p); })
      .def("apply_fill", [](Exposure& x, u32 ix, int side, i64 q, i64 p,
                            i64 fee) { x.apply_fill(ix, static_cast<Side>(side), q, p, fee); })
      .def("revert_fill", [](Exposure& x, u32 ix, int side, i64 q, i64 p,
                             i64 fee) { x.revert_fill(ix, static_cast<Side>(side), q, p, fee); })
      .def("mark", &Exposure::mark)
      .def("reset_peak", &Exposure::reset_peak)
      .def("of", [](const Exposure& x, u32 ix) { return instrument_dict(x.of(ix)); })
      .def("account", [](const Exposure& x) { return account_dict(x.account()); })
      .def("state_hash", &Exposure::state_hash, py::arg("h") = 0);

  py::class_<Gate>(m, "Gate")
      .def(py::init([](u32 instruments, u32 messages, u32 executions, u32 duplicates, u32 strategies) {
             return std::make_unique<Gate>(GateConfig{instruments, messages, executions, duplicates, strategies});
           }),
           py::arg("max_instruments") = 64, py::arg("message_capacity") = 4096, py::arg("execution_capacity") = 64,
           py::arg("duplicate_capacity") = 64, py::arg("max_strategies") = 64)
      .def("set_limits",
           [](Gate& g, const py::object& o) { return g.set_limits(from_buffer<RiskLimits>(o, "RiskLimits")); })
      .def("limits",
           [](const Gate& g, u32 ix) {
             const RiskLimits l = g.limits(ix);
             return py::bytes(reinterpret_cast<const char*>(&l), sizeof(l));
           })
      .def("check",
           [](const Gate& g, const py::object& r, const py::object& v, const Exposure& x, i64 now) {
             return verdict_dict(g.check(from_buffer<OrderRequest>(r, "OrderRequest"),
                                         from_buffer<MarketView>(v, "MarketView"), x, now));
           })
      .def("on_sent",
           [](Gate& g, const py::object& r, i64 now) { g.on_sent(from_buffer<OrderRequest>(r, "OrderRequest"), now); })
      .def("on_execution", [](Gate& g, u32 ix, int side, i64 now) { g.on_execution(ix, static_cast<Side>(side), now); })
      .def("update_breakers", &Gate::update_breakers)
      .def("reset_breakers", &Gate::reset_breakers)
      .def("breaker_tripped", &Gate::breaker_tripped)
      .def("set_breaker", &Gate::set_breaker)
      .def("kill", &Gate::kill)
      .def("revive", &Gate::revive)
      .def("set_paused", &Gate::set_paused)
      .def("set_reduce_only", &Gate::set_reduce_only)
      .def("set_session_ready", &Gate::set_session_ready)
      .def("set_journal_healthy", &Gate::set_journal_healthy)
      .def("set_restricted", &Gate::set_restricted)
      .def("set_authorised", &Gate::set_authorised)
      .def("set_active", &Gate::set_active, "Only the first n instruments may open; 2**32 - 1: all.")
      .def("positions_throttled", &Gate::positions_throttled)
      .def("grant", [](Gate& g, u64 epoch, i64 notional, i64 lots) { return g.grant({epoch, notional, lots}); })
      .def("give_back",
           [](Gate& g, u64 epoch, i64 notional, i64 lots, const Exposure& x) {
             const Lease l = g.give_back({epoch, notional, lots}, x);
             return py::make_tuple(l.epoch, l.notional, l.qty_lots);
           })
      .def("lease",
           [](const Gate& g) { return py::make_tuple(g.lease().epoch, g.lease().notional, g.lease().qty_lots); })
      .def("rejects",
           [](const Gate& g) {
             py::dict d;
             for (int i = 0; i < kRiskReasons; ++i)
               d[risk_reason_name(static_cast<RiskReason>(i))] = g.rejects(static_cast<RiskReason>(i));
             return d;
           })
      .def("state_hash", &Gate::state_hash, py::arg("h") = 0)
      .def("run_batch", &run_batch, py::arg("exposure"), py::arg("ops"),
           "A sequence of checks, fills, marks and releases; returns (codes, soft, observed, limit), one entry an op.");

  py::class_<Breakers>(m, "Breakers", "What a shard counts against its breakers; times in ns, any origin")
      .def(py::init([](u32 messages, i64 message_window, u32 rejects, i64 reject_window, i64 cooldown, bool by_itself) {
             return std::make_unique<Breakers>(
                 BreakerConfig{{messages, message_window}, {rejects, reject_window}, cooldown, by_itself, true});
           }),
           py::arg("max_messages"), py::arg("message_window_ns"), py::arg("max_rejects"), py::arg("reject_window_ns"),
           py::arg("cooldown_ns"), py::arg("by_itself"))
      .def("count_message", &Breakers::count_message)
      .def("count_reject", &Breakers::count_reject)
      .def("trip", &Breakers::trip)
      .def("open", &Breakers::open)
      .def("trips", &Breakers::trips)
      .def("hot", &Breakers::hot)
      .def("due", &Breakers::due)
      .def("rearm", &Breakers::rearm)
      .def("fold", &Breakers::fold, py::arg("h") = 0);

  m.def("notional", [](i64 price, i64 lots, i64 mult, u8 shift, bool up) -> py::object {
    Money v;
    const bool ok = up ? notional_ceil(price, lots, {mult, shift}, v) : notional_floor(price, lots, {mult, shift}, v);
    return ok ? py::object(py::int_(v)) : py::none();
  });
}
