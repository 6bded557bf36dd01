#include "engine/tcp_client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

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
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return -(last_error_ = errno);
  const int one = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(peer.port);
  inet_pton(AF_INET, peer.host.c_str(), &address.sin_addr);
  last_error_ = 0;
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    state_ = State::kOpen;
    return 0;
  }
  if (errno == EINPROGRESS) {
    state_ = State::kConnecting;
    return 0;
  }
  const int error = errno;
  close();
  last_error_ = error;
  return -error;
}

TcpClient::State TcpClient::poll_connect() {
  if (state_ != State::kConnecting) return state_;
  pollfd p{fd_, POLLOUT, 0};
  if (::poll(&p, 1, 0) <= 0) return state_;
  int error = 0;
  socklen_t n = sizeof error;
  ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &n);
  if (error != 0) {
    close();
    last_error_ = error;
    return state_;
  }
  return state_ = State::kOpen;
}

void TcpClient::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  state_ = State::kClosed;
}

int TcpClient::receive(u8* buffer, std::size_t capacity) {
  const ssize_t n = ::recv(fd_, buffer, capacity, MSG_DONTWAIT);
  if (n > 0) return static_cast<int>(n);
  if (n == 0) return kPeerClosed;
  return (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? 0 : -(last_error_ = errno);
}

int TcpClient::send(Bytes bytes) {
  const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return n >= 0 ? static_cast<int>(n) : -(last_error_ = errno);
}

}  // namespace peregrine::engine
