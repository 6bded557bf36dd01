// The transport of a SoupBinTCP session: connects, logs in, keeps the heartbeats, cuts the stream into packets.
//
// It decides nothing about orders. Credentials live here and nowhere else: login bytes are never journaled.
//
//   closed ──(reconnect delay)──▶ connecting ──▶ open: login sent ──▶ packets … ──▶ closed
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/types.h"
#include "engine/tcp_client.h"
#include "execution/soup.h"

namespace peregrine::engine {

struct SoupClientConfig {
  Endpoint peer;
  std::string username;
  std::string password;
  TimeNs reconnect_delay_ns = 200'000'000;
  TimeNs heartbeat_idle_ns = soup::kHeartbeatIdleNs;
  TimeNs silence_limit_ns = soup::kSilenceLimitNs;
  TimeNs connect_timeout_ns = 2'000'000'000;
  std::size_t send_buffer_bytes = 1u << 20;
  const NetOps* net = nullptr;  // nullptr = the system's
};

// Why a connection ended; the numbers are those of journal::SessionStateChange.reason.
enum class LostReason : u8 { kByUs = 0, kClosedByPeer = 1, kError = 2, kSilence = 3, kLoginTimeout = 4 };

class SoupHandler {
 public:
  // The TCP connection stands; login() is the next thing the venue wants, now or a little later.
  virtual void on_connected() = 0;
  // One packet, type byte + payload; heartbeats are not handed on.
  virtual void on_packet(Bytes packet) = 0;
  virtual void on_lost(LostReason reason) = 0;
  // Bytes left over from an earlier send have gone (or failed): result as of a send call.
  virtual void on_flushed(u32 bytes_asked, i32 result) = 0;

 protected:
  ~SoupHandler() = default;
};

class SoupClient {
 public:
  SoupClient(const SoupClientConfig& config, SoupHandler& handler);

  void start() { wanted_ = true; }
  // One round of connect, receive, heartbeat and leftover sends. Returns whether anything happened. At most
  // `most_bytes` are read from the socket; with 0 the venue's bytes stay there, and its silence is not counted.
  bool poll(TimeNs now, std::size_t most_bytes = SIZE_MAX);
  // Logs in with the configured name; false when no connection stands.
  bool login(const soup::SessionId& session, u64 sequence, TimeNs now);
  // Sends whole packets. Returns bytes taken by the socket now, or -errno; what was not taken is kept and goes first
  // later (would block is then 0 bytes taken). -ENOTCONN when no connection stands, -ENOBUFS when too much waits.
  i32 send(Bytes packets, TimeNs now);
  // Logs out and closes; no reconnect until start().
  void stop(TimeNs now);
  void drop(LostReason reason, TimeNs now);

  bool connected() const { return tcp_.state() == TcpClient::State::kOpen; }
  std::size_t backlog_bytes() const { return backlog_end_ - backlog_begin_; }
  std::size_t backlog_capacity_bytes() const { return config_.send_buffer_bytes; }
  std::size_t backlog_high_bytes() const { return backlog_high_; }
  u64 backlog_full() const { return backlog_full_; }
  u64 connections() const { return connections_; }
  int fd() const { return tcp_.fd(); }

 private:
  bool flush(TimeNs now);
  void opened(TimeNs now);

  SoupClientConfig config_;
  SoupHandler& handler_;
  TcpClient tcp_;
  soup::Framer framer_;
  bool wanted_ = false;
  TimeNs retry_at_ns_ = 0;
  TimeNs connect_since_ns_ = 0;
  TimeNs sent_ns_ = 0;
  TimeNs heard_ns_ = 0;
  u64 connections_ = 0;
  std::size_t backlog_begin_ = 0;
  std::size_t backlog_end_ = 0;
  std::size_t backlog_high_ = 0;
  u64 backlog_full_ = 0;
  std::unique_ptr<u8[]> backlog_;
  std::unique_ptr<u8[]> inbox_;
};

}  // namespace peregrine::engine
