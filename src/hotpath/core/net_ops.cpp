#include "core/net_ops.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

namespace peregrine {
namespace {

int result(int rc) { return rc < 0 ? -errno : rc; }
ssize_t result(ssize_t n) { return n < 0 ? -errno : n; }
const sockaddr* plain(const sockaddr_in& a) { return reinterpret_cast<const sockaddr*>(&a); }

int sys_socket(void*, int type) { return result(::socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }
int sys_set_option(void*, int fd, int level, int name, const void* value, socklen_t bytes) {
  return result(::setsockopt(fd, level, name, value, bytes));
}
int sys_get_option(void*, int fd, int level, int name, void* value, socklen_t* bytes) {
  return result(::getsockopt(fd, level, name, value, bytes));
}
int sys_bind(void*, int fd, const sockaddr_in& address) { return result(::bind(fd, plain(address), sizeof address)); }
int sys_local_address(void*, int fd, sockaddr_in& address) {
  socklen_t n = sizeof address;
  return result(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &n));
}
int sys_connect(void*, int fd, const sockaddr_in& peer) { return result(::connect(fd, plain(peer), sizeof peer)); }
int sys_writable(void*, int fd) {
  pollfd p{fd, POLLOUT, 0};
  return result(::poll(&p, 1, 0));
}
ssize_t sys_send(void*, int fd, const void* data, std::size_t bytes) {
  return result(::send(fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL));
}
ssize_t sys_receive(void*, int fd, void* data, std::size_t bytes) {
  return result(::recv(fd, data, bytes, MSG_DONTWAIT));
}
ssize_t sys_send_to(void*, int fd, const void* data, std::size_t bytes, const sockaddr_in& to) {
  return result(::sendto(fd, data, bytes, MSG_DONTWAIT, plain(to), sizeof to));
}
int sys_receive_batch(void*, int fd, mmsghdr* messages, unsigned count) {
  return result(::recvmmsg(fd, messages, count, MSG_DONTWAIT, nullptr));
}
int sys_close(void*, int fd) { return result(::close(fd)); }

}  // namespace

const NetOps& system_net_ops() {
  static constexpr NetOps kOps = {nullptr,      sys_socket, sys_set_option, sys_get_option,    sys_bind,
                                  sys_local_address, sys_connect, sys_writable, sys_send, sys_receive,
                                  sys_send_to,  sys_receive_batch, sys_close};
  return kOps;
}

}  // namespace peregrine
