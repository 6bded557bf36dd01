// One shard: the deterministic state machine from market message to risk-checked order intent.
//
//   kFeed ─▶ Market ─▶ FeatureEngine ─▶ PolicySet ─▶ plan ─▶ Gate ─▶ OrderSession ─▶ ShardOutput::intent
//
// step() reads no clock and no global: now is the input's receive time. Allocates nothing after construction.
// Live, replay, backtest and virtual time all run this class; there is no second engine.
#pragma once

#include <memory>
#include <vector>

#include "engine/input.h"
#include "engine/shard_config.h"
#include "engine/stages.h"
#include "policy/policy_set.h"

namespace peregrine::engine {

struct ShardCounters {
  u64 inputs = 0, events = 0, malformed = 0, decisions = 0, held = 0;
  u64 orders = 0, replaces = 0, cancels = 0, acks = 0, fills = 0, filled_lots = 0, rejects = 0, risk_rejects = 0;
  u64 soft = 0, session_refused = 0, alarms = 0, gaps = 0, snapshots = 0, stale_ns = 0, connections = 0;
  u64 commands = 0, duplicate_commands = 0, signal_raised = 0, kills = 0;
  // Decisions a device answered for every slot; where a kernel made up for it; answers that came for no decision any
  // more; whose book had moved on; that a kernel found wrong; asks that found no room and were decided at once.
  u64 device_used = 0, device_fallback = 0, device_late = 0, device_dropped = 0, device_wrong = 0, device_full = 0;
  u64 actions[kMaxActions] = {};
  u64 reject_codes[kRejectCodes] = {};  // by the venue's code
};

// What a session alarm was, kept for whoever looks from outside.
struct AlarmSeen {
  u8 code = 0;
  u64 a = 0, b = 0;
  TimeNs at_ns = 0;
};

// What became of the last command, for whoever gave it; no later input looks at it.
enum class CommandOutcome : u8 { kApplied = 0, kDuplicate = 1, kRefused = 2 };

// Sees every decision, for collecting training data; never influences one.
class DecisionTap {
 public:
  virtual void on_decision(InstrumentIx ix, TimeNs now, const i32* features, const PolicySet::Decision& decision,
                           const Top& top, QtyLots position_lots) = 0;

 protected:
  ~DecisionTap() = default;
};

class Shard final : private SessionOut {
 public:
  explicit Shard(const ShardConfig& config);
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // Before the first input: policies, weights, quorum. Later only through journaled commands.
  PolicySet& policies() { return policies_; }
  const PolicySet& policies() const { return policies_; }
  void set_probe(StageProbe* probe) { probe_ = probe; }
  void set_tap(DecisionTap* tap) { tap_ = tap; }

  // Consumes one input; everything it decides goes to `out` before it returns. `seq` is the input's journal number.
  void step(const Input& in, u64 seq, ShardOutput& out);

  // A decision waits for the user's signal: call it with signal_features() and feed the value as the next input.
  bool signal_wanted() const { return pending_.waiting; }
  u64 signal_decision() const { return pending_.decision; }
  const i32* signal_features() const { return features_now_; }

  // A decision waits for a device (config().device.placement): ask it with device_ask() and feed the answer, or its
  // absence, as the next input (kInline) or as an input later on (kRing).
  struct Ask {
    u64 decision = 0;  // 0 = free
    u64 feed_seq = 0;
    u64 events = 0;    // of the instrument, when asked
    InstrumentIx instrument = 0;
    u32 zero = 0;
    i32 features[FeatureEngine::kFeatures] = {};
  };
  static constexpr u32 kMaxAsks = 16;
  u64 asks_made() const { return asks_made_; }
  // The open ask of this decision, or null.
  const Ask* ask_of(u64 decision) const;
  // The newest ask still open, or null.
  const Ask* last_ask() const { return ask_of(last_ask_); }

  // What the transport logs in with.
  const OrderSession& session() const { return session_; }
  const Market& market() const { return market_; }
  const Exposure& exposure() const { return exposure_; }
  const Gate& gate() const { return gate_; }
  const Breakers& breakers() const { return breakers_; }
  const OrderManager& orders() const { return orders_; }
  const ShardConfig& config() const { return config_; }
  const ShardCounters& counters() const { return counters_; }
  journal::FeedState feed_state() const { return feed_state_; }
  bool draining() const { return draining_; }
  u32 working_orders() const { return orders_.open_orders(); }
  u64 last_feed_seq() const { return feed_seq_; }
  u64 order_hash() const { return order_hash_; }
  u64 state_hash() const;
  // Every byte of state that a later input may look at; engine/shard_snapshot.h makes a file of it.
  template <class A>
  void archive(A& a);
  const AlarmSeen& last_alarm() const { return last_alarm_; }
  // Orders that were open when the venue began another session, since a person has lifted the kill that follows on it.
  u64 lost_orders() const { return lost_orders_; }
  // Messages of the venue that were never seen and will not be told again, since then.
  u64 lost_messages() const { return lost_messages_; }
  CommandOutcome command_outcome() const { return command_outcome_; }
  bool unsupervised() const { return unsupervised_; }
  // What the last decision saw and said; for looking at from outside the step.
  const i32* features_now() const { return features_now_; }
  const PolicySet::Decision& decision_now() const { return decision_now_; }

 private:
  struct PerInstrument {
    u32 quote_number[2] = {0, 0};  // our resting order of each side, 0 = none
    TimeNs decided_ns = 0;
    TimeNs taken_ns = 0;
    u64 events = 0;    // of its book, while a device decides
    u64 asked = 0;     // decision that waits for a device, 0 = none
    Top top;
  };
  struct Pending {
    bool waiting = false;
    InstrumentIx instrument = 0;
    u64 decision = 0;
  };

  // inputs (shard.cpp)
  void on_feed(const Input& in);
  void on_snapshot(const Input& in);
  void on_feed_state(const Input& in);
  void on_recovered(const Input& in);
  void on_session(const Input& in);
  void on_command(const Input& in);
  void on_timer(const Input& in, u64 seq);
  void on_control(const Input& in);
  void on_signal(const Input& in);
  void on_device(const Input& in);
  bool apply_command(journal::CommandKind kind, Bytes body);  // false: refused, nothing changed (shard_command.cpp)
  bool pause_symbol(Bytes body, bool paused);
  void update_paused();
  void set_active_symbols(u32 n);
  void cancel_between(InstrumentIx first, InstrumentIx last);  // both included
  bool seen_command(u64 key);
  void remember_command(u64 key, bool refused);
  void after_event(const Event& e);
  void kill();
  void revive();
  void cancel(const Order& o, const Cause& cause);
  void cancel_all();
  void on_supervisor(bool back);
  void cancel_of(InstrumentIx ix);
  void flatten_step();
  void accrue_stale(TimeNs now);
  void check_breakers();
  void act_on_breakers();                        // shard_breakers.cpp, these three
  bool rearm(u32 bits);
  void record_breaker(u32 bit, bool tripped, i64 observed, i64 limit);

  // decisions (shard_decide.cpp)
  bool may_trade(InstrumentIx ix) const;
  bool may_decide(InstrumentIx ix) const;
  void decide(InstrumentIx ix);
  void judge(InstrumentIx ix);
  void conclude(InstrumentIx ix);
  void ask_device(InstrumentIx ix);
  void take_answer(const journal::DeviceAnswer& answer, const i32* logits);
  void submit(InstrumentIx ix, const Op& op, u8 action);
  void record_decision(InstrumentIx ix, u8 action, const RiskVerdict& verdict);
  void read_quote(InstrumentIx ix, Side side, Quote& q);
  OwnState own_state(InstrumentIx ix);
  MarketView market_view(InstrumentIx ix) const;
  void mark(Stage s) {
    if (probe_ != nullptr) probe_->mark(s);
  }

  // SessionOut
  void intent(const journal::IntentHead& head, Bytes ouch_message) override;
  void on_order(const OrderEvent& e) override;
  void on_phase(SessionPhase p) override;
  void alarm(SessionAlarm code, u64 a, u64 b) override;

  ShardConfig config_;
  SymbolTable symbols_;
  Market market_;
  FeatureEngine features_;
  PolicySet policies_;
  Exposure exposure_;
  Gate gate_;
  Breakers breakers_;
  OrderManager orders_;
  OrderSession session_;
  std::vector<PerInstrument> items_;
  ShardCounters counters_;
  Pending pending_;
  AlarmSeen last_alarm_;
  u64 lost_orders_ = 0, lost_messages_ = 0;
  journal::FeedState feed_state_ = journal::FeedState::kDown;
  TimeNs now_ns_ = 0;
  TimeNs feed_ns_ = 0;   // last feed message
  TimeNs stale_since_ns_ = 0;
  u64 feed_seq_ = 0;
  u64 decision_ = 0;
  u64 order_hash_ = 0;
  bool draining_ = false;
  bool paused_ = false;        // by command; the gate is also paused while draining …
  bool unsupervised_ = false;  // … and, if it is to stop then, while the supervisor is not heard of
  bool flattening_ = false;
  bool kill_wanted_ = false;
  u32 tripped_now_ = 0;        // breakers, in the step under way
  bool decision_recorded_ = false;
  u64 asks_made_ = 0;
  u64 last_ask_ = 0;
  Ask asks_[kMaxAsks];
  i32 features_now_[FeatureEngine::kFeatures] = {};
  PolicySet::Decision decision_now_;
  static constexpr u32 kCommandKeys = 256;  // commands remembered for deduplication
  u64 command_keys_[kCommandKeys] = {};
  bool command_refused_[kCommandKeys] = {};  // and how each ended, for who asks again
  u32 command_key_next_ = 0;
  CommandOutcome command_outcome_ = CommandOutcome::kApplied;
  ShardOutput* out_ = nullptr;
  StageProbe* probe_ = nullptr;
  DecisionTap* tap_ = nullptr;
};

}  // namespace peregrine::engine
