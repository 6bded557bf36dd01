// OUCH and SoupBinTCP codecs for Python: a message is a dict with its class name under "type".
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string_view>

#include "execution/ouch.h"
#include "execution/soup.h"

namespace py = pybind11;
using namespace peregrine;

namespace {

Bytes view(std::string_view s) { return Bytes(reinterpret_cast<const u8*>(s.data()), s.size()); }

template <class T>
struct Named {
  const char* name;
};

// Calls f(Named<T>) for every message of one direction.
template <class F>
void each_request(F&& f) {
  f(Named<ouch::EnterOrder>{"EnterOrder"});
  f(Named<ouch::ReplaceOrder>{"ReplaceOrder"});
  f(Named<ouch::CancelOrder>{"CancelOrder"});
  f(Named<ouch::ModifyOrder>{"ModifyOrder"});
  f(Named<ouch::AccountQuery>{"AccountQuery"});
  f(Named<ouch::MassCancel>{"MassCancel"});
  f(Named<ouch::DisableEntry>{"DisableEntry"});
  f(Named<ouch::EnableEntry>{"EnableEntry"});
}
template <class F>
void each_response(F&& f) {
  f(Named<ouch::SystemEvent>{"SystemEvent"});
  f(Named<ouch::Accepted>{"Accepted"});
  f(Named<ouch::Replaced>{"Replaced"});
  f(Named<ouch::Canceled>{"Canceled"});
  f(Named<ouch::AiqCanceled>{"AiqCanceled"});
  f(Named<ouch::Executed>{"Executed"});
  f(Named<ouch::BrokenTrade>{"BrokenTrade"});
  f(Named<ouch::TradeCorrection>{"TradeCorrection"});
  f(Named<ouch::Rejected>{"Rejected"});
  f(Named<ouch::CancelPending>{"CancelPending"});
  f(Named<ouch::CancelReject>{"CancelReject"});
  f(Named<ouch::PriorityUpdate>{"PriorityUpdate"});
  f(Named<ouch::Modified>{"Modified"});
  f(Named<ouch::Restated>{"Restated"});
  f(Named<ouch::AccountQueryResponse>{"AccountQueryResponse"});
  f(Named<ouch::MassCancelResponse>{"MassCancelResponse"});
  f(Named<ouch::DisableResponse>{"DisableResponse"});
  f(Named<ouch::EnableResponse>{"EnableResponse"});
}

void set_field(u8& f, const py::handle& v) {
  if (py::isinstance<py::str>(v)) {
    const auto s = v.cast<std::string>();
    if (s.size() != 1) throw py::value_error("expected one character, got '" + s + "'");
    f = static_cast<u8>(s[0]);
  } else {
    f = v.cast<u8>();
  }
}
template <class U>
  requires(std::is_integral_v<U> && !std::is_same_v<U, u8>)
void set_field(U& f, const py::handle& v) {
  f = v.cast<U>();
}
template <std::size_t N>
void set_field(ouch::Alpha<N>& f, const py::handle& v) {
  const std::string s = py::isinstance<py::bytes>(v) ? v.cast<std::string>() : v.cast<py::str>().cast<std::string>();
  if (s.size() > N) throw py::value_error("'" + s + "' is longer than " + std::to_string(N));
  f = ouch::alpha<N>(s);
}
py::object get_field(u8 f) { return py::str(std::string(1, static_cast<char>(f & 0x7F))); }
template <class U>
  requires(std::is_integral_v<U> && !std::is_same_v<U, u8>)
py::object get_field(U f) {
  return py::int_(f);
}
template <std::size_t N>
py::object get_field(const ouch::Alpha<N>& f) {
  const auto t = ouch::trimmed(f);
  return py::reinterpret_steal<py::object>(
      PyUnicode_DecodeLatin1(t.data(), static_cast<Py_ssize_t>(t.size()), nullptr));
}

template <class T>
std::string encode_dict(const py::dict& d) {
  T m;
  std::string appendage;
  std::size_t used = 1;
  const auto take = [&](const char* name, auto& f) {
    if (!d.contains(name)) return;
    ++used;
    set_field(f, d[name]);
  };
  T::each(m, take);
  if constexpr (T::kResponse) take("timestamp_ns", m.timestamp_ns);
  if constexpr (std::is_same_v<T, ouch::AiqCanceled>) take("strategy", m.strategy);
  if (d.contains("long_form")) m.long_form = d["long_form"].cast<bool>(), ++used;
  if (d.contains("appendage")) appendage = d["appendage"].cast<std::string>(), ++used;
  if (used != d.size())
    throw py::key_error("a field this message does not have is among " + py::repr(d).cast<std::string>());
  if (appendage.size() > 0xFFFF) throw py::value_error("appendage longer than 65535 bytes");
  m.appendage = view(appendage);
  std::string out(ouch::encoded_bytes(m), '\0');
  ouch::encode(m, reinterpret_cast<u8*>(out.data()));
  return out;
}

template <class T>
py::object decode_dict(Bytes b, const char* name) {
  T m;
  if (!ouch::decode(b, m)) return py::none();
  py::dict d;
  d["type"] = name;
  if constexpr (T::kResponse) d["timestamp_ns"] = m.timestamp_ns;
  T::each(m, [&d](const char* field, const auto& f) { d[field] = get_field(f); });
  if constexpr (std::is_same_v<T, ouch::AiqCanceled>) d["strategy"] = get_field(m.strategy);
  d["long_form"] = m.long_form;
  d["appendage"] = py::bytes(reinterpret_cast<const char*>(m.appendage.data()), m.appendage.size());
  return d;
}

struct PyFramer {
  soup::Framer framer;
  py::list push(std::string_view chunk) {
    py::list out;
    framer.push(view(chunk),
                [&](Bytes p) { out.append(py::bytes(reinterpret_cast<const char*>(p.data()), p.size())); });
    return out;
  }
};

template <std::size_t N>
void text_field(std::array<char, N>& f, const std::string& s, bool right) {
  f.fill(' ');
  const std::size_t n = s.size() < N ? s.size() : N;
  std::memcpy(f.data() + (right ? N - n : 0), s.data(), n);
}

}  // namespace

void bind_ouch(py::module_& m) {
  m.def(
      "ouch_encode",
      [](const py::dict& d) {
        const auto type = d["type"].cast<std::string>();
        std::string out;
        bool known = false;
        const auto attempt = [&]<class T>(Named<T> n) {
          if (type == n.name) out = encode_dict<T>(d), known = true;
        };
        each_request(attempt);
        each_response(attempt);
        if (!known) throw py::value_error("no OUCH message is called " + type);
        return py::bytes(out);
      },
      "bytes of a message given as a dict; fields left out take their defaults");
  const auto decoder = [](bool response) {
    return [response](py::bytes raw) {
      const Bytes b = view(raw);
      py::object out = py::none();
      const auto attempt = [&]<class T>(Named<T> n) {
        if (!b.empty() && b[0] == T::kType) out = decode_dict<T>(b, n.name);
      };
      response ? each_response(attempt) : each_request(attempt);
      return out;
    };
  };
  m.def("ouch_decode_request", decoder(false), "dict of a client message, None when malformed or unknown");
  m.def("ouch_decode_response", decoder(true), "dict of a host message, None when malformed or unknown");
  m.def(
      "ouch_layout",
      [] {
        py::list l;
        const auto add = [&](bool response) {
          return [&l, response]<class T>(Named<T> n) {
            py::list fields;
            T msg;
            T::each(msg, [&fields](const char* name, const auto& f) {
              fields.append(py::make_tuple(name, sizeof(f), std::is_integral_v<std::remove_cvref_t<decltype(f)>>));
            });
            l.append(py::make_tuple(n.name, response, std::string(1, static_cast<char>(T::kType)), T::kBaseBytes,
                                    T::kAppendix == ouch::Appendix::kRequired, fields));
          };
        };
        each_request(add(false));
        each_response(add(true));
        return l;
      },
      "[(name, is_response, type letter, base bytes, appendage length always there, [(field, bytes, is integer)])]");
  m.def("ouch_find_tag", [](py::bytes app, u8 tag) -> py::object {
    const Bytes v = ouch::find_tag(view(app), tag);
    if (v.data() == nullptr) return py::none();
    return py::bytes(reinterpret_cast<const char*>(v.data()), v.size());
  });

  py::class_<PyFramer>(m, "SoupFramer")
      .def(py::init<>())
      .def(
          "push", [](PyFramer& f, py::bytes b) { return f.push(b); },
          "whole packets (type byte + payload) completed by this chunk")
      .def("reset", [](PyFramer& f) { f.framer.reset(); })
      .def_property_readonly("malformed", [](const PyFramer& f) { return f.framer.malformed(); })
      .def_property_readonly("held_bytes", [](const PyFramer& f) { return f.framer.held_bytes(); });
  m.def("soup_frame", [](char type, py::bytes payload) {
    const std::string_view p = payload;
    if (p.size() >= soup::kMaxPacketBytes) throw py::value_error("payload too long for one packet");
    std::string out(p.size() + 3, '\0');
    soup::frame(static_cast<u8>(type), view(p), reinterpret_cast<u8*>(out.data()));
    return py::bytes(out);
  });
  m.def("soup_login_request",
        [](const std::string& user, const std::string& password, const std::string& session, u64 seq) {
          soup::LoginRequest r;
          text_field(r.username, user, false);
          text_field(r.password, password, false);
          r.session = soup::make_session(session.data(), session.size());
          r.sequence = seq;
          u8 out[soup::kLoginRequestBytes];
          return py::bytes(reinterpret_cast<const char*>(out), soup::encode(r, out));
        });
  m.def("soup_login_accepted", [](const std::string& session, u64 seq) {
    soup::LoginAccepted r{soup::make_session(session.data(), session.size()), seq};
    u8 out[soup::kLoginAcceptedBytes];
    return py::bytes(reinterpret_cast<const char*>(out), soup::encode(r, out));
  });
  m.def("soup_decode_login", [](py::bytes payload) -> py::object {
    soup::LoginRequest r;
    if (!soup::decode(view(payload), r)) return py::none();
    return py::make_tuple(py::bytes(r.username.data(), 6), py::bytes(r.password.data(), 10),
                          py::bytes(r.session.data(), 10), r.sequence);
  });
  m.def("soup_decode_accepted", [](py::bytes payload) -> py::object {
    soup::LoginAccepted r;
    if (!soup::decode(view(payload), r)) return py::none();
    return py::make_tuple(py::bytes(r.session.data(), 10), r.sequence);
  });
}
