// hotpath._venue.VenueServer: the venue with sockets, on its own thread, from Python.
#include "venue/bind_common.h"

using namespace peregrine::venue;
using namespace peregrine::venue::bind;
using peregrine::TimeNs;
using peregrine::u32;
using peregrine::u64;

namespace peregrine::venue::bind {

ServerConfig server_config(const py::dict& dict) {
  ServerConfig c;
  Dict d(dict, "the venue's configuration");
  c.exchange = exchange_config(d);
  if (d.has("flow")) c.flow = flow_params(d.at("flow").cast<py::dict>());
  std::string faults;
  d.get("faults", faults).get("recording", c.recording).get("recording_speed_percent", c.recording_speed_percent);
  d.get("host", c.host).get("ouch_port", c.ouch_port).get("glimpse_port", c.glimpse_port);
  d.get("retransmit_port", c.retransmit_port).get("itch_a", c.itch_a).get("itch_b", c.itch_b);
  d.get("heartbeat_ns", c.heartbeat_ns).get("silence_ns", c.silence_ns).get("login_timeout_ns", c.login_timeout_ns);
  d.get("state", c.state).get("open_at_start", c.open_at_start).get("datagram_bytes", c.datagram_bytes).finish();
  const std::string wrong = parse_faults(faults, c.faults);
  if (!wrong.empty()) throw py::value_error(wrong);
  if (c.recording_speed_percent == 0) throw py::value_error("recording_speed_percent must be above 0");
  for (const HaltFault& h : c.faults.halts) {
    bool found = false;
    for (const SymbolConfig& s : c.exchange.symbols) found |= s.symbol == h.symbol;
    if (!found) throw py::value_error("fault halt: the venue has no symbol \"" + h.symbol + "\"");
  }
  return c;
}

}  // namespace peregrine::venue::bind

namespace {

py::dict stats_dict(const ServerStats& s) {
  py::dict d;
  d["itch_messages"] = s.itch_messages;
  d["retransmit_requests"] = s.retransmit_requests;
  d["retransmit_refused"] = s.retransmit_refused;
  d["snapshots"] = s.snapshots;
  d["connections"] = s.connections;
  d["logins"] = s.logins;
  d["logins_refused"] = s.logins_refused;
  d["disconnects_forced"] = s.disconnects_forced;
  d["silent_closed"] = s.silent_closed;
  d["ouch_in"] = s.ouch_in;
  d["ouch_out"] = s.ouch_out;
  d["malformed_in"] = s.malformed_in;
  d["late_in"] = s.late_in;
  d["flow_events"] = s.flow_events;
  d["send_errors"] = s.send_errors;
  static constexpr const char* kNames[kLines] = {"line_a", "line_b", "retransmit"};
  for (int i = 0; i < kLines; ++i) {
    const LineStats& l = s.lines[i];
    py::dict line;
    line["packets"] = l.packets;
    line["lost"] = l.lost;
    line["reordered"] = l.reordered;
    line["duplicated"] = l.duplicated;
    line["corrupted"] = l.corrupted;
    line["delayed"] = l.delayed;
    d[kNames[i]] = line;
  }
  return d;
}

// Runs on the venue's thread with the GIL released; results are turned into Python objects afterwards.
template <class F>
void on_thread(VenueServer& s, F&& f) {
  const py::gil_scoped_release release;
  s.call(f);
}

PortIx port_or_throw(VenueServer& s, const std::string& user) {
  int port = -1;
  on_thread(s, [&](Exchange& x, TimeNs) { port = x.port_of(user); });
  if (port < 0) throw py::key_error("the venue has no account \"" + user + "\"");
  return static_cast<PortIx>(port);
}

}  // namespace

void bind_server(py::module_& m) {
  m.def(
      "check_faults",
      [](const std::string& text) {
        FaultPlan plan;
        const std::string wrong = parse_faults(text, plan);
        if (!wrong.empty()) throw py::value_error(wrong);
      },
      py::arg("text"), "ValueError when the fault option cannot be read.");

  const auto release = py::call_guard<py::gil_scoped_release>();
  py::class_<VenueServer>(m, "VenueServer", "The simulated venue with sockets on loopback, run by its own thread.")
      .def(py::init([](const py::dict& config) { return std::make_unique<VenueServer>(server_config(config)); }),
           py::arg("config") = py::dict())
      .def("start", &VenueServer::start, release, "Bind and run; OSError when an address cannot be had.")
      .def("stop", &VenueServer::stop, release, "End the session on every door and stop. May be called twice.")
      .def_property_readonly("running", &VenueServer::running)
      .def_property_readonly("error", &VenueServer::error, "Why the venue stopped by itself; empty = it did not.")
      .def_property_readonly("session", &VenueServer::session, "The day's name in every protocol.")
      .def(
          "state_mark",
          [](VenueServer& s) {
            u64 bytes = 0, hash = 0;
            on_thread(s, [&](Exchange& x, TimeNs) { bytes = s.state_bytes(), hash = x.state_hash(); });
            return py::make_tuple(bytes, hash);
          },
          "One moment: the length of the day's file (0 without one) and the hash of the exchange's state.")
      .def_property_readonly(
          "ouch", [](const VenueServer& s) { return s.addresses().ouch; }, "host:port")
      .def_property_readonly("itch_a", [](const VenueServer& s) { return s.addresses().itch_a; })
      .def_property_readonly("itch_b", [](const VenueServer& s) { return s.addresses().itch_b; })
      .def_property_readonly("retransmit", [](const VenueServer& s) { return s.addresses().retransmit; })
      .def_property_readonly("glimpse", [](const VenueServer& s) { return s.addresses().glimpse; })
      .def("halt", &VenueServer::halt, release, py::arg("symbol"), py::arg("state") = 'H', py::arg("reason") = "T1")
      .def(
          "resume", [](VenueServer& s, const std::string& symbol) { s.halt(symbol, 'T', ""); }, release,
          py::arg("symbol"))
      .def("bust", &VenueServer::bust, release, py::arg("match"), py::arg("reason") = 'S')
      .def(
          "set_session_state",
          [](VenueServer& s, const std::string& state) {
            const SessionState wanted = session_state_of(state);
            const py::gil_scoped_release r;
            s.set_session_state(wanted);
          },
          py::arg("state"), "pre_open, open, closed or ended; only forwards.")
      .def("drop_connections", &VenueServer::drop_connections, release,
           "Cut every order-entry connection, as a network failure would.")
      .def("pause_flow", &VenueServer::pause_flow, release, py::arg("paused") = true)
      .def("set_flow_rate", &VenueServer::set_flow_rate, release, py::arg("rate_per_s"),
           "Events a second and symbol from the next event on; above 0.")
      .def("silence", &VenueServer::silence, release, py::arg("silent") = true,
           "Feed lines send nothing, heartbeats included.")
      .def("stats",
           [](VenueServer& s) {
             ServerStats stats;
             {
               const py::gil_scoped_release r;
               stats = s.stats();
             }
             return stats_dict(stats);
           })
      .def(
          "record",
          [](VenueServer& s) {
            std::vector<RecordEntry> record;
            on_thread(s, [&](Exchange& x, TimeNs) { record = x.record(); });
            return record_list(record);
          },
          "The venue's own record of every order event, a dict an event.")
      .def(
          "summary",
          [](VenueServer& s, const std::string& user) {
            const PortIx port = port_or_throw(s, user);
            PortSummary summary;
            on_thread(s, [&](Exchange& x, TimeNs) { summary = x.summary(port); });
            return summary_dict(summary);
          },
          py::arg("user"))
      .def(
          "holdings",
          [](VenueServer& s) {
            std::map<std::string, std::map<std::string, peregrine::i64>> held;
            on_thread(s, [&](Exchange& x, TimeNs) { held = x.holdings(); });
            return held;
          },
          "What each firm holds now: {firm: {symbol: shares}}, those of the session's start and what was traded since.")
      .def(
          "orders",
          [](VenueServer& s, u32 symbol, const std::string& side) {
            std::vector<OrderView> orders;
            const peregrine::Side which = side_of(side);
            on_thread(s, [&](Exchange& x, TimeNs) {
              if (symbol < x.config().symbols.size())
                x.matching().for_each_order(symbol, which, [&](const OrderView& o) { orders.push_back(o); });
            });
            py::list out;
            for (const OrderView& o : orders) out.append(order_dict(o));
            return out;
          },
          py::arg("symbol"), py::arg("side"), "Live orders in priority order, hidden ones too.")
      .def("itch_count",
           [](VenueServer& s) {
             u64 n = 0;
             on_thread(s, [&](Exchange& x, TimeNs) { n = x.itch_store().size(); });
             return n;
           })
      .def(
          "itch_messages",
          [](VenueServer& s, u64 from) {
            MessageStore store;
            on_thread(s, [&](Exchange& x, TimeNs) { store = x.itch_store(); });
            return messages(store, from);
          },
          py::arg("from_seq") = 1)
      .def(
          "ouch_messages",
          [](VenueServer& s, const std::string& user) {
            const PortIx port = port_or_throw(s, user);
            MessageStore store;
            on_thread(s, [&](Exchange& x, TimeNs) { store = x.port_store(port); });
            return messages(store, 1);
          },
          py::arg("user"), "Every sequenced message of an account.");
}
