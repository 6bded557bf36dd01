#include "engine/shard_stage.h"

#include <cerrno>
#include <cstring>

namespace peregrine::engine {

using journal::ControlKind;
using journal::RecordType;

namespace {
constexpr TimeNs kTelemetryIntervalNs = 10'000'000;
constexpr TimeNs kLogoutTimeoutNs = 1'000'000'000;
}  // namespace

ShardStage::ShardStage(const LiveConfig& config, const ShardParts& parts, bool heartbeats, ThreadClock& clock,
                       EngineControl& engine_control)
    : config_(config),
      runner_(*parts.runner),
      appender_(*parts.appender),
      telemetry_(*parts.telemetry),
      segment_(parts.segment),
      commands_(parts.commands),
      acks_(parts.acks),
      clock_(clock),
      control_(engine_control),
      heartbeats_(heartbeats),
      sent_ns_(std::make_unique<i64[]>(kSentRing)) {}

ShardStage::~ShardStage() { delete mailbox_.exchange(nullptr); }

void ShardStage::start() {
  started_ns_ = clock_.now_ns;
  telemetry_.set(Counter::started_ns, started_ns_);
  housekeeping_ns_ = started_ns_ + kHousekeepingIntervalNs;
  state_hash_ns_ = started_ns_ + kStateHashIntervalNs;
  supervisor_ns_ = started_ns_;
  looked_ns_ = started_ns_;
}

// A round is the time between two looks, as long as there was work; what is longer than anybody waits is a stall, rest
// or no rest: a thread that was not run is seen here too.
void ShardStage::look(bool rested) {
  const TimeNs took = clock_.now_ns - looked_ns_;
  looked_ns_ = clock_.now_ns;
  if (!rested && ++rounds_ % config_.stage_sample == 0) telemetry_.hist(Hist::round).record(took);
  if (took <= config_.stall_ns) [[likely]] return;
  ++stalls_;
  if (took > stall_max_ns_) stall_max_ns_ = took;
}

// ---- inputs

bool ShardStage::put(RecordType type, const Stamps& stamps, Bytes head, Bytes body) {
  if (phase_ == Phase::kOver) return true;
  switch (type) {
    case RecordType::kFeed: {
      packet_ticks_ = stamps.received_ticks != measured_ticks_ ? stamps.received_ticks : 0;
      // Stages are stamped for one message in N: a stamp costs about as much as a short stage.
      const bool sampled = ++messages_ % config_.stage_sample == 0;
      if (sampled) {
        runner_.shard().set_probe(this);
        stage_ticks_ = clock_.tsc.ticks();
        if (stamps.received_ticks != 0) note_lag(stage_ticks_ - stamps.received_ticks);
      }
      consume(type, head, body);
      if (sampled) runner_.shard().set_probe(nullptr);
      packet_ticks_ = 0;
      return true;
    }
    case RecordType::kSession: measure_ack(body); break;
    case RecordType::kSendResult:
      if (stamps.spent_ticks != 0)
        telemetry_.hist(Hist::send).record(clock_.tsc.to_duration_ns(stamps.spent_ticks));
      if (stamps.received_ticks != 0)
        telemetry_.hist(Hist::tick_to_order).record(clock_.tsc.to_duration_ns(stamps.received_ticks));
      refusal_told_ = false;  // it may have opened the gate again: what still waits is told anew
      break;
    case RecordType::kSessionState: {
      journal::SessionStateChange change;
      std::memcpy(&change, head.data(), sizeof change);
      connection_ = change.up != 0 ? change.connection : 0;
      if (change.up != 0) ++connections_;
      runner_.clear_wire();  // made for a connection that is gone: never sent, and the fence will say so
      refusal_told_ = false;
      consume(type, head, body);
      login_wanted_ = change.up != 0;
      hand_over_login();
      return true;
    }
    case RecordType::kFeedState: {
      journal::FeedStateChange change;
      std::memcpy(&change, head.data(), sizeof change);
      if (change.reason == kFeedOverrun && change.state == static_cast<u8>(journal::FeedState::kStale)) ++overruns_;
      break;
    }
    default: break;
  }
  consume(type, head, body);
  return true;
}

bool ShardStage::put_closed() {
  door_closed_ = true;
  return true;
}

bool ShardStage::consume(RecordType type, Bytes head, Bytes body) {
  const bool market_data = type == RecordType::kFeed || type == RecordType::kSnapshot;
  if (reserve_spent_ || (journal_stopped_ && market_data)) return false;
  if (!runner_.consume(type, clock_.now_ns, head, body, journal_stopped_)) {
    journal_refused();
    // Its turn comes in the reserve: the venue's messages are numbered by being counted, none may be left out.
    return !market_data && consume(type, head, body);
  }
  if (type == RecordType::kCommand) command_seq_ = runner_.input_seq();
  if (runner_.intents_refused() != 0) control_.request_stop(StopReason::kJournal);  // not even the reserve took it
  if (!runner_.wire().empty()) hand_over_wire();
  return true;
}

void ShardStage::hand_over_wire() {
  const Bytes wire = runner_.wire();
  if (wire.size() > wire_high_) wire_high_ = wire.size();
  const WireHead head{runner_.last_intent_seq(), packet_ticks_, connection_, 0};
  if (packet_ticks_ != 0) measured_ticks_ = packet_ticks_;  // the first order a packet caused is what is measured
  packet_ticks_ = 0;
  const u32 bytes = static_cast<u32>(wire.size());
  if (door_->send(head, wire)) {
    sent_ns_[runner_.last_user_ref_num() % kSentRing] = clock_.tsc.to_ns(clock_.tsc.ticks());
    runner_.clear_wire();
    clock_.tick();
    door_->settle();
    return;
  }
  ++wire_refused_;
  if (refusal_told_) return;
  refusal_told_ = true;
  const journal::SendResult none{head.last_intent_seq, bytes, 0};
  consume(RecordType::kSendResult, bytes_of(none));
}

void ShardStage::hand_over_login() {
  if (!login_wanted_) return;
  LoginHead login{};
  const soup::SessionId session = runner_.shard().session().login_session();
  login.sequence = runner_.shard().session().login_sequence();
  login.connection = connection_;
  std::memcpy(login.session, session.data(), session.size());
  if (door_->login(login)) login_wanted_ = false;
}

void ShardStage::journal_refused() {
  ++journal_full_;
  if (journal_stopped_) {
    // Not even the reserve has room: nothing can be recorded, so nothing may be done.
    reserve_spent_ = true;
    control_.request_stop(StopReason::kJournal);
    return;
  }
  journal_stopped_ = true;
  control(ControlKind::kJournalUnhealthy, 0);
}

void ShardStage::control(ControlKind kind, u64 value) {
  const journal::ControlSeen seen{static_cast<u8>(kind), {}, value};
  consume(RecordType::kControl, bytes_of(seen));
}

// ---- what is measured

void ShardStage::mark(Stage stage) {
  static constexpr Hist kHist[] = {Hist::decode_book, Hist::features, Hist::policy, Hist::risk, Hist::encode_journal};
  const u64 t = clock_.tsc.ticks();
  telemetry_.hist(kHist[static_cast<u8>(stage)]).record(clock_.tsc.to_duration_ns(t - stage_ticks_));
  stage_ticks_ = t;
}

void ShardStage::measure_ack(Bytes packet) {
  // Accepted: sequenced 'A', order number after type and timestamp.
  if (packet.size() < 18 || packet[0] != soup::kSequenced || (packet[1] != 'A' && packet[1] != 'U')) return;
  const u32 number = load_be32(packet.data() + (packet[1] == 'A' ? 10 : 14));
  i64& sent = sent_ns_[number % kSentRing];
  if (sent != 0) telemetry_.hist(Hist::order_to_ack).record(clock_.now_ns - sent);
  sent = 0;
}

// Counters of two cores may differ by a little: a packet from the future has not waited.
void ShardStage::note_lag(u64 ticks) {
  const i64 waited = static_cast<i64>(ticks) > 0 ? clock_.tsc.to_duration_ns(ticks) : 0;
  telemetry_.hist(Hist::lag).record(waited);
  if (waited > lag_ns_) lag_ns_ = waited;
}

// ---- timers, the end (control and commands: shard_stage_control.cpp)

bool ShardStage::poll() {
  if (phase_ == Phase::kOver) return false;
  bool busy = false;
  if (login_wanted_) hand_over_login();
  if (!runner_.wire().empty()) hand_over_wire();
  if (runner_.poll_device(clock_.now_ns, journal_stopped_)) {
    busy = true;
    if (!runner_.wire().empty()) hand_over_wire();
  }
  busy |= poll_control();
  busy |= poll_mailbox();
  busy |= poll_command_ring();
  busy |= poll_timers();
  if (config_.run_for_ns > 0 && clock_.now_ns - started_ns_ >= config_.run_for_ns)
    control_.request_stop(StopReason::kTimeUp);
  if (control_.stopping()) poll_end();
  return busy;
}

bool ShardStage::poll_timers() {
  bool busy = false;
  const TimeNs now = clock_.now_ns;
  if (now >= housekeeping_ns_) {
    const journal::TimerDue due{kTimerHousekeeping, 0, housekeeping_ns_};
    housekeeping_ns_ = now + kHousekeepingIntervalNs;
    consume(RecordType::kTimer, bytes_of(due));
    busy = true;
  }
  if (now >= state_hash_ns_) {
    const journal::TimerDue due{kTimerStateHash, 0, state_hash_ns_};
    state_hash_ns_ = now + kStateHashIntervalNs;
    consume(RecordType::kTimer, bytes_of(due));
    busy = true;
  }
  if (now >= telemetry_ns_) {
    telemetry_ns_ = now + kTelemetryIntervalNs;
    update_telemetry(false);
  }
  return busy;
}

// Drain, last state hash, log out.
void ShardStage::poll_end() {
  const TimeNs now = clock_.now_ns;
  if (phase_ == Phase::kRunning) {
    phase_ = Phase::kDraining;
    give_up_ns_ = now + config_.drain_timeout_ns;
    journal::CommandHead drain{};
    drain.kind = static_cast<u16>(journal::CommandKind::kDrain);
    consume(RecordType::kCommand, bytes_of(drain));
  }
  if (phase_ == Phase::kDraining) {
    // A session that is down just now comes back and cancels at its fence: orders are not left behind for that.
    // Bytes that still wait for the socket go first: a logout behind half a message would be read as its end.
    const bool waiting = runner_.shard().working_orders() != 0 || runner_.shard().session().blocked();
    if (waiting && now < give_up_ns_) return;
    const journal::TimerDue due{kTimerStateHash, 0, now};
    consume(RecordType::kTimer, bytes_of(due));
    phase_ = Phase::kLeaving;
    give_up_ns_ = now + kLogoutTimeoutNs;
  }
  if (!stop_asked_) stop_asked_ = door_->stop();
  if (door_closed_ || now >= give_up_ns_) phase_ = Phase::kOver;
}

void ShardStage::finish() { update_telemetry(true); }

void ShardStage::queues(std::vector<QueueUse>& out) const {
  out.push_back({"wire buffer", StepRunner::kWireCapacity, wire_high_, wire_refused_});
  out.push_back({"journal ring", appender_.ring()->bytes(), journal_high_, journal_full_});
}

}  // namespace peregrine::engine
