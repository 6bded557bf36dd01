#include "engine/live_engine.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>

#include <cerrno>
#include <cstring>

#include "core/noise.h"
#include "core/pin.h"
#include "risk/limits.h"

namespace peregrine::engine {

using journal::ControlKind;
using journal::FeedState;
using journal::RecordType;

namespace {

constexpr TimeNs kTelemetryIntervalNs = 10'000'000;
constexpr TimeNs kDisciplineIntervalNs = 1'000'000'000;

const NetOps& net_of(const LiveConfig& c) { return c.net != nullptr ? *c.net : system_net_ops(); }

SoupClientConfig soup_config(const LiveConfig& c, const Endpoint& peer) {
  SoupClientConfig s;
  s.peer = peer;
  s.username = c.username;
  s.password = c.password;
  s.reconnect_delay_ns = c.reconnect_delay_ns;
  s.connect_timeout_ns = c.connect_timeout_ns;
  s.heartbeat_idle_ns = c.heartbeat_ns;
  s.silence_limit_ns = c.silence_ns;
  s.send_buffer_bytes = c.send_buffer_bytes;
  s.net = c.net;
  return s;
}

}  // namespace

LiveEngine::LiveEngine(const LiveConfig& config, StepRunner& runner, journal::Appender& appender,
                       Telemetry& telemetry, Segment* segment, CommandReader* commands, const TscClock& clock)
    : config_(config),
      runner_(runner),
      appender_(appender),
      telemetry_(telemetry),
      segment_(segment),
      commands_(commands),
      clock_(clock),
      feed_(config.feed, *this),
      lines_{UdpReceiver(2048, net_of(config)), UdpReceiver(2048, net_of(config))},
      requests_(2048, net_of(config)),
      order_line_(*this),
      snapshot_line_(*this),
      orders_(soup_config(config, config.ouch), order_line_),
      snapshots_(soup_config(config, config.glimpse), snapshot_line_),
      sent_ns_(std::make_unique<i64[]>(kSentRing)) {}

LiveEngine::~LiveEngine() { delete mailbox_.exchange(nullptr); }

std::string LiveEngine::open() {
  const Endpoint* peers[2] = {&config_.itch_a, &config_.itch_b};
  for (int i = 0; i < config_.feed.lines; ++i) {
    const FeedEndpoint where{peers[i]->host, peers[i]->port, config_.interface_address};
    if (std::string error = lines_[i].open(where); !error.empty()) return error;
  }
  if (config_.retransmit.port != 0) {
    if (std::string error = requests_.open({config_.interface_address, 0, {}}); !error.empty()) return error;
    retransmit_to_.sin_family = AF_INET;
    retransmit_to_.sin_port = htons(config_.retransmit.port);
    inet_pton(AF_INET, config_.retransmit.host.c_str(), &retransmit_to_.sin_addr);
  }
  return {};
}

void LiveEngine::consume(RecordType type, Bytes head, Bytes body) {
  const bool market_data = type == RecordType::kFeed || type == RecordType::kSnapshot;
  if (journal_full_ || (journal_stopped_ && market_data)) return;
  if (!runner_.consume(type, now_, head, body, journal_stopped_)) {
    journal_refused();
    // Its turn comes in the reserve: the venue's messages are numbered by being counted, none may be left out.
    if (!market_data) consume(type, head, body);
    return;
  }
  if (runner_.intents_refused() != 0) request_stop(StopReason::kJournal);  // not even the reserve took an intent
  if (!runner_.wire().empty()) send_wire();
}

void LiveEngine::send_wire() {
  const u64 ready_ticks = clock_.ticks();
  if (packet_ticks_ != 0) {
    telemetry_.hist(Hist::tick_to_order).record(clock_.to_duration_ns(ready_ticks - packet_ticks_));
    packet_ticks_ = 0;  // the first order a packet caused is what is measured
  }
  const Bytes wire = runner_.wire();
  const i32 taken = orders_.send(wire, now_);
  const u64 sent_ticks = clock_.ticks();
  telemetry_.hist(Hist::send).record(clock_.to_duration_ns(sent_ticks - ready_ticks));
  const journal::SendResult result{runner_.last_intent_seq(), static_cast<u32>(wire.size()), taken};
  sent_ns_[runner_.last_user_ref_num() % kSentRing] = clock_.to_ns(sent_ticks);
  runner_.clear_wire();
  tick();
  consume(RecordType::kSendResult, bytes_of(result));
  // Dropped whole for lack of room: only a new connection's fence tells what became of these orders.
  if (taken == -ENOBUFS) orders_.drop(LostReason::kError, now_);
}

void LiveEngine::journal_refused() {
  if (journal_stopped_) {
    // Not even the reserve has room: nothing can be recorded, so nothing may be done.
    journal_full_ = true;
    request_stop(StopReason::kJournal);
    return;
  }
  journal_stopped_ = true;
  control(ControlKind::kJournalUnhealthy, 0);
}

void LiveEngine::control(ControlKind kind, u64 value) {
  const journal::ControlSeen seen{static_cast<u8>(kind), {}, value};
  consume(RecordType::kControl, bytes_of(seen));
}

void LiveEngine::on_block(u64 seq, u8 line, Bytes msg) {
  journal::FeedHead head{seq, line, {}};
  // Stages are stamped for one message in N: a stamp costs about as much as a short stage.
  const bool sampled = ++messages_ % config_.stage_sample == 0;
  if (sampled) {
    runner_.shard().set_probe(this);
    stage_ticks_ = clock_.ticks();
  }
  consume(RecordType::kFeed, bytes_of(head), msg);
  if (sampled) runner_.shard().set_probe(nullptr);
}

void LiveEngine::on_snapshot_block(u64 n, Bytes msg) {
  consume(RecordType::kSnapshot, bytes_of(journal::FeedHead{n, 3, {}}), msg);
}

void LiveEngine::on_state(const journal::FeedStateChange& change) { consume(RecordType::kFeedState, bytes_of(change)); }

void LiveEngine::request(u64 seq, u16 count) {
  if (config_.retransmit.port == 0) return;
  u8 packet[mold::kRequestBytes];
  mold::encode(mold::Request{feed_.session(), seq, count}, packet);
  requests_.send(retransmit_to_, Bytes(packet, sizeof packet));
}

void LiveEngine::open_snapshot() {
  if (config_.glimpse.port == 0) return;
  snapshot_wanted_ = true;
  snapshots_.start();
}

void LiveEngine::close_snapshot() { snapshot_wanted_ = false; }

void LiveEngine::OrderLine::on_connected(soup::LoginRequest& login) {
  login.session = engine_.runner_.shard().session().login_session();
  login.sequence = engine_.runner_.shard().session().login_sequence();
  const journal::SessionStateChange up{1, 0, {}, ++engine_.connections_};
  engine_.consume(RecordType::kSessionState, bytes_of(up));
}

void LiveEngine::OrderLine::on_packet(Bytes packet) {
  // Accepted: sequenced 'A', order number after type and timestamp.
  if (packet.size() >= 14 && packet[0] == soup::kSequenced && (packet[1] == 'A' || packet[1] == 'U')) {
    const u32 number = load_be32(packet.data() + (packet[1] == 'A' ? 10 : 14));
    i64& sent = engine_.sent_ns_[number % kSentRing];
    if (sent != 0) engine_.telemetry_.hist(Hist::order_to_ack).record(engine_.now_ - sent);
    sent = 0;
  }
  engine_.consume(RecordType::kSession, {}, packet);
}

void LiveEngine::OrderLine::on_lost(LostReason reason) {
  const journal::SessionStateChange down{0, static_cast<u8>(reason), {}, engine_.connections_};
  engine_.consume(RecordType::kSessionState, bytes_of(down));
}

void LiveEngine::OrderLine::on_flushed(u32 bytes_asked, i32 result) {
  const journal::SendResult r{engine_.runner_.last_intent_seq(), bytes_asked, result};
  engine_.consume(RecordType::kSendResult, bytes_of(r));
}

void LiveEngine::SnapshotLine::on_connected(soup::LoginRequest& login) { login.sequence = 1; }

void LiveEngine::SnapshotLine::on_packet(Bytes packet) {
  engine_.feed_.on_snapshot_packet(packet[0], packet.subspan(1), engine_.now_);
}

void LiveEngine::SnapshotLine::on_lost(LostReason) {
  if (engine_.snapshot_wanted_) engine_.feed_.on_snapshot_closed(engine_.now_);
}

// ---- the loop

bool LiveEngine::poll_line(u8 line) {
  if (!lines_[line].is_open()) return false;
  const int n = lines_[line].receive();
  if (n == 0) return false;
  // The whole batch was received now: what its later packets wait for the earlier ones counts as latency.
  const u64 received_ticks = clock_.ticks();
  for (int i = 0; i < n; ++i) {
    tick();
    packet_ticks_ = received_ticks;
    feed_.on_packet(line, lines_[line].at(i), now_);
  }
  packet_ticks_ = 0;
  return true;
}

bool LiveEngine::poll_requests() {
  if (!requests_.is_open()) return false;
  const int n = requests_.receive();
  for (int i = 0; i < n; ++i) {
    tick();
    feed_.on_packet(kLineRetransmission, requests_.at(i), now_);
  }
  return n > 0;
}

void LiveEngine::mark(Stage stage) {
  static constexpr Hist kHist[] = {Hist::decode_book, Hist::features, Hist::policy, Hist::risk, Hist::encode_journal};
  const u64 t = clock_.ticks();
  telemetry_.hist(kHist[static_cast<u8>(stage)]).record(clock_.to_duration_ns(t - stage_ticks_));
  stage_ticks_ = t;
}

bool LiveEngine::poll_control() {
  bool busy = false;
  u32 level = segment_ != nullptr ? static_cast<u32>(segment_->kill_level()) : 0;
  if (kill_.load(std::memory_order_acquire) && level == 0) level = 1;
  if (level != kill_seen_) {
    kill_seen_ = level;
    control(ControlKind::kKillWord, level);
    busy = true;
  }
  if (!journal_stopped_ && !appender_.healthy()) {
    journal_stopped_ = true;
    control(ControlKind::kJournalUnhealthy, 0);
    busy = true;
  }
  if (config_.supervisor_timeout_ns > 0) {
    const u64 beats = supervisor_beats_.load(std::memory_order_relaxed);
    if (beats != supervisor_seen_) {
      supervisor_seen_ = beats;
      supervisor_ns_ = now_;
      supervisor_lost_ = false;
    } else if (!supervisor_lost_ && now_ - supervisor_ns_ > config_.supervisor_timeout_ns) {
      supervisor_lost_ = true;
      control(ControlKind::kSupervisorLost, beats);
      busy = true;
    }
  }
  return busy;
}

bool LiveEngine::post(std::unique_ptr<CommandMessage> command) {
  CommandMessage* none = nullptr;
  if (!mailbox_.compare_exchange_strong(none, command.get(), std::memory_order_acq_rel)) return false;
  command.release();
  return true;
}

bool LiveEngine::poll_commands() {
  if (mailbox_.load(std::memory_order_relaxed) == nullptr) return false;
  const std::unique_ptr<CommandMessage> c(mailbox_.exchange(nullptr, std::memory_order_acq_rel));
  if (c == nullptr) return false;
  if (c->policy != nullptr) {
    // Checked where it was posted; a refusal here would make the journal say what did not happen.
    const PolicyError staged = runner_.shard().policies().stage(c->slot, std::move(*c->policy));
    PRG_ASSERT(staged.ok);
  }
  journal::CommandHead head{};
  head.idempotency_key = c->idempotency_key;
  head.kind = static_cast<u16>(c->kind);
  head.body_bytes = static_cast<u32>(c->body.size());
  consume(RecordType::kCommand, bytes_of(head), Bytes(c->body.data(), c->body.size()));
  return true;
}

static_assert(sizeof(journal::CommandHead) + sizeof(RiskLimits) <= kCommandMaxBytes);

// Commands of another process: a CommandHead and its body in one slot; the journal keeps what was consumed.
bool LiveEngine::poll_command_ring() {
  if (commands_ == nullptr) return false;
  u8 slot[kCommandMaxBytes];
  u32 bytes = 0;
  const CommandReader::Poll polled = commands_->poll(slot, bytes);
  if (polled == CommandReader::Poll::kNone || polled == CommandReader::Poll::kBroken) return false;
  journal::CommandHead head;
  if (polled == CommandReader::Poll::kMalformed || bytes < sizeof head) {
    ++malformed_commands_;
    return true;
  }
  std::memcpy(&head, slot, sizeof head);
  // A bank travels with its policy through the engine's own process; by ring only a swap back is possible: an
  // artifact here would be staged by a replay, and was not staged live.
  const bool bank = head.kind == static_cast<u16>(journal::CommandKind::kBankSwap) && head.body_bytes != sizeof(u32);
  if (bank || head.body_bytes != bytes - sizeof head) {
    ++malformed_commands_;
    return true;
  }
  consume(RecordType::kCommand, bytes_of(head), Bytes(slot + sizeof head, head.body_bytes));
  return true;
}

bool LiveEngine::poll_timers() {
  bool busy = false;
  if (now_ >= feed_.next_timer_ns()) {
    feed_.on_timer(now_);
    busy = true;
  }
  if (now_ >= housekeeping_ns_) {
    const journal::TimerDue due{kTimerHousekeeping, 0, housekeeping_ns_};
    housekeeping_ns_ = now_ + kHousekeepingIntervalNs;
    consume(RecordType::kTimer, bytes_of(due));
    busy = true;
  }
  if (now_ >= state_hash_ns_) {
    const journal::TimerDue due{kTimerStateHash, 0, state_hash_ns_};
    state_hash_ns_ = now_ + kStateHashIntervalNs;
    consume(RecordType::kTimer, bytes_of(due));
    busy = true;
  }
  if (now_ >= telemetry_ns_) {
    telemetry_ns_ = now_ + kTelemetryIntervalNs;
    update_telemetry();
  }
  if (now_ >= discipline_ns_) {
    discipline_ns_ = now_ + kDisciplineIntervalNs;
    clock_.discipline();
  }
  return busy;
}

bool LiveEngine::round() {
  tick();
  bool busy = poll_line(0);
  if (config_.feed.lines > 1) busy |= poll_line(1);
  busy |= poll_requests();
  tick();
  busy |= orders_.poll(now_);
  tick();
  busy |= snapshots_.poll(now_);
  if (!snapshot_wanted_ && snapshots_.connected()) snapshots_.stop(now_);
  tick();
  busy |= poll_control();
  busy |= poll_commands();
  busy |= poll_command_ring();
  busy |= poll_timers();
  return busy;
}

void LiveEngine::idle() {
  ++idle_polls_;
  switch (config_.idle) {
    case IdleMode::kSpin: break;
    case IdleMode::kYield: ::sched_yield(); break;
    case IdleMode::kSleep: {
      pollfd fds[5];
      nfds_t n = 0;
      for (const int fd : {lines_[0].fd(), lines_[1].fd(), requests_.fd(), orders_.fd(), snapshots_.fd()}) {
        if (fd >= 0) fds[n++] = pollfd{fd, POLLIN, 0};
      }
      ::poll(fds, n, 1);
      break;
    }
  }
}

void LiveEngine::begin_drain() {
  drain_until_ns_ = now_ + config_.drain_timeout_ns;
  journal::CommandHead drain{};
  drain.kind = static_cast<u16>(journal::CommandKind::kDrain);
  consume(RecordType::kCommand, bytes_of(drain));
}

// Pins this thread, then looks at every thread of the process: what shares the hot core is named.
void LiveEngine::place() {
  name_this_thread("engine");
  if (config_.engine_cpu < 0) return;
  Error error = pin_this_thread(config_.engine_cpu);
  if (error.ok()) error = verify_pinned(config_.engine_cpu);
  placement_error_ = error.text;
  if (error.failed()) return;
  const std::vector<HotThread> hot = {HotThread{this_thread_id(), config_.engine_cpu}};
  for (const std::string& conflict : placement_conflicts(hot, list_threads(), cpu_topology())) {
    placement_error_ += placement_error_.empty() ? conflict : "; " + conflict;
  }
}

StopReason LiveEngine::run() {
  place();
  if (!placement_error_.empty() && config_.refuse_bad_placement) return StopReason::kPlacement;
  if (config_.noise_ns > 0) spin_noise(clock_, config_.noise_ns, telemetry_.hist(Hist::noise));
  start();
  do {
    if (!round()) idle();
  } while (!over());
  return finish();
}

void LiveEngine::start() {
  tick();
  started_ns_ = now_;
  telemetry_.set(Counter::started_ns, now_);
  housekeeping_ns_ = now_ + kHousekeepingIntervalNs;
  state_hash_ns_ = now_ + kStateHashIntervalNs;
  supervisor_ns_ = now_;
  feed_.start(now_);
  orders_.start();
  if (segment_ != nullptr) segment_->set_state(EngineState::kTrading);
}

bool LiveEngine::over() {
  if (config_.run_for_ns > 0 && now_ - started_ns_ >= config_.run_for_ns) request_stop(StopReason::kTimeUp);
  if (stop_.load(std::memory_order_relaxed) == 0) return false;
  if (drain_until_ns_ == 0) begin_drain();
  // A session that is down just now comes back and cancels at its fence: orders are not left behind for that.
  return runner_.shard().working_orders() == 0 || now_ >= drain_until_ns_;
}

StopReason LiveEngine::finish() {
  tick();
  const journal::TimerDue due{kTimerStateHash, 0, now_};
  consume(RecordType::kTimer, bytes_of(due));
  orders_.stop(now_);
  snapshots_.stop(now_);
  update_telemetry();
  if (segment_ != nullptr) segment_->set_state(EngineState::kEnded);
  return static_cast<StopReason>(stop_.load());
}

u64 LiveEngine::kernel_drops() const { return lines_[0].stats().kernel_drops + lines_[1].stats().kernel_drops; }

void LiveEngine::update_telemetry() {
  const Shard& shard = runner_.shard();
  const ShardCounters& c = shard.counters();
  const AccountExposure& a = shard.exposure().account();
  Telemetry& t = telemetry_;
  const auto set = [&t](Counter k, auto v) { t.set(k, static_cast<i64>(v)); };
  set(Counter::now_ns, now_);
  set(Counter::events, c.events);
  set(Counter::malformed, c.malformed + feed_.stats().malformed);
  set(Counter::decisions, c.decisions);
  set(Counter::held, c.held);
  set(Counter::orders, c.orders + c.replaces);
  set(Counter::cancels, c.cancels);
  set(Counter::acks, c.acks);
  set(Counter::fills, c.fills);
  set(Counter::filled_lots, c.filled_lots);
  set(Counter::rejects, c.rejects);
  set(Counter::risk_rejects, c.risk_rejects);
  set(Counter::working_orders, shard.working_orders());
  set(Counter::unknown_orders, a.unknown_orders);
  set(Counter::pnl_units, a.pnl());
  set(Counter::fees_units, a.fees);
  set(Counter::feed_state, static_cast<u8>(shard.feed_state()));
  set(Counter::session_ready, shard.session().ready() ? 1 : 0);
  i64 trading = shard.session().ready() && shard.feed_state() == FeedState::kLive ? 1 : 0;
  if (shard.gate().paused()) trading = 3;
  if (shard.draining()) trading = 4;
  if (shard.gate().killed()) trading = 5;
  if (journal_stopped_) trading = 6;
  set(Counter::trading_state, trading);
  set(Counter::gaps, feed_.stats().gaps);
  set(Counter::recovered, feed_.stats().requests);
  set(Counter::snapshots, c.snapshots);
  set(Counter::stale_ns, c.stale_ns);
  set(Counter::reconnects, connections_ > 0 ? connections_ - 1 : 0);
  set(Counter::journal_seq, appender_.next_seq() - 1);
  set(Counter::journal_bytes, appender_.ring()->header().head.load(std::memory_order_relaxed));
  set(Counter::journal_free_bytes, appender_.free_bytes());
  set(Counter::policy_version, shard.policies().version());
  set(Counter::inputs, runner_.inputs());
  set(Counter::idle_polls, idle_polls_);
  for (InstrumentIx ix = 0; ix < shard.config().instruments.size(); ++ix) {
    const InstrumentExposure& x = shard.exposure().of(ix);
    const Top top = shard.market().top(ix);
    InstrumentTelemetry it{};
    it.bid_ticks = top.bid_ticks;
    it.ask_ticks = top.ask_ticks;
    it.last_ticks = shard.market().last_trade_ticks(ix);
    it.position_lots = x.position_lots;
    it.pnl_units = sub_sat(add_sat(x.realized, x.unrealized()), x.fees);
    it.working_lots = x.open_lots[0] + x.open_lots[1] + x.unknown_lots[0] + x.unknown_lots[1];
    it.state = shard.feed_state() != FeedState::kLive || !shard.market().sound(ix)       ? 0
               : shard.gate().killed() || shard.gate().paused()                          ? 3
               : shard.market().trading_state(ix) == TradingState::kTrading              ? 1
                                                                                          : 2;
    t.set_instrument(ix, it);
  }
  t.publish();
  if (segment_ != nullptr) segment_->heartbeat(now_);
}

}  // namespace peregrine::engine
