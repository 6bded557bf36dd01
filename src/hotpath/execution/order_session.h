// The order session as a deterministic state machine: packets, connection changes, send results and timers in;
// intents (journaled by the caller before a byte leaves) out. No socket, no clock.
//
//   down ──up──▶ logging in ──'A'──▶ querying ──'Q'──▶ mass canceling ──'X'──▶ settling ──no open order──▶ ready
//     ▲                               (replay of S)     │ (or canceling + silence, where the venue has no mass cancel)
//     └────────── connection lost, from anywhere        └─ no answer: next round; rounds used up ──▶ halted + alarm
//
// The transport sends the login (login_session(), login_sequence()) and heartbeats, and tells silence as a state
// change. Every connection takes the whole path, the first of a fresh session too: a port may hold orders of a run
// whose journal is gone.
//
// The fence is the mass cancel: it carries a number above every order of the dead connection, so its answer proves
// that the venue will ignore any of those that are still under way; only then do unknown orders become none. An
// account query's answer carries no number of ours and might belong to an older connection: it is never the fence.
#pragma once

#include "core/types.h"
#include "execution/order_manager.h"
#include "execution/ouch.h"
#include "execution/soup.h"
#include "journal/record.h"
#include "risk/rate_window.h"

namespace peregrine {

enum class SessionPhase : u8 {
  kDown = 0, kLoggingIn = 1, kQuerying = 2, kMassCanceling = 3, kCanceling = 4, kSettling = 5, kReady = 6,
  kHalted = 7,  // connected, no agreement within the rounds: no new orders until retry(), a person's resume
  kEnded = 8,   // the venue ended the session (Z)
};
const char* session_phase_name(SessionPhase p);

enum class SessionAlarm : u8 {
  kLoginRejected = 1,    // a = reason letter
  kSessionChanged = 2,   // a = orders that were open
  kSequenceGap = 3,      // a = expected, b = offered by the venue
  kNoAgreement = 4,      // a = rounds, b = open orders
  kUnknownNumber = 5,    // a = order number, b = message type
  kAnomaly = 6,          // a = order number, b = state before << 8 | OrderEventKind
  kSendFailed = 7,       // a = errno
  kCancelUnanswered = 8, // a = order number
  kNumbersUsedUp = 9,
  kEntryDisabled = 10,
  kMalformed = 11,       // a = packet type
};

class SessionOut {
 public:
  virtual ~SessionOut() = default;
  // Journal, then hand the message to the transport (which puts it in a 'U' packet).
  virtual void intent(const journal::IntentHead& head, Bytes ouch_message) = 0;
  virtual void on_order(const OrderEvent& e) { (void)e; }
  virtual void on_phase(SessionPhase p) { (void)p; }
  virtual void alarm(SessionAlarm code, u64 a, u64 b) { (void)code, (void)a, (void)b; }
};

enum class SendError : u8 {
  kSent = 0,
  kHeld = 1,             // a cancel that will go out later (not ready, or over the message rate)
  kNotReady = 2,
  kPoolFull = 3,
  kThrottled = 4,
  kBadQuantity = 5,      // not 1 … 999,999
  kBadPrice = 6,         // not 1 … 1,999,999,900 ticks
  kUnknownOrder = 7,
  kNotOpen = 8,          // done, or (replace) not yet live at the venue
  kReplacePending = 9,   // one replacement at a time per order
  kUnknownInstrument = 10,
  kCancelPending = 11,   // already asked, or asked before this replacement
};
const char* send_error_name(SendError e);

struct SessionConfig {
  u32 epoch = 1;               // the run: goes into every ClOrdId
  char firm[4] = {' ', ' ', ' ', ' '};
  u8 capacity = 'P';
  bool venue_mass_cancel = true;
  bool long_cancel = false;    // the form of X with an appendage length
  TimeNs answer_timeout_ns = 1'000'000'000;
  TimeNs silence_ns = soup::kSilenceLimitNs;  // after which the venue has dropped a dead connection
  TimeNs cancel_timeout_ns = 1'000'000'000;
  u32 max_rounds = 3;
  // Session throttle, after the gate: messages per window, of which new orders and replaces leave `cancel_reserve`.
  u32 max_messages = 1000;
  u32 cancel_reserve = 200;
  TimeNs message_window_ns = 1'000'000'000;
};

struct EnterRequest {
  NewOrder order;
  bool post_only = false;
  u8 display = 'Y';
  u8 action = 0xFF;          // consensus action that asked for it
  u64 policy_version = 0;
};

// Who asked, for the intent record.
struct Cause {
  u64 decision = 0;
  u64 policy_version = 0;
  u8 action = 0xFF;
};

class OrderSession {
 public:
  static constexpr TimeNs kNever = INT64_MAX;

  OrderSession(const SessionConfig& config, const SymbolTable& symbols, OrderManager& orders);

  // ---- inputs
  void on_state(const journal::SessionStateChange& s, TimeNs now, SessionOut& out);
  void on_packet(Bytes packet, TimeNs now, SessionOut& out);  // type byte + payload; any bytes
  void on_send_result(const journal::SendResult& r, TimeNs now, SessionOut& out);
  void on_timer(TimeNs now, SessionOut& out);                  // harmless when early
  TimeNs deadline_ns() const;                                  // when on_timer has work; kNever = it has none
  // After the journal was replayed: a new epoch; what replay made beyond the last journaled intent was never sent.
  void on_recovered(const journal::Recovered& r, TimeNs now, SessionOut& out);
  void retry(TimeNs now, SessionOut& out);                     // out of kHalted, by a resume

  // ---- requests. Every message goes through SessionOut::intent.
  struct Sent {
    SendError error;
    u32 user_ref_num;  // of the order or replacement; 0 when not sent
  };
  Sent enter(const EnterRequest& r, TimeNs now, SessionOut& out);
  // total_lots: liable, executions of the chain included (what may still trade = total - executed).
  Sent replace(u32 user_ref_num, PriceTicks price_ticks, QtyLots total_lots, const Cause& cause, TimeNs now,
               SessionOut& out);
  // intended_total_lots 0 = all that is left; otherwise the order's total is cut to it, priority kept.
  SendError cancel(u32 user_ref_num, QtyLots intended_total_lots, const Cause& cause, TimeNs now, SessionOut& out);
  // Everything, at once: kill and drain. Never throttled; what its answer leaves open is cancelled singly.
  void mass_cancel(const Cause& cause, TimeNs now, SessionOut& out);

  // ---- state
  SessionPhase phase() const { return phase_; }
  bool ready() const { return phase_ == SessionPhase::kReady && !blocked_ && !day_ended_ && !entry_disabled_; }
  // What the transport asks for at login: the stored session, or blank (= the current one) from its first message.
  soup::SessionId login_session() const { return login_blank_ ? soup::blank_session() : session_; }
  u64 login_sequence() const { return login_blank_ ? 1 : next_sequence_; }
  u64 next_sequence() const { return next_sequence_; }
  u32 next_user_ref_num() const { return orders_.next_user_ref_num(); }
  u32 epoch() const { return config_.epoch; }
  u32 rounds() const { return round_; }
  u64 duplicates() const { return duplicates_; }
  u64 malformed() const { return malformed_; }
  bool blocked() const { return blocked_; }
  const OrderManager& orders() const { return orders_; }
  const SessionConfig& config() const { return config_; }
  u64 state_hash(u64 h) const;
  template <class A>
  void archive(A& a) {
    messages_.archive(a);
    a(config_.epoch, phase_, session_, login_blank_, next_sequence_, stream_sequence_, mass_cancel_number_, fence_number_, round_,
      deadline_ns_, lost_at_ns_, held_until_ns_, cancel_check_ns_, blocked_, day_ended_, entry_disabled_, duplicates_,
      malformed_);
    // The appendages follow from the configuration.
    static_assert(sizeof(OrderSession) == 208 + 2 * sizeof(ouch::AppendageBuilder), "a member came or went: is it listed above?");
  }

 private:
  void set_phase(SessionPhase p, SessionOut& out);
  bool logged_in() const { return phase_ >= SessionPhase::kQuerying && phase_ <= SessionPhase::kHalted; }
  void on_login(Bytes payload, TimeNs now, SessionOut& out);
  void on_sequenced(Bytes msg, TimeNs now, SessionOut& out);
  void on_host_message(Bytes msg, TimeNs now, SessionOut& out);  // S Q X G K
  void close_session(SessionOut& out);                           // what was open is final
  void query(TimeNs now, SessionOut& out);
  void fence(TimeNs now, SessionOut& out);
  void fence_passed(TimeNs now, SessionOut& out);
  void settle(TimeNs now, SessionOut& out);
  void next_round(TimeNs now, SessionOut& out);
  void halt(SessionOut& out);
  bool send_mass_cancel(const Cause& cause, TimeNs now, SessionOut& out);
  void send_cancel(u32 number, QtyLots intended_total, const Cause& cause, TimeNs now, SessionOut& out);
  void cancel_chain(u32 number, const Cause& cause, TimeNs now, SessionOut& out);
  void pump_cancels(TimeNs now, SessionOut& out);
  void check_cancel_answers(TimeNs now, SessionOut& out);
  void want_all_cancelled();
  bool room(TimeNs now, bool is_cancel) const;
  ouch::ClOrdId cl_ord_id(u32 number, u32 strategy) const;
  template <class M>
  void emit(const M& m, journal::IntentHead head, const Cause& cause, TimeNs now, SessionOut& out);

  SessionConfig config_;
  ouch::AppendageBuilder appendage_, appendage_post_only_;  // of every new order, from the configuration
  const SymbolTable& symbols_;
  OrderManager& orders_;
  RateWindow messages_;
  SessionPhase phase_ = SessionPhase::kDown;
  soup::SessionId session_ = soup::blank_session();
  bool login_blank_ = false;    // the venue no longer has the stored session
  u64 next_sequence_ = 1;       // of the next message not yet consumed
  u64 stream_sequence_ = 1;     // of the next S packet on this connection
  u32 mass_cancel_number_ = 0;  // unanswered mass cancel, 0 = none
  u32 fence_number_ = 0;        // of this connection's last fence; follows from the inputs since the connection came up
  u32 round_ = 0;
  TimeNs deadline_ns_ = kNever;          // of the phase
  TimeNs lost_at_ns_ = kNever;           // when the last connection was lost; kNever = no connection yet
  TimeNs held_until_ns_ = kNever;        // when held cancels may go
  TimeNs cancel_check_ns_ = kNever;      // when the oldest cancel ought to have been answered
  bool blocked_ = false;
  bool day_ended_ = false;
  bool entry_disabled_ = false;
  u64 duplicates_ = 0;
  u64 malformed_ = 0;
};

}  // namespace peregrine
