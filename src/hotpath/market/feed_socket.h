// A non-blocking UDP socket of the feed: unicast, multicast or loopback, with the kernel's drop count.
#pragma once

#include <memory>
#include <string>

#include "core/types.h"

namespace peregrine {

struct FeedSocketConfig {
  std::string host;               // address to bind, or the multicast group to join
  u16 port = 0;                   // 0 = any free one (a socket that only asks)
  std::string interface_address;  // joins a group here
  int receive_buffer_bytes = 8 << 20;
};

class FeedSocket {
 public:
  FeedSocket() = default;
  ~FeedSocket() { close(); }
  FeedSocket(const FeedSocket&) = delete;
  FeedSocket& operator=(const FeedSocket&) = delete;

  // Empty, or what failed and the fix.
  std::string open(const FeedSocketConfig& config);
  void close();
  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  // Hands on up to `most` datagrams, each valid during the call only. Returns how many.
  template <class F>
  u32 receive(u32 most, F&& on_packet) {
    u32 n = 0;
    for (; n < most; ++n) {
      const int size = receive_one();
      if (size < 0) break;
      on_packet(Bytes(buffer_.get(), static_cast<std::size_t>(size)));
    }
    return n;
  }
  // False when the kernel refused it: a re-request is tried again anyway.
  bool send_to(const std::string& host, u16 port, Bytes bytes);
  // Datagrams the kernel threw away because the receive buffer was full.
  u64 drops() const { return drops_; }
  u64 truncated() const { return truncated_; }
  int granted_buffer_bytes() const { return granted_bytes_; }

 private:
  int receive_one();  // -1 = nothing there

  static constexpr std::size_t kBufferBytes = 65'536;
  int fd_ = -1;
  int granted_bytes_ = 0;
  u64 drops_ = 0;
  u64 truncated_ = 0;
  std::unique_ptr<u8[]> buffer_;
};

}  // namespace peregrine
