#include "market/feed_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace peregrine {

namespace {

std::string failure(const FeedSocketConfig& c, const std::string& doing, const std::string& hint) {
  return doing + " " + c.host + ":" + std::to_string(c.port) + ": " + std::strerror(errno) + " (hint: " + hint + ")";
}

}  // namespace

std::string FeedSocket::open(const FeedSocketConfig& c) {
  close();
  in_addr host{}, interface{};
  if (inet_pton(AF_INET, c.host.c_str(), &host) != 1) return "feed address '" + c.host + "' is not an IPv4 address";
  if (inet_pton(AF_INET, c.interface_address.c_str(), &interface) != 1) interface.s_addr = htonl(INADDR_ANY);
  fd_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return failure(c, "socket for", "raise the limit on open files");
  const int one = 1;
  const bool multicast = IN_MULTICAST(ntohl(host.s_addr));
  if (multicast) ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  ::setsockopt(fd_, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
  // The forced size needs CAP_NET_ADMIN; else the kernel grants up to net.core.rmem_max.
  if (::setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &c.receive_buffer_bytes, sizeof(int)) != 0) {
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &c.receive_buffer_bytes, sizeof(int));
  }
  socklen_t n = sizeof granted_bytes_;
  ::getsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &granted_bytes_, &n);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(c.port);
  address.sin_addr = host;  // a group address is bound too, so that only its datagrams arrive
  if (::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    std::string text = failure(c, "binding", "is another engine or client listening there?");
    close();
    return text;
  }
  if (multicast) {
    ip_mreq membership{host, interface};
    if (::setsockopt(fd_, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership) != 0) {
      std::string text = failure(c, "joining", "name the interface that carries the group");
      close();
      return text;
    }
  }
  buffer_ = std::make_unique<u8[]>(kBufferBytes);
  return {};
}

void FeedSocket::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

int FeedSocket::receive_one() {
  iovec io{buffer_.get(), kBufferBytes};
  alignas(cmsghdr) char control[64];
  msghdr m{};
  m.msg_iov = &io;
  m.msg_iovlen = 1;
  m.msg_control = control;
  m.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(fd_, &m, MSG_DONTWAIT);
  if (n < 0) return -1;
  if (m.msg_flags & MSG_TRUNC) ++truncated_;
  for (cmsghdr* h = CMSG_FIRSTHDR(&m); h != nullptr; h = CMSG_NXTHDR(&m, h)) {
    if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SO_RXQ_OVFL) {
      u32 dropped;
      std::memcpy(&dropped, CMSG_DATA(h), sizeof dropped);
      drops_ = dropped;
    }
  }
  return static_cast<int>(n);
}

bool FeedSocket::send_to(const std::string& host, u16 port, Bytes bytes) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  if (inet_pton(AF_INET, host.c_str(), &to.sin_addr) != 1) return false;
  const ssize_t n = ::sendto(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  return n == static_cast<ssize_t>(bytes.size());
}

}  // namespace peregrine
