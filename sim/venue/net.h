// The few socket calls the venue needs, IPv4 only; every failure is a std::system_error that says what was tried.
#pragma once

#include <netinet/in.h>

#include <string>

#include "core/types.h"

namespace peregrine::venue {

// "127.0.0.1:9000" or "239.1.2.3:9000"; throws std::invalid_argument when it is neither.
sockaddr_in parse_address(const std::string& text);
std::string format_address(const sockaddr_in& address);
bool is_multicast(const sockaddr_in& address);

int listen_tcp(const std::string& host, u16 port);
int bind_udp(const std::string& host, u16 port);
// A socket to send feed datagrams from; multicast goes out on `host`'s interface and stays on this machine.
int feed_socket(const std::string& host, const sockaddr_in& destination);
sockaddr_in local_address(int fd);
struct FeedPort {
  u16 port;
  int held;  // close it when the port is used no more
};
// A UDP port nobody uses now, for a destination given with port 0. It is the receiver who binds it, so nothing keeps
// another venue from finding it free until then: the TCP port of the same number is held for that.
FeedPort claim_feed_port(const std::string& host);
void set_nodelay(int fd);
// Closes so that the peer sees a reset, as when the machine dies.
void close_with_reset(int fd);

}  // namespace peregrine::venue
