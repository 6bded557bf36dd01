// Python view of the simulated exchange: what the other bind_ files share, and the order they come in.
#include "venue/bind_common.h"

void bind_matching(pybind11::module_& m);
void bind_exchange(pybind11::module_& m);
void bind_server(pybind11::module_& m);

namespace peregrine::venue::bind {

ExchangeConfig exchange_config(Dict& d) {
  ExchangeConfig c;
  if (d.has("symbols")) {
    c.symbols.clear();
    for (const py::handle item : d.at("symbols")) {
      SymbolConfig s;
      const py::dict sd = item.cast<py::dict>();
      Dict r(sd, "symbols");
      r.get("symbol", s.symbol).get("round_lot", s.round_lot).get("increment_ticks", s.increment_ticks);
      r.get("reference_ticks", s.reference_ticks).finish();
      if (s.symbol.empty() || s.symbol.size() > 8)
        throw py::value_error("symbol \"" + s.symbol + "\": 1 to 8 characters");
      if (s.increment_ticks <= 0 || s.reference_ticks < s.increment_ticks)
        throw py::value_error(s.symbol + ": increment_ticks and reference_ticks must be above 0");
      c.symbols.push_back(s);
    }
    if (c.symbols.empty()) throw py::value_error("symbols: at least one");
  }
  if (d.has("ports")) {
    for (const py::handle item : d.at("ports")) {
      PortConfig p;
      const py::dict pd = item.cast<py::dict>();
      Dict r(pd, "ports");
      r.get("user", p.user).get("password", p.password).get("firm", p.firm);
      r.get("cancel_on_disconnect", p.cancel_on_disconnect).get("drop_copy_of", p.drop_copy_of).finish();
      if (p.user.empty() || p.user.size() > 6) throw py::value_error("user \"" + p.user + "\": 1 to 6 characters");
      if (p.password.size() > 10) throw py::value_error("password of " + p.user + ": at most 10 characters");
      if (p.firm.size() > 4) throw py::value_error("firm \"" + p.firm + "\": at most 4 characters");
      c.ports.push_back(p);
    }
  }
  std::string stp = "cancel_resting";
  d.get("session", c.session).get("midnight_ns", c.midnight_ns).get("stp", stp).get("max_orders", c.max_orders);
  d.get("taker_fee_ticks", c.taker_fee_ticks).get("maker_fee_ticks", c.maker_fee_ticks).get("open_cross", c.open_cross);
  d.get("long_forms", c.long_forms).get("reject_per_million", c.reject_per_million).get("seed", c.seed);
  d.get("holdings", c.holdings);
  c.stp = stp_of(stp);
  if (c.session.empty() || c.session.size() > 10) throw py::value_error("session: 1 to 10 characters");
  return c;
}

FlowParams flow_params(const py::dict& dict) {
  FlowParams p;
  Dict d(dict, "flow");
  d.get("seed", p.seed).get("rate_per_s", p.rate_per_s).get("participants", p.participants).get("take", p.take);
  d.get("cancel", p.cancel).get("partial", p.partial).get("replace", p.replace).get("hidden", p.hidden);
  d.get("improve", p.improve)
      .get("join", p.join)
      .get("recent_cancel", p.recent_cancel)
      .get("recent", p.recent)
      .get("touch_cancel", p.touch_cancel);
  d.get("target_orders", p.target_orders).get("usual_spread", p.usual_spread).get("value_step_256", p.value_step_256);
  d.get("revert_shift", p.revert_shift).get("burst", p.burst).get("burst_events", p.burst_events);
  d.get("burst_step_256", p.burst_step_256).get("lean", p.lean).finish();
  if (p.participants == 0 || p.usual_spread == 0 || p.recent == 0 || p.revert_shift > 62)
    throw py::value_error("flow: participants, usual_spread and recent above 0, revert_shift at most 62");
  return p;
}

OrderSpec order_spec(const py::kwargs& kwargs) {
  OrderSpec s;
  std::string side = "B", tif = "day";
  Dict d(kwargs, "an order");
  d.get("symbol", s.symbol).get("side", side).get("tif", tif).get("hidden", s.hidden).get("post_only", s.post_only);
  d.get("price_ticks", s.price_ticks).get("qty", s.qty).get("min_qty", s.min_qty).get("owner", s.owner);
  d.get("stp_group", s.stp_group).get("tag", s.tag).finish();
  s.side = side_of(side);
  if (tif != "day" && tif != "ioc") throw py::value_error("tif \"" + tif + "\": day or ioc");
  s.tif = tif == "ioc" ? Tif::kIoc : Tif::kDay;
  return s;
}

py::dict result_dict(const EnterResult& r) {
  static constexpr const char* kNames[] = {
      "rested",     "filled",      "ioc_remainder", "min_qty_missed", "post_only_takes",
      "self_match", "would_cross", "halted",        "full",           "bad_spec"};
  py::dict d;
  d["outcome"] = kNames[static_cast<int>(r.outcome)];
  d["handle"] = r.handle;
  d["ref"] = r.ref;
  d["filled"] = r.filled;
  d["left"] = r.left;
  d["prevented"] = r.prevented;
  return d;
}

py::dict order_dict(const OrderView& o) {
  py::dict d;
  d["ref"] = o.ref;
  d["tag"] = o.tag;
  d["owner"] = o.owner;
  d["side"] = o.side == Side::kBuy ? "B" : "S";
  d["price_ticks"] = o.price_ticks;
  d["qty"] = o.qty;
  d["hidden"] = o.hidden;
  d["handle"] = o.handle;
  return d;
}

py::list level_list(const Matching& m, u32 symbol, Side side, int n) {
  std::vector<LevelView> levels(static_cast<std::size_t>(n < 0 ? 0 : n));
  const int got = m.levels(symbol, side, levels.data(), n);
  py::list out;
  for (int i = 0; i < got; ++i) {
    const LevelView& l = levels[static_cast<std::size_t>(i)];
    out.append(py::make_tuple(l.price_ticks, l.displayed_qty, l.displayed_orders, l.hidden_qty, l.hidden_orders));
  }
  return out;
}

py::list order_list(const Matching& m, u32 symbol, Side side) {
  py::list out;
  m.for_each_order(symbol, side, [&](const OrderView& o) { out.append(order_dict(o)); });
  return out;
}

py::list record_list(const std::vector<RecordEntry>& record) {
  static constexpr const char* kNames[] = {"",          "accepted",    "replaced",  "canceled", "executed",
                                           "rejected",  "ignored",     "prevented", "modified", "broken",
                                           "malformed", "mass_cancel", "disabled",  "enabled",  "query"};
  py::list out;
  for (const RecordEntry& e : record) {
    py::dict d;
    d["kind"] = kNames[static_cast<int>(e.kind)];
    d["ts_ns"] = e.ts_ns;
    d["port"] = e.port;
    d["user_ref_num"] = e.urn;
    d["orig_ref_num"] = e.orig_urn;
    d["symbol"] = e.symbol;
    d["side"] = e.side ? std::string(1, static_cast<char>(e.side)) : std::string();
    d["message"] = std::string(e.message ? 1 : 0, static_cast<char>(e.message));
    d["price_ticks"] = e.price_ticks;
    d["qty"] = e.qty;
    d["open"] = e.open;
    d["executed"] = e.executed;
    d["ref"] = e.ref;
    d["match"] = e.match;
    d["reason"] = e.reason;
    d["liquidity"] = std::string(e.liquidity ? 1 : 0, static_cast<char>(e.liquidity));
    d["contra_port"] = static_cast<int>(e.contra_port) - 1;
    out.append(d);
  }
  return out;
}

py::dict summary_dict(const PortSummary& s) {
  py::dict d;
  d["accepted"] = s.accepted;
  d["replaced"] = s.replaced;
  d["canceled"] = s.canceled;
  d["rejected"] = s.rejected;
  d["executed"] = s.executed;
  d["ignored"] = s.ignored;
  d["prevented"] = s.prevented;
  d["bought"] = s.bought;
  d["sold"] = s.sold;
  d["cash_ticks"] = s.cash_ticks;
  d["fees_ticks"] = s.fees_ticks;
  d["open_orders"] = s.open_orders;
  return d;
}

}  // namespace peregrine::venue::bind

void bind_venue(pybind11::module_& m) {
  bind_matching(m);
  bind_exchange(m);
  bind_server(m);
}
