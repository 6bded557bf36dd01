// Python view of execution/: order states, order manager, order session. Codecs are in bind_ouch.cpp.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <string_view>

#include "execution/order_session.h"

namespace py = pybind11;
using namespace peregrine;

void bind_ouch(py::module_& m);

namespace {

Bytes view(std::string_view s) { return Bytes(reinterpret_cast<const u8*>(s.data()), s.size()); }

py::dict event_dict(const OrderEvent& e) {
  py::dict d;
  d["kind"] = static_cast<int>(e.kind);
  d["before"] = order_state_name(e.before);
  d["after"] = order_state_name(e.after);
  d["side"] = static_cast<int>(e.side);
  d["anomaly"] = e.anomaly;
  d["reason"] = e.reason;
  d["liquidity"] = e.liquidity;
  d["user_ref_num"] = e.user_ref_num;
  d["other_ref_num"] = e.other_ref_num;
  d["instrument"] = e.instrument;
  d["lots"] = e.lots;
  d["price_ticks"] = e.price_ticks;
  d["order_ref"] = e.order_ref;
  d["old_order_ref"] = e.old_order_ref;
  d["match_number"] = e.match_number;
  d["fee"] = e.fee;
  return d;
}

py::object order_dict(const Order* o) {
  if (!o) return py::none();
  py::dict d;
  d["user_ref_num"] = o->user_ref_num;
  d["instrument"] = o->instrument;
  d["state"] = order_state_name(o->state);
  d["side"] = static_cast<int>(o->side);
  d["mark"] = static_cast<int>(o->mark);
  d["acked"] = o->acked;
  d["cancel_asked"] = o->cancel_asked;
  d["cancel_wanted"] = o->cancel_wanted;
  d["adopted"] = o->adopted;
  d["orig_ref_num"] = o->orig_ref_num;
  d["replaced_by"] = o->replaced_by;
  d["price_ticks"] = o->price_ticks;
  d["total_lots"] = o->total_lots;
  d["executed_lots"] = o->executed_lots;
  d["canceled_lots"] = o->canceled_lots;
  d["leaves_lots"] = o->leaves_lots();
  d["order_ref"] = o->order_ref;
  d["claim"] = py::make_tuple(o->claim.open_lots, o->claim.unknown_lots, o->claim.notional);
  return std::move(d);
}

// Owns an exposure, a symbol table, an order manager and (optionally used) a session; collects what comes out.
struct Desk : SessionOut {
  Desk(const std::vector<std::string>& names, u32 capacity, u32 max_open, u32 fills, std::tuple<i64, i64, i64> fees,
       const SessionConfig& config)
      : symbols(make_symbols(names)),
        exposure(static_cast<u32>(names.size())),
        orders({capacity, max_open, fills, {std::get<0>(fees), std::get<1>(fees), std::get<2>(fees)}}, symbols,
               exposure),
        session(config, symbols, orders) {}
  static SymbolTable make_symbols(const std::vector<std::string>& names) {
    SymbolTable t;
    for (std::size_t i = 0; i < names.size(); ++i) t.set(static_cast<u32>(i), names[i]);
    return t;
  }
  void intent(const journal::IntentHead& h, Bytes b) override {
    py::dict d;
    d["kind"] = static_cast<int>(h.kind);
    d["user_ref_num"] = h.user_ref_num;
    d["orig_ref_num"] = h.orig_ref_num;
    d["instrument"] = h.instrument;
    d["side"] = static_cast<int>(h.side);
    d["price_ticks"] = h.price_ticks;
    d["qty_lots"] = h.qty_lots;
    d["decision"] = h.decision;
    d["message"] = py::bytes(reinterpret_cast<const char*>(b.data()), b.size());
    intents.append(d);
  }
  void on_order(const OrderEvent& e) override { events.append(event_dict(e)); }
  void on_phase(SessionPhase p) override { phases.append(session_phase_name(p)); }
  void alarm(SessionAlarm c, u64 a, u64 b) override { alarms.append(py::make_tuple(static_cast<int>(c), a, b)); }
  py::list take(py::list& l) {
    py::list r = l;
    l = py::list();
    return r;
  }

  SymbolTable symbols;
  Exposure exposure;
  OrderManager orders;
  OrderSession session;
  py::list intents, events, phases, alarms;
};

template <class T>
void option(const py::kwargs& kw, const char* name, T& v) {
  if (kw.contains(name)) v = kw[name].cast<T>();
}

std::unique_ptr<Desk> make_desk(const std::vector<std::string>& names, const py::kwargs& kw) {
  for (const auto& item : kw) {
    static constexpr const char* known[] = {"capacity",
                                            "max_open",
                                            "fill_capacity",
                                            "fees",
                                            "epoch",
                                            "firm",
                                            "venue_mass_cancel",
                                            "long_cancel",
                                            "answer_timeout_ns",
                                            "silence_ns",
                                            "cancel_timeout_ns",
                                            "max_rounds",
                                            "max_messages",
                                            "cancel_reserve",
                                            "message_window_ns"};
    const auto key = item.first.cast<std::string>();
    if (std::none_of(std::begin(known), std::end(known), [&](const char* k) { return key == k; }))
      throw py::type_error("OrderDesk: unknown option " + key);
  }
  u32 capacity = 256, max_open = 64, fills = 256;
  std::tuple<i64, i64, i64> fees{0, 0, 0};
  option(kw, "capacity", capacity);
  option(kw, "max_open", max_open);
  option(kw, "fill_capacity", fills);
  option(kw, "fees", fees);
  SessionConfig c;
  option(kw, "epoch", c.epoch);
  option(kw, "venue_mass_cancel", c.venue_mass_cancel);
  option(kw, "long_cancel", c.long_cancel);
  option(kw, "answer_timeout_ns", c.answer_timeout_ns);
  option(kw, "silence_ns", c.silence_ns);
  option(kw, "cancel_timeout_ns", c.cancel_timeout_ns);
  option(kw, "max_rounds", c.max_rounds);
  option(kw, "max_messages", c.max_messages);
  option(kw, "cancel_reserve", c.cancel_reserve);
  option(kw, "message_window_ns", c.message_window_ns);
  if (kw.contains("firm")) {
    const auto firm = ouch::alpha<4>(kw["firm"].cast<std::string>());
    std::memcpy(c.firm, firm.data(), 4);
  }
  return std::make_unique<Desk>(names, capacity, max_open, fills, fees, c);
}

NewOrder new_order(u32 ix, int side, i64 price, i64 qty, int mark, int tif, u32 strategy) {
  return {ix, static_cast<Side>(side), static_cast<SellMark>(mark), static_cast<u8>(tif), strategy, price, qty, 0};
}

}  // namespace

void bind_execution(py::module_& m) {
  bind_ouch(m);
  py::list states, inputs;
  for (int i = 0; i < kOrderStates; ++i) states.append(order_state_name(static_cast<OrderState>(i)));
  for (int i = 0; i < kOrderInputs; ++i) inputs.append(order_input_name(static_cast<OrderInput>(i)));
  m.attr("ORDER_STATES") = py::tuple(states);
  m.attr("ORDER_INPUTS") = py::tuple(inputs);
  m.def("next_order_state", [](int s, int i) {
    if (s < 0 || s >= kOrderStates || i < 0 || i >= kOrderInputs) throw py::index_error("next_order_state");
    const Transition t = next_state(static_cast<OrderState>(s), static_cast<OrderInput>(i));
    return py::make_tuple(static_cast<int>(t.next), t.anomaly);
  });

  py::class_<Desk>(m, "OrderDesk", "Order manager, exposure and session of one port, for tests and tools.")
      .def(py::init(&make_desk), py::arg("symbols"))
      // the manager alone
      .def("next_number", [](const Desk& d) { return d.orders.next_user_ref_num(); })
      .def("last_number", [](const Desk& d) { return d.orders.last_user_ref_num(); })
      .def("order_enter", [](Desk& d, u32 n, u32 ix, int side, i64 price, i64 qty,
                             i64 now) { d.orders.on_enter(n, new_order(ix, side, price, qty, 0, '0', 0), now); })
      .def("order_replace", [](Desk& d, u32 orig, u32 n, i64 price, i64 total,
                               i64 now) { d.orders.on_replace(orig, n, price, total, 0, now); })
      .def("order_cancel", [](Desk& d, u32 n, bool full, i64 now) { d.orders.on_cancel_sent(n, full, now); })
      .def("order_message", [](Desk& d, py::bytes b, i64 now) { return event_dict(d.orders.on_message(view(b), now)); })
      .def("order_connection_lost", [](Desk& d) { d.orders.on_connection_lost(); })
      .def("order_reconcile",
           [](Desk& d) {
             py::list l;
             d.orders.reconcile([&](const OrderEvent& e) { l.append(event_dict(e)); });
             return l;
           })
      .def("order_end_session", [](Desk& d) { d.orders.end_session([](const OrderEvent&) {}); })
      .def("find", [](const Desk& d, u32 n) { return order_dict(d.orders.find(n)); })
      .def("open_numbers",
           [](const Desk& d) {
             py::list l;
             for (u32 n = d.orders.first_open(); n != 0; n = d.orders.next_open(n)) l.append(n);
             return l;
           })
      .def("counters",
           [](const Desk& d) {
             const OrderCounters& c = d.orders.counters();
             py::dict r;
             r["unknown_numbers"] = c.unknown_numbers, r["unknown_fills"] = c.unknown_fills;
             r["unknown_matches"] = c.unknown_matches, r["anomalies"] = c.anomalies, r["late_fills"] = c.late_fills;
             r["overfills"] = c.overfills, r["over_cancels"] = c.over_cancels, r["adopted"] = c.adopted;
             r["resurrected"] = c.resurrected, r["malformed"] = c.malformed, r["unknown_types"] = c.unknown_types;
             r["breaks"] = c.breaks, r["corrections"] = c.corrections;
             return r;
           })
      .def_property_readonly(
          "exposure", [](Desk& d) -> Exposure& { return d.exposure; }, py::return_value_policy::reference_internal)
      // the session
      .def(
          "on_state",
          [](Desk& d, bool up, i64 now, u8 reason) {
            d.session.on_state({static_cast<u8>(up), reason, {0, 0}, 1}, now, d);
          },
          py::arg("up"), py::arg("now"), py::arg("reason") = 0)
      .def("on_packet", [](Desk& d, py::bytes b, i64 now) { d.session.on_packet(view(b), now, d); })
      .def("on_timer", [](Desk& d, i64 now) { d.session.on_timer(now, d); })
      .def("on_send_result",
           [](Desk& d, u32 asked, i32 result, i64 now) { d.session.on_send_result({0, asked, result}, now, d); })
      .def("on_recovered", [](Desk& d, u32 epoch, u32 last, u64 venue_seq,
                              i64 now) { d.session.on_recovered({epoch, last, 0, venue_seq}, now, d); })
      .def("retry", [](Desk& d, i64 now) { d.session.retry(now, d); })
      .def(
          "enter",
          [](Desk& d, u32 ix, int side, i64 price, i64 qty, i64 now, int mark, int tif, u32 strategy, bool post_only) {
            EnterRequest r;
            r.order = new_order(ix, side, price, qty, mark, tif, strategy);
            r.post_only = post_only;
            const auto s = d.session.enter(r, now, d);
            return py::make_tuple(send_error_name(s.error), s.user_ref_num);
          },
          py::arg("instrument"), py::arg("side"), py::arg("price_ticks"), py::arg("qty_lots"), py::arg("now"),
          py::arg("mark") = 0, py::arg("tif") = int{'0'}, py::arg("strategy") = 0, py::arg("post_only") = false)
      .def("replace",
           [](Desk& d, u32 n, i64 price, i64 total, i64 now) {
             const auto s = d.session.replace(n, price, total, {}, now, d);
             return py::make_tuple(send_error_name(s.error), s.user_ref_num);
           })
      .def("cancel", [](Desk& d, u32 n, i64 intended,
                        i64 now) { return send_error_name(d.session.cancel(n, intended, {}, now, d)); })
      .def("mass_cancel", [](Desk& d, i64 now) { d.session.mass_cancel({}, now, d); })
      .def_property_readonly("phase", [](const Desk& d) { return session_phase_name(d.session.phase()); })
      .def_property_readonly("ready", [](const Desk& d) { return d.session.ready(); })
      .def_property_readonly("next_sequence", [](const Desk& d) { return d.session.next_sequence(); })
      .def_property_readonly("login",
                             [](const Desk& d) {
                               const auto s = d.session.login_session();
                               return py::make_tuple(py::bytes(s.data(), s.size()), d.session.login_sequence());
                             })
      .def_property_readonly("deadline_ns",
                             [](const Desk& d) -> py::object {
                               if (d.session.deadline_ns() == OrderSession::kNever) return py::none();
                               return py::int_(d.session.deadline_ns());
                             })
      .def_property_readonly("rounds", [](const Desk& d) { return d.session.rounds(); })
      .def_property_readonly("duplicates", [](const Desk& d) { return d.session.duplicates(); })
      .def_property_readonly("malformed", [](const Desk& d) { return d.session.malformed(); })
      .def("state_hash", [](const Desk& d) { return d.exposure.state_hash(d.session.state_hash(0)); })
      .def("take_intents", [](Desk& d) { return d.take(d.intents); })
      .def("take_events", [](Desk& d) { return d.take(d.events); })
      .def("take_phases", [](Desk& d) { return d.take(d.phases); })
      .def("take_alarms", [](Desk& d) { return d.take(d.alarms); });
}
