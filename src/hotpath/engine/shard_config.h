// Everything a shard is made from; with the journal's inputs it determines every order, bit for bit.
#pragma once

#include <string>
#include <vector>

#include "engine/tactic.h"
#include "execution/order_manager.h"
#include "execution/order_session.h"
#include "market/market.h"
#include "risk/breakers.h"
#include "risk/gate.h"
#include "risk/limits.h"
#include "signal/features.h"

namespace peregrine::engine {

// The venue's reject codes told apart when they are counted: 0 … 62; 63 stands for every higher one.
inline constexpr u32 kRejectCodes = 64;

struct InstrumentSpec {
  std::string symbol;
  Contract contract;
  QtyLots start_position_lots = 0;
  Money start_cost_basis = 0;
  bool restricted = false;
  TacticConfig tactic;
};

// Who computes the logits of a decision. The arithmetic is the same everywhere; what a device answered, or that it did
// not, is a journaled input, so a replay needs none.
enum class DevicePlacement : u8 {
  kNone = 0,    // the engine's own kernels
  kInline = 1,  // the decision waits for the answer or its absence: nothing is consumed between
  kRing = 2,    // asynchronous: the shard goes on, the answer is dropped when the book has moved on
};

struct DeviceUse {
  DevicePlacement placement = DevicePlacement::kNone;
  u32 recompute_every = 0;    // the kernels check one decision in so many; 0 = none
  u32 max_events_behind = 8;  // ring: book events of the instrument after which an answer is too old
};

// What a shard does while its supervisor is not heard of. kStop and kCancel end when it is heard of again.
enum class SupervisorLoss : u8 { kTrade = 0, kStop = 1, kCancel = 2, kKill = 3 };

struct ShardConfig {
  std::vector<InstrumentSpec> instruments;
  MarketConfig market;
  FeatureParams features;
  GateConfig gate;
  std::vector<RiskLimits> limits;  // the first is the account's (instrument = kNoInstrument)
  OrderManagerConfig orders;
  SessionConfig session;
  // Its part of the account's gross exposure at the start, a supervisor may change it; < 0: the whole of max_gross.
  Money lease_notional = -1;
  u32 strategy = 1;                 // on our orders; refused by the gate unless authorised
  std::vector<u32> authorised_strategies = {1};
  TimeNs decision_interval_ns = 1'000'000;  // per instrument; 0 = at every book event
  bool user_signal = false;         // each decision waits for a journaled signal value
  DeviceUse device;
  SupervisorLoss supervisor_loss = SupervisorLoss::kKill;
  u32 active_symbols = Gate::kAllActive;  // at the start; later by command
  BreakerConfig breakers;
  bool hash_books = true;           // books are part of the state hash (cost grows with the number of orders)
};

}  // namespace peregrine::engine
