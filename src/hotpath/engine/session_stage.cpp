#include "engine/session_stage.h"

#include <cerrno>
#include <cstring>

#include "engine/input.h"

namespace peregrine::engine {

using journal::RecordType;

SoupClientConfig soup_config(const LiveConfig& c, const SessionPort& port) {
  SoupClientConfig s;
  s.peer = port.ouch;
  s.username = port.username;
  s.password = port.password;
  s.reconnect_delay_ns = c.reconnect_delay_ns;
  s.connect_timeout_ns = c.connect_timeout_ns;
  s.heartbeat_idle_ns = c.heartbeat_ns;
  s.silence_limit_ns = c.silence_ns;
  s.send_buffer_bytes = c.send_buffer_bytes;
  s.net = c.net;
  return s;
}

SessionStage::SessionStage(const LiveConfig& config, const SessionPort& port, ThreadClock& clock)
    : clock_(clock), client_(soup_config(config, port), *this) {}

bool SessionStage::poll() {
  if (stopped_) return false;
  const u64 room = shard_->room_bytes();
  if (room < kReservedBytes / 2) return false;
  const u64 most = room > kReservedBytes ? (room - kReservedBytes) / kGrowth : 0;
  if ((most == 0) != held_) {
    held_ = most == 0;
    if (held_) ++times_held_;
  }
  const bool busy = client_.poll(clock_.now_ns, most);
  // Cannot be while there is room for what was read; if it ever is, the venue's replay brings the packet again.
  if (packet_refused_) {
    packet_refused_ = false;
    client_.drop(LostReason::kError, clock_.now_ns);
  }
  return busy;
}

void SessionStage::put_result(const journal::SendResult& r, const Stamps& stamps) {
  shard_->put(RecordType::kSendResult, stamps, bytes_of(r), {});
}

bool SessionStage::send(const WireHead& head, Bytes wire) {
  const u64 begin = clock_.tsc.ticks();
  last_intent_seq_ = head.last_intent_seq;
  const bool ours = up_ && head.connection == connection_;
  const i32 taken = ours ? client_.send(wire, clock_.now_ns) : -ENOTCONN;
  result_ = {head.last_intent_seq, static_cast<u32>(wire.size()), taken};
  result_stamps_ = {head.packet_ticks != 0 ? begin - head.packet_ticks : 0, clock_.tsc.ticks() - begin};
  result_pending_ = true;
  return true;
}

void SessionStage::settle() {
  if (!result_pending_) return;
  result_pending_ = false;
  const i32 taken = result_.result;
  put_result(result_, result_stamps_);
  // Dropped whole for lack of room: only a new connection's fence tells what became of these orders.
  if (taken == -ENOBUFS) client_.drop(LostReason::kError, clock_.now_ns);
}

bool SessionStage::login(const LoginHead& head) {
  if (!up_ || head.connection != connection_) return true;  // that connection is gone: nothing to log in to
  soup::SessionId session{};
  std::memcpy(session.data(), head.session, session.size());
  client_.login(session, head.sequence, clock_.now_ns);
  return true;
}

bool SessionStage::stop() {
  if (stopped_) return true;
  client_.stop(clock_.now_ns);
  stopped_ = true;
  shard_->put_closed();
  return true;
}

void SessionStage::on_connected() {
  const journal::SessionStateChange change{1, 0, {}, ++connection_};
  up_ = true;
  shard_->put(RecordType::kSessionState, {}, bytes_of(change), {});
}

void SessionStage::on_packet(Bytes packet) {
  if (packet_refused_) return;
  if (!shard_->put(RecordType::kSession, {}, {}, packet)) packet_refused_ = true;
}

void SessionStage::on_lost(LostReason reason) {
  up_ = false;
  const journal::SessionStateChange change{0, static_cast<u8>(reason), {}, connection_};
  shard_->put(RecordType::kSessionState, {}, bytes_of(change), {});
}

void SessionStage::on_flushed(u32 bytes_asked, i32 result) {
  put_result({last_intent_seq_, bytes_asked, result}, {});
}

void SessionStage::queues(std::vector<QueueUse>& out) const {
  out.push_back({"session backlog", client_.backlog_capacity_bytes(), client_.backlog_high_bytes(), client_.backlog_full()});
  out.push_back({"session reads held", 0, 0, times_held_, "times"});
}

}  // namespace peregrine::engine
