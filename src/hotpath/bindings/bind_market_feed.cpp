// Python view of the feed receiver: its calls are recorded, and taken as tuples.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>

#include "market/feed_receiver.h"
#include "market/live_feed.h"

namespace py = pybind11;
using namespace peregrine;

namespace {

Bytes view(const py::bytes& b) {
  char* data = nullptr;
  Py_ssize_t n = 0;
  if (PyBytes_AsStringAndSize(b.ptr(), &data, &n) != 0) throw py::error_already_set();
  return {reinterpret_cast<const u8*>(data), static_cast<std::size_t>(n)};
}

py::bytes to_bytes(Bytes b) { return py::bytes(reinterpret_cast<const char*>(b.data()), b.size()); }

class Recorder : public FeedSink {
 public:
  py::list calls;
  void on_block(u64 seq, u8 line, Bytes msg) override { calls.append(py::make_tuple("block", seq, line, to_bytes(msg))); }
  void on_snapshot_block(u64 n, Bytes msg) override { calls.append(py::make_tuple("snapshot", n, to_bytes(msg))); }
  void on_state(const journal::FeedStateChange& c) override {
    static constexpr const char* kStates[] = {"down", "recovering", "live", "gapped", "stale", "ended"};
    static constexpr const char* kReasons[] = {"start", "gap", "silence", "recovered", "end", "snapshot_failed"};
    calls.append(py::make_tuple("state", kStates[c.state], kReasons[c.reason], c.from_seq, c.to_seq));
  }
  void request(u64 seq, u16 count) override { calls.append(py::make_tuple("request", seq, count)); }
  void open_snapshot() override { calls.append(py::make_tuple("open")); }
  void close_snapshot() override { calls.append(py::make_tuple("close")); }
};

struct PyFeed {
  explicit PyFeed(const FeedReceiverConfig& c) : receiver(c, recorder) {}
  Recorder recorder;
  FeedReceiver receiver;
};

struct PyLiveFeed {
  explicit PyLiveFeed(const LiveFeedConfig& c) : feed(c, recorder) {}
  Recorder recorder;
  LiveFeed feed;
};

py::list take_calls(Recorder& r) {
  py::list out = r.calls;
  r.calls = py::list();
  return out;
}

FeedReceiverConfig config_of(const py::kwargs& kw) {
  FeedReceiverConfig c;
  for (const auto& item : kw) {
    const std::string k = py::str(item.first);
    const py::object v = py::reinterpret_borrow<py::object>(item.second);
    if (k == "join") {
      const std::string j = py::str(v);
      if (j != "first" && j != "snapshot" && j != "here") throw py::value_error("join: first, snapshot or here");
      c.join = j == "first"      ? FeedReceiverConfig::Join::kFromFirst
               : j == "snapshot" ? FeedReceiverConfig::Join::kSnapshot
                                 : FeedReceiverConfig::Join::kHere;
    } else if (k == "lines") {
      c.lines = v.cast<u8>();
    } else if (k == "snapshot_service") {
      c.snapshot_service = v.cast<bool>();
    } else if (k == "request_service") {
      c.request_service = v.cast<bool>();
    } else if (k == "window_messages") {
      c.window_messages = v.cast<u32>();
    } else if (k == "slot_bytes") {
      c.slot_bytes = v.cast<u32>();
    } else if (k == "max_request_messages") {
      c.max_request_messages = v.cast<u16>();
    } else if (k == "request_retries") {
      c.request_retries = v.cast<u32>();
    } else if (k == "snapshot_retries") {
      c.snapshot_retries = v.cast<u32>();
    } else if (k == "max_jump_messages") {
      c.max_jump_messages = v.cast<u64>();
    } else if (k == "arbitration_wait_ns") {
      c.arbitration_wait_ns = v.cast<TimeNs>();
    } else if (k == "request_timeout_ns") {
      c.request_timeout_ns = v.cast<TimeNs>();
    } else if (k == "silence_timeout_ns") {
      c.silence_timeout_ns = v.cast<TimeNs>();
    } else if (k == "snapshot_timeout_ns") {
      c.snapshot_timeout_ns = v.cast<TimeNs>();
    } else if (k == "snapshot_retry_ns") {
      c.snapshot_retry_ns = v.cast<TimeNs>();
    } else {
      throw py::type_error("FeedReceiver has no option '" + k + "'");
    }
  }
  return c;
}

py::dict stats_of(const FeedReceiver::Stats& s) {
  py::dict d;
  d["packets"] = py::make_tuple(s.packets[0], s.packets[1], s.packets[2]);
  d["malformed"] = s.malformed;
  d["foreign"] = s.foreign;
  d["implausible"] = s.implausible;
  d["delivered"] = s.delivered;
  d["duplicates"] = s.duplicates;
  d["buffered"] = s.buffered;
  d["not_buffered"] = s.not_buffered;
  d["gaps"] = s.gaps;
  d["lost"] = s.lost;
  d["requests"] = s.requests;
  d["snapshots"] = s.snapshots;
  d["snapshot_failures"] = s.snapshot_failures;
  d["silences"] = s.silences;
  return d;
}

}  // namespace

void bind_market_feed(py::module_& m) {
  py::class_<PyFeed>(m, "FeedReceiver",
                     "The feed's state machine; `take` gives what it called since the last `take`, as tuples:\n"
                     "('block', seq, line, msg) ('snapshot', n, msg) ('state', state, reason, from, to)\n"
                     "('request', seq, count) ('open',) ('close',). Options are FeedReceiverConfig's fields.")
      .def(py::init([](const py::kwargs& kw) { return std::make_unique<PyFeed>(config_of(kw)); }))
      .def("start", [](PyFeed& f, TimeNs now) { f.receiver.start(now); })
      .def("on_packet", [](PyFeed& f, u8 line, const py::bytes& b, TimeNs now) { f.receiver.on_packet(line, view(b), now); })
      .def("on_snapshot_packet", [](PyFeed& f, const std::string& type, const py::bytes& b, TimeNs now) {
        if (type.size() != 1) throw py::value_error("type: one character");
        f.receiver.on_snapshot_packet(static_cast<u8>(type[0]), view(b), now);
      })
      .def("on_snapshot_closed", [](PyFeed& f, TimeNs now) { f.receiver.on_snapshot_closed(now); })
      .def("on_timer", [](PyFeed& f, TimeNs now) { f.receiver.on_timer(now); })
      .def("resync", [](PyFeed& f, TimeNs now) { f.receiver.resync(now); })
      .def("take", [](PyFeed& f) { return take_calls(f.recorder); })
      .def_property_readonly("state", [](const PyFeed& f) {
        static constexpr const char* kStates[] = {"down", "recovering", "live", "gapped", "stale", "ended"};
        return kStates[static_cast<int>(f.receiver.state())];
      })
      .def_property_readonly("next_seq", [](const PyFeed& f) { return f.receiver.next_seq(); })
      .def_property_readonly("next_timer_ns", [](const PyFeed& f) { return f.receiver.next_timer_ns(); })
      .def("line_silent", [](const PyFeed& f, u8 line, TimeNs now) { return f.receiver.line_silent(line, now); })
      .def("state_hash", [](const PyFeed& f) { return f.receiver.state_hash(); })
      .def("stats", [](const PyFeed& f) { return stats_of(f.receiver.stats()); });

  py::class_<PyLiveFeed>(m, "LiveFeed",
                         "A FeedReceiver on real sockets. Endpoints are (ip, port) or (group, port, interface ip);\n"
                         "empty = not used. Further options are FeedReceiverConfig's fields.")
      .def(py::init([](const std::vector<py::object>& line_a, const std::vector<py::object>& line_b,
                       const std::vector<py::object>& request_server, const std::vector<py::object>& snapshot_server,
                       const std::string& username, const std::string& password, const py::kwargs& kw) {
             const auto endpoint = [](const std::vector<py::object>& t) {
               FeedEndpoint e;
               if (t.size() >= 2) e = {t[0].cast<std::string>(), t[1].cast<u16>()};
               if (t.size() >= 3) e.interface_ip = t[2].cast<std::string>();
               return e;
             };
             LiveFeedConfig c;
             c.receiver = config_of(kw);
             c.line_a = endpoint(line_a);
             c.line_b = endpoint(line_b);
             c.request_server = endpoint(request_server);
             c.snapshot_server = endpoint(snapshot_server);
             c.snapshot_login = {username, password, ""};
             return std::make_unique<PyLiveFeed>(c);
           }),
           py::arg("line_a"), py::arg("line_b") = std::vector<py::object>{},
           py::arg("request_server") = std::vector<py::object>{}, py::arg("snapshot_server") = std::vector<py::object>{},
           py::arg("username") = "", py::arg("password") = "")
      .def("open", [](PyLiveFeed& f, TimeNs now) {
        const std::string error = f.feed.open(now);
        if (!error.empty()) {
          PyErr_SetString(PyExc_OSError, error.c_str());
          throw py::error_already_set();
        }
      })
      .def("poll", [](PyLiveFeed& f, TimeNs now) { return f.feed.poll(now); })
      .def("close", [](PyLiveFeed& f) { f.feed.close(); })
      .def("take", [](PyLiveFeed& f) { return take_calls(f.recorder); })
      .def("ports", [](const PyLiveFeed& f) { return py::make_tuple(f.feed.line(0).port(), f.feed.line(1).port()); })
      .def("stats", [](const PyLiveFeed& f) { return stats_of(f.feed.receiver().stats()); })
      .def("line_stats", [](const PyLiveFeed& f, int line) {
        const auto& s = f.feed.line(line).stats();
        py::dict d;
        d["datagrams"] = s.datagrams;
        d["bytes"] = s.bytes;
        d["truncated"] = s.truncated;
        d["kernel_drops"] = s.kernel_drops;
        d["errors"] = s.errors;
        d["receive_buffer_bytes"] = s.receive_buffer_bytes;
        d["kernel_stamps"] = s.kernel_stamps;
        return d;
      });
}
