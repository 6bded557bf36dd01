#include "engine/soup_client.h"

#include <cerrno>
#include <cstring>

namespace peregrine::engine {

namespace {
constexpr std::size_t kInboxBytes = 64 * 1024;
constexpr u8 kHeartbeatPacket[] = {0, 1, soup::kClientHeartbeat};
constexpr u8 kLogoutPacket[] = {0, 1, soup::kLogout};
}  // namespace

SoupClient::SoupClient(const SoupClientConfig& config, SoupHandler& handler)
    : config_(config),
      handler_(handler),
      tcp_(config.net != nullptr ? *config.net : system_net_ops()),
      backlog_(std::make_unique<u8[]>(config.send_buffer_bytes)),
      inbox_(std::make_unique<u8[]>(kInboxBytes)) {}

void SoupClient::opened(TimeNs now) {
  ++connections_;
  framer_.reset();
  backlog_begin_ = backlog_end_ = 0;
  heard_ns_ = sent_ns_ = now;
  handler_.on_connected();
}

bool SoupClient::login(const soup::SessionId& session, u64 sequence, TimeNs now) {
  if (!connected()) return false;
  soup::LoginRequest login;
  store_alpha(reinterpret_cast<u8*>(login.username.data()), login.username.size(), config_.username.data(),
              config_.username.size());
  store_alpha(reinterpret_cast<u8*>(login.password.data()), login.password.size(), config_.password.data(),
              config_.password.size());
  login.session = session;
  login.sequence = sequence;
  u8 payload[soup::kLoginRequestBytes];
  const std::size_t n = soup::encode(login, payload);
  u8 packet[soup::kLoginRequestBytes + 3];
  return send(Bytes(packet, soup::frame(soup::kLoginRequest, Bytes(payload, n), packet)), now) >= 0;
}

bool SoupClient::poll(TimeNs now, std::size_t most_bytes) {
  switch (tcp_.state()) {
    case TcpClient::State::kClosed:
      if (!wanted_ || now < retry_at_ns_) return false;
      retry_at_ns_ = now + config_.reconnect_delay_ns;
      connect_since_ns_ = now;
      tcp_.open(config_.peer);
      if (tcp_.state() == TcpClient::State::kOpen) opened(now);
      return true;
    case TcpClient::State::kConnecting:
      if (tcp_.poll_connect() == TcpClient::State::kOpen) {
        opened(now);
        return true;
      }
      if (now - connect_since_ns_ > config_.connect_timeout_ns) tcp_.close();
      return false;
    case TcpClient::State::kOpen:
      break;
  }
  bool busy = backlog_bytes() > 0 && flush(now);
  if (!connected()) return true;
  const int n = most_bytes == 0 ? 0 : tcp_.receive(inbox_.get(), most_bytes < kInboxBytes ? most_bytes : kInboxBytes);
  if (most_bytes == 0) heard_ns_ = now;
  if (n > 0) {
    heard_ns_ = now;
    busy = true;
    bool ended = false;
    framer_.push(Bytes(inbox_.get(), static_cast<std::size_t>(n)), [&](Bytes packet) {
      if (packet[0] == soup::kServerHeartbeat || packet[0] == soup::kDebug || ended) return;
      ended = packet[0] == soup::kEndOfSession || packet[0] == soup::kLoginRejected;
      handler_.on_packet(packet);
    });
    if (ended && connected()) {
      drop(LostReason::kClosedByPeer, now);
      return true;
    }
  } else if (n == TcpClient::kPeerClosed) {
    drop(LostReason::kClosedByPeer, now);
    return true;
  } else if (n < 0) {
    drop(LostReason::kError, now);
    return true;
  }
  if (!connected()) return true;
  if (now - heard_ns_ > config_.silence_limit_ns) {
    drop(LostReason::kSilence, now);
    return true;
  }
  if (now - sent_ns_ > config_.heartbeat_idle_ns) send(Bytes(kHeartbeatPacket, sizeof kHeartbeatPacket), now);
  return busy;
}

i32 SoupClient::send(Bytes packets, TimeNs now) {
  if (!connected()) return -ENOTCONN;
  sent_ns_ = now;
  i32 taken = 0;
  if (backlog_bytes() == 0) {
    taken = tcp_.send(packets);
    if (taken < 0 && taken != -EAGAIN) return taken;
    if (taken == -EAGAIN) taken = 0;
  }
  const std::size_t rest = packets.size() - static_cast<std::size_t>(taken);
  if (rest > 0) {
    if (backlog_end_ + rest > config_.send_buffer_bytes) {
      ++backlog_full_;
      return -ENOBUFS;
    }
    std::memcpy(backlog_.get() + backlog_end_, packets.data() + taken, rest);
    backlog_end_ += rest;
    if (backlog_bytes() > backlog_high_) backlog_high_ = backlog_bytes();
  }
  return taken;
}

bool SoupClient::flush(TimeNs now) {
  const std::size_t asked = backlog_bytes();
  const int n = tcp_.send(Bytes(backlog_.get() + backlog_begin_, asked));
  if (n == -EAGAIN) return false;
  if (n < 0) {
    handler_.on_flushed(static_cast<u32>(asked), n);
    drop(LostReason::kError, now);
    return true;
  }
  backlog_begin_ += static_cast<std::size_t>(n);
  if (backlog_begin_ == backlog_end_) backlog_begin_ = backlog_end_ = 0;
  handler_.on_flushed(static_cast<u32>(asked), n);
  return true;
}

void SoupClient::drop(LostReason reason, TimeNs now) {
  if (tcp_.state() == TcpClient::State::kClosed) return;
  const bool was_open = connected();
  tcp_.close();
  backlog_begin_ = backlog_end_ = 0;
  retry_at_ns_ = now + config_.reconnect_delay_ns;
  if (was_open) handler_.on_lost(reason);
}

void SoupClient::stop(TimeNs now) {
  wanted_ = false;
  // Never behind half a packet: the venue would read it as that packet's end.
  if (connected() && backlog_bytes() == 0) tcp_.send(Bytes(kLogoutPacket, sizeof kLogoutPacket));
  drop(LostReason::kByUs, now);
}

}  // namespace peregrine::engine
