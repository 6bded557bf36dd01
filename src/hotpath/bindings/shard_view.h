// Python's view of a shard, shared by the live engine, replay and virtual time: specification in, summary out.
//
// The specification is a dict of plain numbers and strings (orchestrator/plan.py makes it from a configuration); it
// stands as JSON in the journal's header, so that a replay needs nothing else.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "engine/shard.h"

namespace peregrine::bindings {

namespace py = pybind11;

// Reads `key`; ValueError naming it when it is missing or of another type.
template <class T>
T get(const py::dict& d, const char* key) {
  if (!d.contains(key)) throw py::value_error(std::string("missing key '") + key + "'");
  try {
    return d[key].cast<T>();
  } catch (const py::cast_error&) {
    throw py::value_error(std::string("key '") + key + "' has the wrong type or is out of range");
  }
}

inline RiskLimits limits_from(const py::dict& d, InstrumentIx instrument) {
  RiskLimits l;
  l.instrument = instrument;
  l.collar_ticks = get<i64>(d, "collar_ticks");
  l.collar_bps = get<i64>(d, "collar_bps");
  l.max_order_lots = get<i64>(d, "max_order_lots");
  l.max_order_notional = get<i64>(d, "max_order_notional");
  l.max_working_orders = get<i64>(d, "max_working_orders");
  l.max_working_notional = get<i64>(d, "max_working_notional");
  l.max_long_lots = get<i64>(d, "max_long_lots");
  l.max_short_lots = get<i64>(d, "max_short_lots");
  l.max_executions = get<i64>(d, "max_executions");
  l.execution_window_ns = get<i64>(d, "execution_window_ns");
  l.duplicate_window_ns = get<i64>(d, "duplicate_window_ns");
  l.max_quote_age_ns = get<i64>(d, "max_quote_age_ns");
  if (instrument == kNoInstrument) {
    l.max_account_orders = get<i64>(d, "max_account_orders");
    l.max_account_notional = get<i64>(d, "max_account_notional");
    l.max_gross = get<i64>(d, "max_gross");
    l.max_credit = get<i64>(d, "max_credit");
    l.max_loss = get<i64>(d, "max_loss");
    l.max_drawdown = get<i64>(d, "max_drawdown");
    l.max_messages = get<i64>(d, "max_messages");
    l.message_window_ns = get<i64>(d, "message_window_ns");
    l.cancel_reserve = get<i64>(d, "cancel_reserve");
    l.soft_permille = get<i64>(d, "soft_permille");
    if (d.contains("max_positions")) {  // not in older journals: no such limits there
      l.max_positions = get<i64>(d, "max_positions");
      l.soft_positions = get<i64>(d, "soft_positions");
      l.soft_positions_interval_ns = get<i64>(d, "soft_positions_interval_ns");
    }
  }
  return l;
}

inline engine::DeviceUse device_use_from(const py::dict& d) {
  engine::DeviceUse use;
  const std::string placement = get<std::string>(d, "placement");
  use.placement = placement == "inline" ? engine::DevicePlacement::kInline
                  : placement == "ring" ? engine::DevicePlacement::kRing
                                        : engine::DevicePlacement::kNone;
  use.recompute_every = get<u32>(d, "recompute_every");
  use.max_events_behind = get<u32>(d, "max_events_behind");
  return use;
}

inline engine::ShardConfig shard_config_from(const py::dict& d) {
  engine::ShardConfig c;
  const py::list instruments = get<py::list>(d, "instruments");
  InstrumentIx ix = 0;
  for (const py::handle h : instruments) {
    const py::dict i = py::reinterpret_borrow<py::dict>(h);
    engine::InstrumentSpec s;
    s.symbol = get<std::string>(i, "symbol");
    s.contract.multiplier = get<i64>(i, "multiplier");
    s.contract.shift = get<u8>(i, "shift");
    s.start_position_lots = get<i64>(i, "start_position_lots");
    s.start_cost_basis = get<i64>(i, "start_cost_basis");
    s.restricted = get<bool>(i, "restricted");
    s.tactic.order_qty_lots = get<i64>(i, "order_qty_lots");
    s.tactic.max_inventory_lots = get<i64>(i, "max_inventory_lots");
    s.tactic.increment_ticks = get<i64>(i, "increment_ticks");
    s.tactic.max_away_ticks = get<i64>(i, "max_away_ticks");
    s.tactic.min_resting_ns = get<i64>(i, "min_resting_ns");
    s.tactic.max_resting_ns = get<i64>(i, "max_resting_ns");
    s.tactic.take_interval_ns = get<i64>(i, "take_interval_ns");
    c.instruments.push_back(s);
    if (i.contains("limits") && !i["limits"].is_none()) {
      c.limits.push_back(limits_from(get<py::dict>(i, "limits"), ix));
    }
    ++ix;
  }
  c.limits.insert(c.limits.begin(), limits_from(get<py::dict>(d, "limits"), kNoInstrument));
  c.market.max_orders = get<u32>(d, "max_book_orders");
  c.market.max_levels = get<u32>(d, "max_book_levels");
  c.market.midnight_ns = get<i64>(d, "midnight_ns");
  c.market.max_instruments = static_cast<u32>(c.instruments.size());
  c.gate.max_instruments = static_cast<u32>(c.instruments.size());
  c.orders.capacity = get<u32>(d, "order_capacity");
  c.orders.max_open = get<u32>(d, "max_open_orders");
  c.orders.fees.added = get<i64>(d, "maker_fee");
  c.orders.fees.removed = get<i64>(d, "taker_fee");
  c.session.epoch = get<u32>(d, "epoch");
  const std::string firm = get<std::string>(d, "firm");
  for (std::size_t i = 0; i < 4; ++i) c.session.firm[i] = i < firm.size() ? firm[i] : ' ';
  c.session.venue_mass_cancel = get<bool>(d, "venue_mass_cancel");
  c.session.silence_ns = get<i64>(d, "session_silence_ns");
  c.session.answer_timeout_ns = get<i64>(d, "answer_timeout_ns");
  c.session.cancel_timeout_ns = get<i64>(d, "cancel_timeout_ns");
  c.session.capacity = static_cast<u8>(get<std::string>(d, "capacity").at(0));
  c.session.max_rounds = get<u32>(d, "reconcile_rounds");
  c.session.max_messages = get<u32>(d, "session_max_messages");
  c.session.cancel_reserve = get<u32>(d, "session_cancel_reserve");
  c.session.message_window_ns = get<i64>(d, "session_message_window_ns");
  if (d.contains("lease_notional")) c.lease_notional = get<i64>(d, "lease_notional");  // not in older journals
  c.strategy = get<u32>(d, "strategy");
  c.authorised_strategies = get<std::vector<u32>>(d, "strategies");
  c.decision_interval_ns = get<i64>(d, "decision_interval_ns");
  c.user_signal = get<bool>(d, "user_signal");
  if (d.contains("device")) c.device = device_use_from(get<py::dict>(d, "device"));  // not in older journals
  // Journals of before there was a choice say only whether to kill.
  c.supervisor_loss = get<bool>(d, "kill_on_supervisor_loss") ? engine::SupervisorLoss::kKill : engine::SupervisorLoss::kTrade;
  if (d.contains("supervisor_loss")) {
    const u32 policy = get<u32>(d, "supervisor_loss");
    if (policy > static_cast<u32>(engine::SupervisorLoss::kKill)) throw py::value_error("supervisor_loss: 0 to 3");
    c.supervisor_loss = static_cast<engine::SupervisorLoss>(policy);
  }
  if (d.contains("breakers")) {  // not in older journals
    const py::dict b = get<py::dict>(d, "breakers");
    c.breakers.present = true;
    c.breakers.messages = {get<u32>(b, "max_messages"), get<i64>(b, "message_window_ns")};
    c.breakers.rejects = {get<u32>(b, "max_rejects"), get<i64>(b, "reject_window_ns")};
    c.breakers.cooldown_ns = get<i64>(b, "cooldown_ns");
    c.breakers.by_itself = get<bool>(b, "by_itself");
    constexpr u32 kMost = 1u << 20;
    if (c.breakers.messages.most > kMost || c.breakers.rejects.most > kMost) throw py::value_error("breakers: at most 1048576 events");
  }
  c.hash_books = get<bool>(d, "hash_books");
  if (d.contains("active_symbols")) c.active_symbols = get<u32>(d, "active_symbols");  // not in older journals
  return c;
}

inline Sha256Digest digest_from(const std::string& hex, const char* key) {
  Sha256Digest out{};
  if (hex.size() != 64) throw py::value_error(std::string(key) + ": expected 64 hex digits");
  for (std::size_t i = 0; i < 32; ++i) out.bytes[i] = static_cast<u8>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
  return out;
}

// One policy as plain arrays: {slot, weight, role, veto_actions, forced_action, n_actions, feature_index, quant_m,
// quant_s, layers: [{inputs, outputs, relu, weights, bias, shift}], schema_hash, action_map_hash, artifact_hash}.
inline Policy policy_from(const py::dict& d, const FeatureParams& features) {
  const auto index = get<std::vector<u16>>(d, "feature_index");
  const auto m = get<std::vector<i16>>(d, "quant_m");
  const auto s = get<std::vector<u8>>(d, "quant_s");
  if (m.size() != index.size() || s.size() != index.size()) {
    throw py::value_error("feature_index, quant_m and quant_s must be of one length");
  }
  PolicySpec spec;
  spec.n_inputs = static_cast<u32>(index.size());
  spec.feature_index = index.data();
  spec.quant_m = m.data();
  spec.quant_s = s.data();
  const py::list layers = get<py::list>(d, "layers");
  if (layers.size() > kMaxPolicyLayers) throw py::value_error("more than 6 layers");
  std::vector<std::string> weights(layers.size()), bias(layers.size()), shift(layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const py::dict l = layers[i].cast<py::dict>();
    LayerSpec& layer = spec.layer[i];
    layer.inputs = get<u32>(l, "inputs");
    layer.outputs = get<u32>(l, "outputs");
    layer.relu = get<bool>(l, "relu");
    weights[i] = get<py::bytes>(l, "weights");
    bias[i] = get<py::bytes>(l, "bias");
    shift[i] = get<py::bytes>(l, "shift");
    const bool last = i + 1 == layers.size();
    if (weights[i].size() != std::size_t{layer.inputs} * layer.outputs || bias[i].size() != std::size_t{4} * layer.outputs ||
        (!last && shift[i].size() != layer.outputs)) {
      throw py::value_error("layer " + std::to_string(i) + ": array sizes do not fit its shape");
    }
    layer.weights = reinterpret_cast<const i8*>(weights[i].data());
    layer.bias = reinterpret_cast<const i32*>(bias[i].data());
    layer.shift = last ? nullptr : reinterpret_cast<const u8*>(shift[i].data());
  }
  spec.n_layers = static_cast<u32>(layers.size());
  spec.schema_hash = digest_from(get<std::string>(d, "schema_hash"), "schema_hash");
  spec.action_map_hash = digest_from(get<std::string>(d, "action_map_hash"), "action_map_hash");
  spec.artifact_hash = digest_from(get<std::string>(d, "artifact_hash"), "artifact_hash");
  PolicyContext context;
  context.n_schema_features = FeatureEngine::kFeatures;
  context.n_actions = get<u32>(d, "n_actions");
  context.schema_hash = schema_hash(features);
  context.action_map_hash = spec.action_map_hash;
  Policy policy;
  const PolicyError error = Policy::load(spec, context, policy);
  if (!error.ok) throw py::value_error(error.message);
  return policy;
}

// A bank as a bank swap command carries it: staged into its slot, whose weight and role stay what they are.
inline void stage_bank(engine::Shard& shard, u32 slot, const py::dict& d) {
  const PolicyError error = shard.policies().stage(slot, policy_from(d, shard.config().features));
  if (!error.ok) throw py::value_error(error.message);
}

inline void stage_policy(engine::Shard& shard, const py::dict& d) {
  const u32 slot = get<u32>(d, "slot");
  PolicySet::SlotConfig config;
  config.weight = get<i16>(d, "weight");
  config.role = get<std::string>(d, "role") == "risk" ? PolicySet::Role::kRisk : PolicySet::Role::kVoter;
  for (const u32 a : get<std::vector<u32>>(d, "veto_actions")) config.veto_actions |= static_cast<u16>(1u << (a & 15));
  config.forced_action = get<u8>(d, "forced_action");
  PolicyError error = shard.policies().stage(slot, policy_from(d, shard.config().features));
  if (error.ok) error = shard.policies().set_slot(slot, config);
  if (!error.ok) throw py::value_error(error.message);
}

inline void load_policies(engine::Shard& shard, const py::list& policies, u16 quorum) {
  for (const py::handle h : policies) {
    const py::dict d = py::reinterpret_borrow<py::dict>(h);
    stage_policy(shard, d);
    if (!shard.policies().swap(get<u32>(d, "slot"))) throw py::value_error("policy could not be made active");
  }
  if (!shard.policies().set_quorum(quorum)) throw py::value_error("quorum must lie in 0..256");
}

inline py::dict shard_summary(const engine::Shard& shard) {
  const engine::ShardCounters& c = shard.counters();
  const AccountExposure& a = shard.exposure().account();
  py::dict d;
  d["inputs"] = c.inputs;
  d["events"] = c.events;
  d["malformed"] = c.malformed;
  d["decisions"] = c.decisions;
  d["held"] = c.held;
  d["orders"] = c.orders;
  d["replaces"] = c.replaces;
  d["cancels"] = c.cancels;
  d["acks"] = c.acks;
  d["fills"] = c.fills;
  d["filled_lots"] = c.filled_lots;
  d["rejects"] = c.rejects;
  d["risk_rejects"] = c.risk_rejects;
  d["soft"] = c.soft;
  d["session_refused"] = c.session_refused;
  d["alarms"] = c.alarms;
  d["gaps"] = c.gaps;
  d["snapshots"] = c.snapshots;
  d["stale_ns"] = c.stale_ns;
  d["connections"] = c.connections;
  d["kills"] = c.kills;
  d["signal_raised"] = c.signal_raised;
  d["device_used"] = c.device_used;
  d["device_fallback"] = c.device_fallback;
  d["device_late"] = c.device_late;
  d["device_dropped"] = c.device_dropped;
  d["device_wrong"] = c.device_wrong;
  d["device_full"] = c.device_full;
  py::dict reasons;
  for (int r = 1; r < kRiskReasons; ++r) {
    const u64 n = shard.gate().rejects(static_cast<RiskReason>(r));
    if (n > 0) reasons[risk_reason_name(static_cast<RiskReason>(r))] = n;
  }
  d["risk_reasons"] = reasons;
  py::list actions;
  for (u32 i = 0; i < shard.policies().n_actions(); ++i) actions.append(c.actions[i]);
  d["actions"] = actions;
  py::dict symbols;
  for (InstrumentIx ix = 0; ix < shard.config().instruments.size(); ++ix) {
    const engine::InstrumentSpec& spec = shard.config().instruments[ix];
    const InstrumentExposure& x = shard.exposure().of(ix);
    const i64 net = x.position_lots - spec.start_position_lots;
    py::dict s;
    s["position_lots"] = x.position_lots;
    s["pnl_units"] = sub_sat(add_sat(x.realized, x.unrealized()), x.fees);
    s["bought_lots"] = (static_cast<i64>(x.traded_lots) + net) / 2;
    s["sold_lots"] = (static_cast<i64>(x.traded_lots) - net) / 2;
    s["fills"] = x.fills;
    s["last_ticks"] = shard.market().last_trade_ticks(ix);
    symbols[py::str(spec.symbol)] = s;
  }
  d["symbols"] = symbols;
  d["pnl_units"] = a.pnl();
  d["realized_units"] = a.realized;
  d["unrealized_units"] = a.unrealized;
  d["fees_units"] = a.fees;
  d["working_orders"] = shard.working_orders();
  d["unknown_orders"] = a.unknown_orders;
  d["killed"] = shard.gate().killed();
  d["paused"] = shard.gate().paused();
  d["breaker"] = shard.gate().breaker_tripped();
  d["breakers_open"] = shard.breakers().open();
  d["breaker_trips"] = shard.breakers().trips();
  d["session_phase"] = session_phase_name(shard.session().phase());
  d["feed_state"] = static_cast<int>(shard.feed_state());
  d["last_feed_seq"] = shard.last_feed_seq();
  d["last_user_ref_num"] = shard.orders().last_user_ref_num();
  d["policy_version"] = shard.policies().version();
  d["order_hash"] = shard.order_hash();
  d["state_hash"] = shard.state_hash();
  const engine::AlarmSeen& alarm = shard.last_alarm();
  d["last_alarm"] = py::make_tuple(alarm.code, alarm.a, alarm.b, alarm.at_ns);
  return d;
}

inline py::dict book_summary(const Market& market, int levels) {
  py::dict out;
  std::vector<Level> buffer(static_cast<std::size_t>(levels));
  for (InstrumentIx ix = 0; ix < market.instruments(); ++ix) {
    py::dict book;
    for (const Side side : {Side::kBuy, Side::kSell}) {
      py::list rows;
      const int n = market.levels(ix, side, buffer.data(), levels);
      for (int i = 0; i < n; ++i) {
        py::dict row;
        row["price_ticks"] = buffer[static_cast<std::size_t>(i)].price_ticks;
        row["qty_lots"] = buffer[static_cast<std::size_t>(i)].qty_lots;
        row["orders"] = buffer[static_cast<std::size_t>(i)].orders;
        rows.append(row);
      }
      book[side == Side::kBuy ? "bids" : "asks"] = rows;
    }
    out[py::str(std::string(market.symbol(ix)))] = book;
  }
  return out;
}

}  // namespace peregrine::bindings
