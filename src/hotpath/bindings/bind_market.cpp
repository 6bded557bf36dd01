// Python view of market/: one message, one market, one capture file.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "market/itch.h"
#include "market/itch_file.h"
#include "market/market.h"
#include "market/moldudp64.h"
#include "market/pcap.h"

namespace py = pybind11;
using namespace peregrine;

void bind_market_feed(py::module_& m);

namespace {

Bytes view(const py::bytes& b) {
  char* data = nullptr;
  Py_ssize_t n = 0;
  if (PyBytes_AsStringAndSize(b.ptr(), &data, &n) != 0) throw py::error_already_set();
  return {reinterpret_cast<const u8*>(data), static_cast<std::size_t>(n)};
}

py::bytes to_bytes(Bytes b) { return py::bytes(reinterpret_cast<const char*>(b.data()), b.size()); }

py::str latin1(const char* p, std::size_t n) {
  return py::reinterpret_steal<py::str>(PyUnicode_DecodeLatin1(p, static_cast<Py_ssize_t>(n), nullptr));
}

struct ToDict {
  py::dict& d;
  void operator()(const char* name, const char& v) { d[name] = latin1(&v, 1); }
  void operator()(const char* name, const Side& v) { d[name] = v == Side::kBuy ? "B" : "S"; }
  void operator()(const char* name, const u32& v) { d[name] = v; }
  void operator()(const char* name, const u64& v) { d[name] = v; }
  template <std::size_t N>
  void operator()(const char* name, const itch::Alpha<N>& v) {
    std::size_t n = N;
    while (n > 0 && v.c[n - 1] == ' ') --n;  // only spaces: a NUL has to survive encoding again
    d[name] = latin1(v.c, n);
  }
};

struct FromDict {
  const py::dict& d;
  std::string text(const char* name, std::size_t width) {
    const py::object latin = d[name].attr("encode")("latin-1");
    std::string s = latin.cast<std::string>();
    if (s.size() > width) throw py::value_error(std::string(name) + ": longer than " + std::to_string(width) + " bytes");
    return s;
  }
  void operator()(const char* name, char& v) {
    if (!d.contains(name)) return;
    const std::string s = text(name, 1);
    v = s.empty() ? ' ' : s[0];
  }
  void operator()(const char* name, Side& v) {
    if (!d.contains(name)) return;
    const std::string s = text(name, 1);
    if (s != "B" && s != "S") throw py::value_error(std::string(name) + ": 'B' or 'S' expected, got '" + s + "'");
    v = s == "B" ? Side::kBuy : Side::kSell;
  }
  void operator()(const char* name, u32& v) {
    if (d.contains(name)) v = d[name].cast<u32>();
  }
  void operator()(const char* name, u64& v) {
    if (d.contains(name)) v = d[name].cast<u64>();
  }
  template <std::size_t N>
  void operator()(const char* name, itch::Alpha<N>& v) {
    if (d.contains(name)) v = itch::Alpha<N>::from(text(name, N));
  }
};

py::object decode_message(const py::bytes& message) {
  const Bytes msg = view(message);
  py::object result = py::none();
  if (msg.empty()) return result;
  itch::with_type(msg[0], [&]<class T>() {
    T m;
    if (!itch::decode(msg, m)) return;
    py::dict d;
    d["type"] = latin1(reinterpret_cast<const char*>(msg.data()), 1);
    d["name"] = T::kName;
    d["locate"] = m.locate;
    d["tracking"] = m.tracking;
    d["ts_ns"] = m.ts_ns;
    ToDict v{d};
    T::fields(m, v);
    if (msg.size() > T::kLength) d["extra"] = to_bytes(msg.subspan(T::kLength)).attr("hex")();
    result = d;
  });
  return result;
}

py::bytes encode_message(const py::dict& d) {
  const std::string type = py::cast<std::string>(d["type"]);
  std::string out;
  const bool known = type.size() == 1 && itch::with_type(static_cast<u8>(type[0]), [&]<class T>() {
    T m{};
    if (d.contains("locate")) m.locate = d["locate"].cast<u16>();
    if (d.contains("tracking")) m.tracking = d["tracking"].cast<u16>();
    if (d.contains("ts_ns")) m.ts_ns = d["ts_ns"].cast<u64>();
    if (m.ts_ns >> 48 != 0) throw py::value_error("ts_ns: does not fit 48 bits");
    FromDict v{d};
    T::fields(m, v);
    out.resize(T::kLength);
    itch::encode(m, reinterpret_cast<u8*>(out.data()));
  });
  if (!known) throw py::value_error("type: '" + type + "' is not an ITCH 5.0 message type");
  std::string extra;
  if (d.contains("extra")) {
    extra = py::module_::import("builtins").attr("bytes").attr("fromhex")(d["extra"]).cast<std::string>();
  }
  return py::bytes(out + extra);
}

py::dict message_types() {
  py::dict d;
  for (int t = 0; t < 256; ++t) {
    itch::with_type(static_cast<u8>(t), [&]<class T>() {
      const char c = static_cast<char>(T::kType);
      d[latin1(&c, 1)] = py::make_tuple(T::kName, T::kLength);
    });
  }
  return d;
}

Side side_of(const std::string& s) {
  if (s != "B" && s != "S") throw py::value_error("side: 'B' or 'S' expected, got '" + s + "'");
  return s == "B" ? Side::kBuy : Side::kSell;
}

std::string symbol_bytes(const py::str& s) { return s.attr("encode")("latin-1").cast<std::string>(); }

// The market with the last event, as Python wants it.
struct PyMarket : Market {
  using Market::Market;
  Event last;
};

InstrumentIx checked(const Market& m, InstrumentIx ix) {
  if (ix >= m.instruments()) throw py::index_error("no instrument " + std::to_string(ix));
  return ix;
}

py::list levels(const Market& m, InstrumentIx ix, Side side, int n) {
  std::vector<Level> out(static_cast<std::size_t>(n < 0 ? 0 : n));
  const int got = m.levels(checked(m, ix), side, out.data(), n);
  py::list l;
  for (int i = 0; i < got; ++i) l.append(py::make_tuple(out[i].price_ticks, out[i].qty_lots, out[i].orders));
  return l;
}

py::dict market_stats(const Market& m) {
  py::dict d, outcomes, types;
  const auto& s = m.stats();
  for (int i = 0; i < Market::kOutcomes; ++i) outcomes[Market::outcome_name(static_cast<Market::Outcome>(i))] = s.outcomes[i];
  for (int t = 0; t < 256; ++t) {
    const char c = static_cast<char>(t);
    if (s.types[t] != 0) types[latin1(&c, 1)] = s.types[t];
  }
  d["messages"] = s.messages;
  d["outcomes"] = outcomes;
  d["types"] = types;
  d["broken_unknown"] = s.broken_unknown;
  d["unsound_marks"] = s.unsound_marks;
  d["own_full"] = s.own_full;
  return d;
}

const char* end_name(StreamEnd e) {
  return e == StreamEnd::kEnd ? "end" : e == StreamEnd::kTruncated ? "truncated" : "limit";
}

void bind_event(py::module_& m) {
  py::class_<Event>(m, "Event", "The normalised market event: 64 bytes, drawn in market/event.h.")
      .def(py::init<>())
      .def_readwrite("seq", &Event::seq)
      .def_readwrite("ts_event_ns", &Event::ts_event_ns)
      .def_readwrite("ts_rx_ns", &Event::ts_rx_ns)
      .def_readwrite("instrument", &Event::instrument)
      .def_property("kind", [](const Event& e) { return static_cast<int>(e.kind); },
                    [](Event& e, int v) { e.kind = static_cast<EventKind>(v); })
      .def_property("side", [](const Event& e) { return static_cast<int>(e.side); },
                    [](Event& e, int v) { e.side = static_cast<Side>(v); })
      .def_readwrite("flags", &Event::flags)
      .def_readwrite("order_id", &Event::order_id)
      .def_readwrite("price_ticks", &Event::price_ticks)
      .def_readwrite("qty_lots", &Event::qty_lots)
      .def_readwrite("aux", &Event::aux)
      .def("__bytes__", [](const Event& e) { return py::bytes(reinterpret_cast<const char*>(&e), sizeof e); });
}

void bind_market_class(py::module_& m) {
  py::class_<Market>(m, "MarketBase");
  py::class_<PyMarket, Market>(m, "Market", "One ITCH feed's instruments, L3 books and trading states.")
      .def(py::init([](u32 max_instruments, u32 max_orders, u32 max_levels, u32 max_own_orders, u32 max_prints,
                       bool auto_instruments, i64 midnight_ns) {
             MarketConfig c;
             if (max_instruments < 1 || max_instruments > 1u << 24 || max_orders < 1 || max_orders > 1u << 29 ||
                 max_levels < 1 || max_levels > 1u << 28) {
               throw py::value_error("a pool size is out of range");
             }
             c.max_instruments = max_instruments;
             c.max_orders = max_orders;
             c.max_levels = max_levels;
             c.max_own_orders = max_own_orders;
             c.max_prints = max_prints;
             c.auto_instruments = auto_instruments;
             c.midnight_ns = midnight_ns;
             return std::make_unique<PyMarket>(c);
           }),
           py::kw_only(), py::arg("max_instruments") = 64, py::arg("max_orders") = 1u << 17,
           py::arg("max_levels") = 1u << 15, py::arg("max_own_orders") = 1024, py::arg("max_prints") = 1u << 14,
           py::arg("auto_instruments") = true, py::arg("midnight_ns") = 0)
      .def("add_instrument", [](PyMarket& k, const py::str& s) { return k.add_instrument(symbol_bytes(s)); })
      .def("find", [](const PyMarket& k, const py::str& s) -> std::optional<InstrumentIx> {
        const InstrumentIx ix = k.find(symbol_bytes(s));
        return ix == kNoInstrument ? std::nullopt : std::optional<InstrumentIx>(ix);
      }, "Index of a symbol, or None.")
      .def("symbol", [](const PyMarket& k, InstrumentIx ix) {
        const std::string_view s = k.symbol(checked(k, ix));
        return latin1(s.data(), s.size());
      })
      .def_property_readonly("instruments", &Market::instruments)
      .def("on_message", [](PyMarket& k, const py::bytes& msg, u64 seq, TimeNs rx_ns) {
        return Market::outcome_name(k.on_message(view(msg), seq, rx_ns, k.last));
      }, py::arg("msg"), py::arg("seq") = 0, py::arg("rx_ns") = 0, "Apply one message; returns the outcome's name.")
      .def("on_snapshot_message", [](PyMarket& k, const py::bytes& msg, u64 n, TimeNs rx_ns) {
        return Market::outcome_name(k.on_snapshot_message(view(msg), n, rx_ns, k.last));
      }, py::arg("msg"), py::arg("n"), py::arg("rx_ns") = 0)
      .def_property_readonly("event", [](const PyMarket& k) { return k.last; }, "Event of the last on_message.")
      .def("apply", [](PyMarket& k, const py::bytes& buffer, u64 first_seq, u64 limit) {
        const Bytes b = view(buffer);
        StreamResult r;
        {
          py::gil_scoped_release release;
          r = apply_stream(k, b, first_seq, limit, [](Market::Outcome, const Event&, Bytes) {});
        }
        return py::make_tuple(r.messages, r.consumed, end_name(r.end));
      }, py::arg("buffer"), py::arg("first_seq") = 1, py::arg("limit") = UINT64_MAX,
           "Apply length-prefixed messages; returns (messages, bytes consumed, 'end' | 'truncated' | 'limit').")
      .def("apply_events", [](PyMarket& k, const py::bytes& buffer, u64 first_seq, u64 limit) {
        std::string events;
        apply_stream(k, view(buffer), first_seq, limit, [&](Market::Outcome, const Event& e, Bytes) {
          events.append(reinterpret_cast<const char*>(&e), sizeof e);
        });
        return py::bytes(events);
      }, py::arg("buffer"), py::arg("first_seq") = 1, py::arg("limit") = UINT64_MAX,
           "As apply; returns the events, 64 bytes each (see hotpath.market.event.EVENT_DTYPE).")
      .def("top", [](const PyMarket& k, InstrumentIx ix) {
        const Top t = k.top(checked(k, ix));
        return py::make_tuple(t.bid_ticks, t.bid_lots, t.bid_orders, t.ask_ticks, t.ask_lots, t.ask_orders);
      }, "(bid_ticks, bid_lots, bid_orders, ask_ticks, ask_lots, ask_orders); lots 0 = empty side.")
      .def("levels", [](const PyMarket& k, InstrumentIx ix, const std::string& side, int n) {
        return levels(k, ix, side_of(side), n);
      }, py::arg("ix"), py::arg("side"), py::arg("n") = 10, "[(price_ticks, qty_lots, orders)], best first.")
      .def("queue", [](const PyMarket& k, InstrumentIx ix, const std::string& side, PriceTicks price, int n) {
        std::vector<QueuedOrder> out(static_cast<std::size_t>(n < 0 ? 0 : n));
        const int got = k.queue(checked(k, ix), side_of(side), price, out.data(), n);
        py::list l;
        for (int i = 0; i < got; ++i) l.append(py::make_tuple(out[i].ref, out[i].qty_lots));
        return l;
      }, py::arg("ix"), py::arg("side"), py::arg("price_ticks"), py::arg("n") = 1000,
           "[(order ref, lots)] of one level, first in priority first.")
      .def("lots_at", [](const PyMarket& k, InstrumentIx ix, const std::string& side, PriceTicks price) {
        return k.lots_at(checked(k, ix), side_of(side), price);
      })
      .def("trading_state", [](const PyMarket& k, InstrumentIx ix) {
        return std::string(1, static_cast<char>(k.trading_state(checked(k, ix))));
      })
      .def("short_sale_restricted",
           [](const PyMarket& k, InstrumentIx ix) { return k.short_sale_restricted(checked(k, ix)); })
      .def("sound", [](const PyMarket& k, InstrumentIx ix) { return k.sound(checked(k, ix)); })
      .def("volume", [](const PyMarket& k, InstrumentIx ix) { return k.volume(checked(k, ix)); })
      .def("last_trade_ticks", [](const PyMarket& k, InstrumentIx ix) { return k.last_trade_ticks(checked(k, ix)); })
      .def("last_execution_ticks",
           [](const PyMarket& k, InstrumentIx ix) { return k.last_execution_ticks(checked(k, ix)); })
      .def("round_lot_lots", [](const PyMarket& k, InstrumentIx ix) { return k.round_lot_lots(checked(k, ix)); })
      .def_property_readonly("market_open", &Market::market_open)
      .def_property_readonly("mwcb_level", [](const PyMarket& k) { return std::string(1, k.mwcb_level()); })
      .def("set_all_sound", &Market::set_all_sound)
      .def("begin_snapshot", &Market::begin_snapshot)
      .def("end_snapshot", &Market::end_snapshot)
      .def("track_own", &Market::track_own)
      .def("untrack_own", &Market::untrack_own)
      .def("queue_ahead_lots", &Market::queue_ahead_lots, "Lots ahead of a followed order; -1 unknown.")
      .def_property_readonly("live_orders", &Market::live_orders)
      .def_property_readonly("live_levels", &Market::live_levels)
      .def("state_hash", &Market::state_hash)
      .def("check", &Market::check, "Assert every invariant of the books (slow).")
      .def("stats", [](const PyMarket& k) { return market_stats(k); });
}

void bind_files(py::module_& m) {
  m.def("split_blocks", [](const py::bytes& buffer) {
    BlockCursor c(view(buffer));
    py::list out;
    Bytes msg;
    while (c.next(msg)) out.append(to_bytes(msg));
    return py::make_tuple(out, c.at(), end_name(c.end()));
  }, "Length-prefixed messages of a buffer: (messages, bytes consumed, 'end' | 'truncated').");
  m.def("mold_parse", [](const py::bytes& packet) -> py::object {
    const Bytes b = view(packet);
    mold::Header h;
    if (!mold::well_formed(b, h)) return py::none();
    py::list blocks;
    mold::BlockIterator it(b, h);
    for (Bytes msg; it.next(msg);) blocks.append(to_bytes(msg));
    return py::make_tuple(py::bytes(h.session.data(), 10), h.seq, h.count, blocks);
  }, "(session, first sequence, count, messages) of a MoldUDP64 packet, or None when malformed.");
  m.def("mold_build", [](const py::bytes& session, u64 seq, const std::vector<py::bytes>& messages, bool end) {
    std::string buffer(mold::kMaxDatagramBytes, '\0');
    mold::PacketBuilder b(reinterpret_cast<u8*>(buffer.data()), buffer.size());
    const mold::Session s = mold::make_session(std::string(session));
    if (end) return to_bytes(b.end_of_session(s, seq));
    b.start(s, seq);
    for (const py::bytes& msg : messages) {
      if (!b.add(view(msg))) throw py::value_error("the messages do not fit one datagram");
    }
    return to_bytes(b.finish());
  }, py::arg("session"), py::arg("seq"), py::arg("messages") = std::vector<py::bytes>{}, py::arg("end") = false,
     "A MoldUDP64 packet; no messages = heartbeat.");
  m.def("mold_request", [](const py::bytes& session, u64 seq, u16 count) {
    u8 out[mold::kRequestBytes];
    mold::encode(mold::Request{mold::make_session(std::string(session)), seq, count}, out);
    return to_bytes({out, sizeof out});
  });
  m.def("mold_parse_request", [](const py::bytes& packet) -> py::object {
    mold::Request r;
    if (!mold::decode(view(packet), r)) return py::none();
    return py::make_tuple(py::bytes(r.session.data(), 10), r.seq, r.count);
  });
  m.def("read_pcap", [](const py::bytes& file) {
    static constexpr const char* kErrors[] = {"", "not a pcap file", "link type is not Ethernet", "truncated"};
    pcap::Reader r(view(file));
    py::list out;
    for (pcap::Packet p; r.next(p);) {
      out.append(py::make_tuple(p.ts_ns, p.protocol, p.src_ip, p.src_port, p.dst_ip, p.dst_port, p.tcp_seq,
                                p.tcp_flags, p.cut, p.payload_offset, to_bytes(p.payload)));
    }
    return py::make_tuple(out, kErrors[static_cast<int>(r.error())], r.at(), r.skipped());
  }, "(packets, error, offset, frames skipped); see hotpath.market.pcap for names.");
}

}  // namespace

void bind_market(py::module_& core) {
  py::module_ m = core.def_submodule("market", "ITCH, MoldUDP64, books");
  m.def("decode", &decode_message, "An ITCH message as a dict, or None when unknown or malformed.");
  m.def("encode", &encode_message, "The bytes of a message given as decode gives it; left-out fields have defaults.");
  m.def("message_types", &message_types, "{type: (name, length)} of ITCH 5.0.");
  bind_event(m);
  bind_market_class(m);
  bind_files(m);
  bind_market_feed(m);
}
