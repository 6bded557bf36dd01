// Reading configuration dicts and naming enums, shared by the venue's bindings.
#pragma once

#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <set>
#include <string>

#include "core/hash.h"
#include "venue/server.h"

namespace peregrine::venue::bind {

namespace py = pybind11;

// Takes the keys it is asked for; `finish` refuses what is left over, by name.
class Dict {
 public:
  Dict(const py::dict& d, std::string what) : d_(d), what_(std::move(what)) {}
  template <class T>
  Dict& get(const char* key, T& out) {
    known_.insert(key);
    if (d_.contains(key)) out = d_[key].cast<T>();
    return *this;
  }
  bool has(const char* key) {
    known_.insert(key);
    return d_.contains(key) && !d_[key].is_none();
  }
  py::object at(const char* key) { return d_[key]; }
  void finish() const {
    for (const auto& item : d_) {
      const std::string key = py::str(item.first);
      if (known_.count(key) == 0) throw py::key_error("unknown key \"" + key + "\" in " + what_);
    }
  }

 private:
  const py::dict& d_;
  std::string what_;
  std::set<std::string> known_;
};

inline StpMode stp_of(const std::string& s) {
  if (s == "off") return StpMode::kOff;
  if (s == "cancel_resting") return StpMode::kCancelResting;
  if (s == "cancel_incoming") return StpMode::kCancelIncoming;
  if (s == "decrement_both") return StpMode::kDecrementBoth;
  throw py::value_error("stp \"" + s + "\": one of off, cancel_resting, cancel_incoming, decrement_both");
}

inline SessionState session_state_of(const std::string& s) {
  if (s == "pre_open") return SessionState::kPreOpen;
  if (s == "open") return SessionState::kOpen;
  if (s == "closed") return SessionState::kClosed;
  if (s == "ended") return SessionState::kEnded;
  throw py::value_error("session state \"" + s + "\": one of pre_open, open, closed, ended");
}

inline Side side_of(const std::string& s) {
  if (s == "B") return Side::kBuy;
  if (s == "S") return Side::kSell;
  throw py::value_error("side \"" + s + "\": B or S");
}

inline py::bytes to_bytes(Bytes b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }
inline Bytes view(const py::bytes& b) {
  const std::string_view s = b;
  return {reinterpret_cast<const u8*>(s.data()), s.size()};
}
inline py::list messages(const MessageStore& store, u64 from) {
  py::list out;
  for (u64 seq = from < 1 ? 1 : from; seq <= store.size(); ++seq) out.append(to_bytes(store.at(seq)));
  return out;
}

ExchangeConfig exchange_config(Dict& d);
ServerConfig server_config(const py::dict& dict);
FlowParams flow_params(const py::dict& d);
py::dict result_dict(const EnterResult& r);
py::dict order_dict(const OrderView& o);
py::list level_list(const Matching& m, u32 symbol, Side side, int n);
py::list order_list(const Matching& m, u32 symbol, Side side);
py::list record_list(const std::vector<RecordEntry>& record);
py::dict summary_dict(const PortSummary& s);
OrderSpec order_spec(const py::kwargs& kwargs);

}  // namespace peregrine::venue::bind
