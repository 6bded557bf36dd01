#include "venue/virtual_run.h"

#include <algorithm>

#include "core/assert.h"
#include "execution/soup.h"

namespace peregrine::venue {

using journal::RecordType;

VirtualRun::VirtualRun(const VirtualConfig& config, engine::StepRunner& runner, Bytes recording,
                       journal::Writer* writer)
    : config_(config),
      runner_(runner),
      writer_(writer),
      exchange_(config.exchange, this),
      latency_(config.latency_seed),
      now_ns_(config.start_ns),
      end_ns_(config.start_ns + config.duration_ns),
      housekeeping_ns_(config.start_ns + engine::kHousekeepingIntervalNs),
      state_hash_ns_(config.start_ns + engine::kStateHashIntervalNs) {
  const journal::FeedStateChange live{static_cast<u8>(journal::FeedState::kLive), 0, {}, 0, 0};
  consume(RecordType::kFeedState, engine::bytes_of(live));
  exchange_.start(now_ns_);
  exchange_.set_session_state(SessionState::kOpen, now_ns_);
  if (config.recorded) {
    recorded_ = std::make_unique<RecordedFlow>(recording, config.source_locate, 0, config.speed_percent, exchange_);
    recorded_->begin(now_ns_);
  } else {
    flow_ = std::make_unique<Flow>(config.flow, exchange_);
    flow_->begin(now_ns_);
    flow_->seed_books(now_ns_);
  }
  connect();
}

void VirtualRun::connect() {
  const journal::SessionStateChange up{1, 0, {}, 1};
  consume(RecordType::kSessionState, engine::bytes_of(up));
  soup::LoginAccepted accepted;
  accepted.session = soup::make_session(config_.exchange.session.data(), config_.exchange.session.size());
  accepted.sequence = runner_.shard().session().login_sequence();
  u8 packet[1 + soup::kLoginAcceptedBytes];
  packet[0] = soup::kLoginAccepted;
  soup::encode(accepted, packet + 1);
  consume(RecordType::kSession, {}, Bytes(packet, sizeof packet));
  // As at any login: what the port was told before is replayed, then it goes on live.
  const MessageStore& store = exchange_.port_store(config_.port);
  to_session_.clear();
  for (u64 seq = accepted.sequence; seq < store.next_seq(); ++seq) ouch(config_.port, seq, store.at(seq));
}

void VirtualRun::ouch(PortIx port, u64 seq, Bytes message) {
  if (port != config_.port) return;
  u8 packet[PacketQueue::kMaxBytes];
  packet[0] = soup::kSequenced;
  PRG_ASSERT(message.size() < sizeof packet);
  std::memcpy(packet + 1, message.data(), message.size());
  to_session_.push(now_ns_ + config_.answer.draw(latency_), seq, Bytes(packet, message.size() + 1));
}

void VirtualRun::itch(u64 seq, u16, Bytes message) {
  to_feed_.push(now_ns_ + config_.feed.draw(latency_), seq, message);
}

void VirtualRun::consume(RecordType type, Bytes head, Bytes body) {
  if (!runner_.consume(type, now_ns_, head, body)) {
    journal_failed_ = true;
    return;
  }
  after_step();
}

void VirtualRun::after_step() {
  if (const Bytes wire = runner_.wire(); !wire.empty()) {
    const TimeNs at = now_ns_ + config_.order.draw(latency_);
    for (std::size_t i = 0; i < wire.size();) {
      const std::size_t n = load_be16(wire.data() + i);
      to_exchange_.push(at, 0, wire.subspan(i + 3, n - 1));
      i += n + 2;
    }
    const journal::SendResult sent{runner_.last_intent_seq(), static_cast<u32>(wire.size()),
                                   static_cast<i32>(wire.size())};
    runner_.clear_wire();
    consume(RecordType::kSendResult, engine::bytes_of(sent));
  }
  // Drained often enough that the ring never fills, seldom enough that it costs little.
  if (writer_ != nullptr && runner_.inputs() - drained_ > 2048) {
    drained_ = runner_.inputs();
    while (writer_->drain_once(now_ns_) > 0) {
    }
  }
}

TimeNs VirtualRun::flow_next() const {
  if (!flow_on_) return INT64_MAX;
  return recorded_ ? recorded_->next_ns() : flow_->next_ns();
}

void VirtualRun::step_flow() {
  if (recorded_) {
    recorded_->step();
  } else {
    flow_->step();
  }
}

// Does the next thing due at or before `limit`; false when nothing is.
bool VirtualRun::advance(TimeNs limit) {
  runner_.work_device();
  if (runner_.poll_device(now_ns_)) after_step();
  const TimeNs due[] = {to_exchange_.next_ns(), exchange_.next_timer(), flow_next(), to_feed_.next_ns(),
                        to_session_.next_ns(),  housekeeping_ns_,       state_hash_ns_};
  const auto first = std::min_element(std::begin(due), std::end(due));
  if (*first > limit || journal_failed_) return false;
  now_ns_ = std::max(now_ns_, *first);
  switch (first - std::begin(due)) {
    case 0:
      exchange_.on_ouch(config_.port, to_exchange_.front().view(), now_ns_);
      to_exchange_.pop();
      break;
    case 1:
      exchange_.on_timer(now_ns_);
      break;
    case 2:
      step_flow();
      break;
    case 3: {
      const PacketQueue::Packet p = to_feed_.front();
      to_feed_.pop();
      ++feed_messages_;
      journal::FeedHead head{p.seq, 4, {}};
      consume(RecordType::kFeed, engine::bytes_of(head), p.view());
      break;
    }
    case 4: {
      const PacketQueue::Packet p = to_session_.front();
      to_session_.pop();
      consume(RecordType::kSession, {}, p.view());
      break;
    }
    case 5: {
      const journal::TimerDue due_timer{engine::kTimerHousekeeping, 0, housekeeping_ns_};
      housekeeping_ns_ += engine::kHousekeepingIntervalNs;
      consume(RecordType::kTimer, engine::bytes_of(due_timer));
      break;
    }
    default: {
      const journal::TimerDue due_timer{engine::kTimerStateHash, 0, state_hash_ns_};
      state_hash_ns_ += engine::kStateHashIntervalNs;
      consume(RecordType::kTimer, engine::bytes_of(due_timer));
      break;
    }
  }
  return true;
}

bool VirtualRun::run(TimeNs budget_ns) {
  const TimeNs limit = budget_ns > end_ns_ - now_ns_ ? end_ns_ : now_ns_ + budget_ns;
  while (advance(limit)) {
    if (recorded_ && recorded_->done() && to_feed_.empty() && to_exchange_.empty() && to_session_.empty()) {
      end_ns_ = now_ns_;
      break;
    }
  }
  if (now_ns_ < limit && !(recorded_ && recorded_->done())) now_ns_ = limit;
  return now_ns_ < end_ns_ && !journal_failed_;
}

void VirtualRun::finish() {
  flow_on_ = false;
  journal::CommandHead drain{};
  drain.kind = static_cast<u16>(journal::CommandKind::kDrain);
  consume(RecordType::kCommand, engine::bytes_of(drain));
  const TimeNs limit = now_ns_ + 1'000'000'000;
  while (advance(limit) && runner_.shard().working_orders() > 0) {
  }
  const journal::TimerDue due_timer{engine::kTimerStateHash, 0, now_ns_};
  consume(RecordType::kTimer, engine::bytes_of(due_timer));
  if (writer_ != nullptr) {
    while (writer_->drain_once(now_ns_) > 0) {
    }
  }
}

}  // namespace peregrine::venue
