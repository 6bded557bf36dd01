#include "engine/tcp_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <charconv>

namespace peregrine::engine {

bool parse_endpoint(const std::string& text, Endpoint& out) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return false;
  unsigned port = 0;
  const char* first = text.data() + colon + 1;
  const char* last = text.data() + text.size();
  const auto parsed = std::from_chars(first, last, port);
  if (parsed.ec != std::errc{} || parsed.ptr != last || port == 0 || port > 65'535) return false;
  in_addr address{};
  const std::string host = text.substr(0, colon);
  if (inet_pton(AF_INET, host.c_str(), &address) != 1) return false;
  out.host = host;
  out.port = static_cast<u16>(port);
  return true;
}

int TcpClient::open(const Endpoint& peer) {
  close();
  fd_ = net_->socket(net_->context, SOCK_STREAM);
  if (fd_ < 0) {
    last_error_ = -fd_;
    return fd_;
  }
  const int one = 1;
  net_->set_option(net_->context, fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(peer.port);
  inet_pton(AF_INET, peer.host.c_str(), &address.sin_addr);
  last_error_ = 0;
  const int rc = net_->connect(net_->context, fd_, address);
  if (rc == 0) {
    state_ = State::kOpen;
    return 0;
  }
  if (rc == -EINPROGRESS) {
    state_ = State::kConnecting;
    return 0;
  }
  close();
  last_error_ = -rc;
  return rc;
}

TcpClient::State TcpClient::poll_connect() {
  if (state_ != State::kConnecting) return state_;
  if (net_->writable(net_->context, fd_) <= 0) return state_;
  int error = 0;
  socklen_t n = sizeof error;
  net_->get_option(net_->context, fd_, SOL_SOCKET, SO_ERROR, &error, &n);
  if (error != 0) {
    close();
    last_error_ = error;
    return state_;
  }
  return state_ = State::kOpen;
}

void TcpClient::close() {
  if (fd_ >= 0) net_->close(net_->context, fd_);
  fd_ = -1;
  state_ = State::kClosed;
}

int TcpClient::receive(u8* buffer, std::size_t capacity) {
  const int n = static_cast<int>(net_->receive(net_->context, fd_, buffer, capacity));
  if (n > 0) return n;
  if (n == 0) return kPeerClosed;
  if (n == -EAGAIN || n == -EWOULDBLOCK || n == -EINTR) return 0;
  last_error_ = -n;
  return n;
}

int TcpClient::send(Bytes bytes) {
  const int n = static_cast<int>(net_->send(net_->context, fd_, bytes.data(), bytes.size()));
  if (n < 0) last_error_ = -n;
  return n;
}

}  // namespace peregrine::engine
