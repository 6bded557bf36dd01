// The few socket calls the engine makes, as a table: the product uses the system's, a simulation its own network.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>

#include "core/types.h"

namespace peregrine {

// Every call returns what the system's would, or -errno instead of -1. IPv4 only.
struct NetOps {
  void* context;
  int (*socket)(void* context, int type);  // SOCK_STREAM or SOCK_DGRAM; nonblocking, closed on exec
  int (*set_option)(void* context, int fd, int level, int name, const void* value, socklen_t bytes);
  int (*get_option)(void* context, int fd, int level, int name, void* value, socklen_t* bytes);
  int (*bind)(void* context, int fd, const sockaddr_in& address);
  int (*local_address)(void* context, int fd, sockaddr_in& address);
  int (*connect)(void* context, int fd, const sockaddr_in& peer);
  int (*writable)(void* context, int fd);  // 1: a connection under way has come to its end, good or bad
  ssize_t (*send)(void* context, int fd, const void* data, std::size_t bytes);
  ssize_t (*receive)(void* context, int fd, void* data, std::size_t bytes);
  ssize_t (*send_to)(void* context, int fd, const void* data, std::size_t bytes, const sockaddr_in& to);
  int (*receive_batch)(void* context, int fd, mmsghdr* messages, unsigned count);
  int (*close)(void* context, int fd);
};

const NetOps& system_net_ops();

}  // namespace peregrine
