// hotpath._venue.Exchange, Flow, RecordedFlow: the exchange driven from Python in virtual time.
#include "venue/bind_common.h"

using namespace peregrine::venue;
using namespace peregrine::venue::bind;
using peregrine::Bytes;
using peregrine::TimeNs;
using peregrine::u16;
using peregrine::u32;
using peregrine::u64;
using peregrine::u8;

namespace {

struct NullSink : ExchangeSink {
  void ouch(PortIx, u64, Bytes) override {}
  void itch(u64, u16, Bytes) override {}
};

// Outputs are read back from the exchange's own stores.
struct PyExchange {
  explicit PyExchange(const ExchangeConfig& c) : exchange(c, &sink) {}
  NullSink sink;
  Exchange exchange;

  PortIx port(PortIx p) const {
    if (p >= exchange.config().ports.size()) throw py::index_error("port " + std::to_string(p));
    return p;
  }
  u32 symbol(u32 s) const {
    if (s >= exchange.config().symbols.size()) throw py::index_error("symbol " + std::to_string(s));
    return s;
  }
};

u8 letter(const std::string& s) {
  if (s.size() != 1) throw py::value_error("one letter expected, not \"" + s + "\"");
  return static_cast<u8>(s[0]);
}

struct PyRecordedFlow {
  PyRecordedFlow(const std::string& file, PyExchange& x, u32 symbol, u16 locate, u32 speed)
      : bytes(file),
        flow(Bytes(reinterpret_cast<const u8*>(bytes.data()), bytes.size()), locate, x.symbol(symbol), speed,
             x.exchange) {}
  std::string bytes;
  RecordedFlow flow;
};

}  // namespace

void bind_exchange(py::module_& m) {
  py::class_<PyExchange>(m, "Exchange",
                         "The exchange without sockets: OUCH in, OUCH and ITCH out, time given by the caller.")
      .def(py::init([](const py::dict& config) {
             Dict d(config, "the exchange's configuration");
             const ExchangeConfig c = exchange_config(d);
             d.finish();
             return std::make_unique<PyExchange>(c);
           }),
           py::arg("config") = py::dict())
      .def(
          "start", [](PyExchange& s, TimeNs now) { s.exchange.start(now); }, py::arg("now_ns"))
      .def(
          "set_session_state",
          [](PyExchange& s, const std::string& state, TimeNs now) {
            s.exchange.set_session_state(session_state_of(state), now);
          },
          py::arg("state"), py::arg("now_ns"), "pre_open, open, closed or ended; only forwards.")
      .def(
          "on_ouch",
          [](PyExchange& s, PortIx port, const py::bytes& msg, TimeNs now) {
            s.exchange.on_ouch(s.port(port), view(msg), now);
          },
          py::arg("port"), py::arg("message"), py::arg("now_ns"), "One OUCH request of a port.")
      .def("on_disconnect", [](PyExchange& s, PortIx port, TimeNs now) { s.exchange.on_disconnect(s.port(port), now); })
      .def("on_timer", [](PyExchange& s, TimeNs now) { s.exchange.on_timer(now); })
      .def(
          "halt",
          [](PyExchange& s, u32 symbol, const std::string& state, const std::string& reason, TimeNs now) {
            s.exchange.halt(s.symbol(symbol), letter(state), reason, now);
          },
          py::arg("symbol"), py::arg("state"), py::arg("reason"), py::arg("now_ns"),
          "H, P, Q halt or restrict; T resumes.")
      .def(
          "bust",
          [](PyExchange& s, u64 match, const std::string& reason, TimeNs now) {
            return s.exchange.bust(match, letter(reason), now);
          },
          py::arg("match"), py::arg("reason"), py::arg("now_ns"))
      .def("set_short_sale", [](PyExchange& s, u32 symbol, const std::string& action,
                                TimeNs now) { s.exchange.set_short_sale(s.symbol(symbol), letter(action), now); })
      .def(
          "background_enter",
          [](PyExchange& s, TimeNs now, const py::kwargs& k) {
            const OrderSpec spec = order_spec(k);
            s.symbol(spec.symbol);
            return result_dict(s.exchange.background_enter(spec, now));
          },
          py::arg("now_ns"), "An order of the background flow; keywords as Matching.enter.")
      .def("background_cancel", [](PyExchange& s, u64 h, TimeNs now) { return s.exchange.background_cancel(h, now); })
      .def("background_reduce",
           [](PyExchange& s, u64 h, u32 qty, TimeNs now) { return s.exchange.background_reduce(h, qty, now); })
      .def("background_replace", [](PyExchange& s, u64 h, peregrine::PriceTicks p, u32 qty,
                                    TimeNs now) { return result_dict(s.exchange.background_replace(h, p, qty, now)); })
      .def(
          "ouch_messages",
          [](const PyExchange& s, PortIx port, u64 from) {
            return messages(s.exchange.port_store(s.port(port)), from);
          },
          py::arg("port"), py::arg("from_seq") = 1, "Sequenced messages of a port, from a sequence number on.")
      .def(
          "itch_messages", [](const PyExchange& s, u64 from) { return messages(s.exchange.itch_store(), from); },
          py::arg("from_seq") = 1)
      .def("itch_count", [](const PyExchange& s) { return s.exchange.itch_store().size(); })
      .def(
          "itch_hash",
          [](const PyExchange& s, u64 n) {
            u64 h = 0;
            for (u64 seq = 1; seq <= n && seq <= s.exchange.itch_store().size(); ++seq) {
              const Bytes b = s.exchange.itch_store().at(seq);
              h = peregrine::hash_bytes(h, b.data(), b.size());
            }
            return h;
          },
          py::arg("n"), "Hash of the first n feed messages.")
      .def("snapshot",
           [](const PyExchange& s, TimeNs now) {
             MessageStore store;
             s.exchange.snapshot(store, now);
             return messages(store, 1);
           })
      .def("orders",
           [](const PyExchange& s, u32 symbol, const std::string& side) {
             return order_list(s.exchange.matching(), s.symbol(symbol), side_of(side));
           })
      .def(
          "levels",
          [](const PyExchange& s, u32 symbol, const std::string& side, int n) {
            return level_list(s.exchange.matching(), s.symbol(symbol), side_of(side), n);
          },
          py::arg("symbol"), py::arg("side"), py::arg("n") = 10)
      .def(
          "record", [](const PyExchange& s) { return record_list(s.exchange.record()); },
          "The venue's own record, a dict an event.")
      .def("summary", [](const PyExchange& s, PortIx port) { return summary_dict(s.exchange.summary(s.port(port))); })
      .def("holdings", [](const PyExchange& s) { return s.exchange.holdings(); })
      .def("next_user_ref_num",
           [](const PyExchange& s, PortIx port) { return s.exchange.next_user_ref_num(s.port(port)); })
      .def("state_hash", [](const PyExchange& s) { return s.exchange.state_hash(); })
      .def("check", [](const PyExchange& s) { s.exchange.matching().check(); });

  py::class_<Flow>(m, "Flow", "The seeded background flow of an exchange.")
      .def(py::init([](const py::dict& params, PyExchange& x) {
             return std::make_unique<Flow>(flow_params(params), x.exchange);
           }),
           py::arg("params"), py::arg("exchange"), py::keep_alive<1, 3>())
      .def("begin", &Flow::begin, py::arg("now_ns"))
      .def("seed_books", &Flow::seed_books, py::arg("now_ns"))
      .def(
          "step",
          [](Flow& f, int n) {
            for (int i = 0; i < n; ++i) f.step();
          },
          py::arg("n") = 1)
      .def(
          "run_until",
          [](Flow& f, TimeNs until) {
            while (f.next_ns() <= until) f.step();
          },
          py::arg("until_ns"))
      .def_property_readonly("next_ns", &Flow::next_ns)
      .def_property_readonly("events", &Flow::events)
      .def("value_ticks", &Flow::value_ticks, py::arg("symbol"), "The hidden value the flow leans towards.");

  py::class_<PyRecordedFlow>(m, "RecordedFlow", "A recorded ITCH file's orders, replayed into an exchange.")
      .def(py::init<std::string, PyExchange&, u32, u16, u32>(), py::arg("file"), py::arg("exchange"),
           py::arg("symbol") = 0, py::arg("locate") = 0, py::arg("speed_percent") = 100, py::keep_alive<1, 3>())
      .def(
          "begin", [](PyRecordedFlow& s, TimeNs now) { s.flow.begin(now); }, py::arg("now_ns"))
      .def(
          "step",
          [](PyRecordedFlow& s, int n) {
            for (int i = 0; i < n && !s.flow.done(); ++i) s.flow.step();
          },
          py::arg("n") = 1)
      .def_property_readonly("next_ns", [](const PyRecordedFlow& s) { return s.flow.next_ns(); })
      .def_property_readonly("events", [](const PyRecordedFlow& s) { return s.flow.events(); })
      .def_property_readonly("dropped", [](const PyRecordedFlow& s) { return s.flow.dropped(); })
      .def_property_readonly("done", [](const PyRecordedFlow& s) { return s.flow.done(); });
}
