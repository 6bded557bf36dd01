// Numbers made by Python from the configuration and the policy artifact: lines "key value", bytes in hex.
#pragma once

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "engine/shard.h"
#include "harness.h"

namespace peregrine::bench {

class Spec {
 public:
  explicit Spec(const std::string& path) {
    std::ifstream in(path);
    if (!in) fail("no spec file " + path);
    std::string key, value;
    while (in >> key >> value) values_[key] = value;
  }
  i64 number(const std::string& key) const { return std::stoll(text(key)); }
  const std::string& text(const std::string& key) const {
    const auto it = values_.find(key);
    if (it == values_.end()) fail("the spec has no '" + key + "'");
    return it->second;
  }
  std::vector<u8> bytes(const std::string& key) const {
    const std::string& hex = text(key);
    std::vector<u8> out;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
      out.push_back(static_cast<u8>(std::stoul(hex.substr(i, 2), nullptr, 16)));
    }
    return out;
  }

 private:
  std::map<std::string, std::string> values_;
};

inline RiskLimits limits_from(const Spec& s, InstrumentIx instrument) {
  const auto n = [&s](const char* key) { return s.number(std::string("limits.") + key); };
  RiskLimits l;
  l.instrument = instrument;
  l.collar_ticks = n("collar_ticks");
  l.collar_bps = n("collar_bps");
  l.max_order_lots = n("max_order_lots");
  l.max_order_notional = n("max_order_notional");
  l.max_working_orders = n("max_working_orders");
  l.max_working_notional = n("max_working_notional");
  l.max_long_lots = n("max_long_lots");
  l.max_short_lots = n("max_short_lots");
  l.max_executions = n("max_executions");
  l.execution_window_ns = n("execution_window_ns");
  l.duplicate_window_ns = n("duplicate_window_ns");
  l.max_quote_age_ns = n("max_quote_age_ns");
  l.max_account_orders = n("max_account_orders");
  l.max_account_notional = n("max_account_notional");
  l.max_gross = n("max_gross");
  l.max_credit = n("max_credit");
  l.max_loss = n("max_loss");
  l.max_drawdown = n("max_drawdown");
  l.max_messages = n("max_messages");
  l.message_window_ns = n("message_window_ns");
  l.cancel_reserve = n("cancel_reserve");
  l.soft_permille = n("soft_permille");
  return l;
}

// One shard of one instrument, as the profile has it.
inline engine::ShardConfig shard_config_from(const Spec& s) {
  engine::ShardConfig c;
  engine::InstrumentSpec i;
  i.symbol = s.text("instrument.symbol");
  i.contract.multiplier = s.number("instrument.multiplier");
  i.contract.shift = static_cast<u8>(s.number("instrument.shift"));
  i.tactic.order_qty_lots = s.number("instrument.order_qty_lots");
  i.tactic.max_inventory_lots = s.number("instrument.max_inventory_lots");
  i.tactic.increment_ticks = s.number("instrument.increment_ticks");
  i.tactic.max_away_ticks = s.number("instrument.max_away_ticks");
  i.tactic.min_resting_ns = s.number("instrument.min_resting_ns");
  i.tactic.max_resting_ns = s.number("instrument.max_resting_ns");
  i.tactic.take_interval_ns = s.number("instrument.take_interval_ns");
  c.instruments.push_back(i);
  c.limits.push_back(limits_from(s, kNoInstrument));
  c.market.max_orders = static_cast<u32>(s.number("max_book_orders"));
  c.market.max_levels = static_cast<u32>(s.number("max_book_levels"));
  c.market.midnight_ns = s.number("midnight_ns");
  c.market.max_instruments = 1;
  c.gate.max_instruments = 1;
  c.orders.capacity = static_cast<u32>(s.number("order_capacity"));
  c.orders.max_open = static_cast<u32>(s.number("max_open_orders"));
  c.orders.fees.added = s.number("maker_fee");
  c.orders.fees.removed = s.number("taker_fee");
  c.session.answer_timeout_ns = s.number("answer_timeout_ns");
  c.session.cancel_timeout_ns = s.number("cancel_timeout_ns");
  c.session.silence_ns = s.number("session_silence_ns");
  c.session.max_messages = static_cast<u32>(s.number("session_max_messages"));
  c.session.cancel_reserve = static_cast<u32>(s.number("session_cancel_reserve"));
  c.session.message_window_ns = s.number("session_message_window_ns");
  c.decision_interval_ns = s.number("decision_interval_ns");
  return c;
}

// Arrays of one network, and the spec that views them.
struct Network {
  std::vector<u16> index;
  std::vector<i16> m;
  std::vector<u8> s;
  std::vector<std::vector<u8>> weights, bias, shift;
  PolicySpec spec;
  PolicyContext context;
};

inline void load_network(const Spec& s, const std::string& prefix, Network& n) {
  const std::vector<u8> index = s.bytes(prefix + ".feature_index");
  const std::vector<u8> m = s.bytes(prefix + ".quant_m");
  n.index.resize(index.size() / 2), std::memcpy(n.index.data(), index.data(), index.size());
  n.m.resize(m.size() / 2), std::memcpy(n.m.data(), m.data(), m.size());
  n.s = s.bytes(prefix + ".quant_s");
  const auto layers = static_cast<std::size_t>(s.number(prefix + ".layers"));
  n.weights.resize(layers), n.bias.resize(layers), n.shift.resize(layers);
  n.spec.n_inputs = static_cast<u32>(n.index.size());
  n.spec.feature_index = n.index.data();
  n.spec.quant_m = n.m.data();
  n.spec.quant_s = n.s.data();
  n.spec.n_layers = static_cast<u32>(layers);
  for (std::size_t i = 0; i < layers; ++i) {
    const std::string at = prefix + ".layer" + std::to_string(i);
    LayerSpec& l = n.spec.layer[i];
    l.inputs = static_cast<u32>(s.number(at + ".inputs"));
    l.outputs = static_cast<u32>(s.number(at + ".outputs"));
    l.relu = s.number(at + ".relu") != 0;
    n.weights[i] = s.bytes(at + ".weights");
    n.bias[i] = s.bytes(at + ".bias");
    l.weights = reinterpret_cast<const i8*>(n.weights[i].data());
    l.bias = reinterpret_cast<const i32*>(n.bias[i].data());
    if (i + 1 < layers) {
      n.shift[i] = s.bytes(at + ".shift");
      l.shift = n.shift[i].data();
    }
  }
  n.context.n_schema_features = FeatureEngine::kFeatures;
  n.context.n_actions = n.spec.layer[layers - 1].outputs;
  n.context.schema_hash = n.spec.schema_hash = schema_hash(FeatureParams{});
}

inline Policy load_policy(const Spec& s, const std::string& prefix) {
  Network n;
  load_network(s, prefix, n);
  Policy policy;
  const PolicyError error = Policy::load(n.spec, n.context, policy);
  if (!error.ok) fail(error.message);
  return policy;
}

inline void load_default_policy(engine::Shard& shard, const Spec& s) {
  PolicySet& set = shard.policies();
  if (!set.stage(0, load_policy(s, "default")).ok || !set.swap(0)) fail("the policy could not be made active");
  set.set_quorum(static_cast<u16>(s.number("quorum")));
}

}  // namespace peregrine::bench
