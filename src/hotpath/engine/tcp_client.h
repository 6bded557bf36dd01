// A non-blocking TCP connection to a numeric loopback or LAN address; results are values, never exceptions.
#pragma once

#include <string>

#include "core/net_ops.h"
#include "core/types.h"

namespace peregrine::engine {

struct Endpoint {
  std::string host;  // dotted quad
  u16 port = 0;
};

// Parses "127.0.0.1:7000"; false when it is not a numeric IPv4 endpoint.
bool parse_endpoint(const std::string& text, Endpoint& out);

class TcpClient {
 public:
  enum class State : u8 { kClosed, kConnecting, kOpen };

  explicit TcpClient(const NetOps& net = system_net_ops()) : net_(&net) {}
  ~TcpClient() { close(); }
  TcpClient(const TcpClient&) = delete;
  TcpClient& operator=(const TcpClient&) = delete;

  // Begins connecting (TCP_NODELAY, non-blocking). Returns 0 or -errno.
  int open(const Endpoint& peer);
  // Advances a connection under way; returns the state after it, kClosed with last_error() set on failure.
  State poll_connect();
  void close();

  // Bytes read (>0), 0 when nothing is there, -errno on failure, kPeerClosed when the peer closed.
  static constexpr int kPeerClosed = -1'000'000;
  int receive(u8* buffer, std::size_t capacity);
  // Bytes taken, or -errno (would block = -EAGAIN).
  int send(Bytes bytes);

  State state() const { return state_; }
  int last_error() const { return last_error_; }
  int fd() const { return fd_; }

 private:
  const NetOps* net_;
  int fd_ = -1;
  State state_ = State::kClosed;
  int last_error_ = 0;
};

}  // namespace peregrine::engine
