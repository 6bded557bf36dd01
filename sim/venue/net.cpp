#include "venue/net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <stdexcept>
#include <system_error>

namespace peregrine::venue {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

sockaddr_in address_of(const std::string& host, u16 port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  if (inet_pton(AF_INET, host.c_str(), &a.sin_addr) != 1) {
    throw std::invalid_argument("\"" + host + "\" is not an IPv4 address such as 127.0.0.1");
  }
  return a;
}

int make_socket(int type) {
  const int fd = ::socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  return fd;
}

int bound(int type, const std::string& host, u16 port) {
  const sockaddr_in a = address_of(host, port);
  const int fd = make_socket(type);
  const int on = 1;
  if (type == SOCK_STREAM) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0) {
    const int saved = errno;
    ::close(fd);
    errno = saved;
    fail("binding " + host + ":" + std::to_string(port));
  }
  return fd;
}

}  // namespace

sockaddr_in parse_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  u32 port = 0;
  if (colon != std::string::npos) {
    const char* end = text.data() + text.size();
    const auto r = std::from_chars(text.data() + colon + 1, end, port);
    if (r.ec == std::errc() && r.ptr == end && port <= 65535) {
      return address_of(text.substr(0, colon), static_cast<u16>(port));
    }
  }
  throw std::invalid_argument("\"" + text + "\" is not an address such as 127.0.0.1:9000");
}

std::string format_address(const sockaddr_in& a) {
  char host[INET_ADDRSTRLEN] = {};
  inet_ntop(AF_INET, &a.sin_addr, host, sizeof host);
  return std::string(host) + ":" + std::to_string(ntohs(a.sin_port));
}

bool is_multicast(const sockaddr_in& a) { return (ntohl(a.sin_addr.s_addr) >> 28) == 0xE; }

int listen_tcp(const std::string& host, u16 port) {
  const int fd = bound(SOCK_STREAM, host, port);
  if (::listen(fd, 16) != 0) fail("listening on " + host + ":" + std::to_string(port));
  return fd;
}

int bind_udp(const std::string& host, u16 port) { return bound(SOCK_DGRAM, host, port); }

int feed_socket(const std::string& host, const sockaddr_in& destination) {
  const int fd = make_socket(SOCK_DGRAM);
  const int bytes = 4 << 20;
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  if (is_multicast(destination)) {
    const in_addr interface = address_of(host, 0).sin_addr;
    const u8 on = 1, ttl = 0;
    ::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface);
    ::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &on, sizeof on);
    ::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof ttl);
  }
  return fd;
}

sockaddr_in local_address(int fd) {
  sockaddr_in a{};
  socklen_t n = sizeof a;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &n) != 0) fail("getsockname");
  return a;
}

FeedPort claim_feed_port(const std::string& host) {
  for (;;) {
    const int probe = bind_udp(host, 0);
    const u16 port = ntohs(local_address(probe).sin_port);
    const sockaddr_in a = address_of(host, port);
    const int held = make_socket(SOCK_STREAM);  // without SO_REUSEADDR: with it two could hold one number
    const bool ours = ::bind(held, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0;
    ::close(probe);
    if (ours) return {port, held};
    ::close(held);
  }
}

void set_nodelay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void close_with_reset(int fd) {
  const linger l{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
  ::close(fd);
}

}  // namespace peregrine::venue
