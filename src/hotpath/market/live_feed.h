// Sockets of a live feed: UDP receivers (multicast, unicast, loopback) with kernel stamps and drop counters, the
// re-request socket, the snapshot connection, and LiveFeed, which drives a FeedReceiver with them.
// Everything is nonblocking and polled; no clock is read here: the caller passes `now`.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <string>

#include "core/net_ops.h"
#include "core/types.h"
#include "market/feed_receiver.h"
#include "market/huge_array.h"

namespace peregrine {

struct FeedEndpoint {
  std::string ip;  // dotted IPv4; empty = not used
  u16 port = 0;
  std::string interface_ip = {};  // multicast: join on this interface; empty = the kernel's choice
};

// Nonblocking UDP socket that receives in batches.
class UdpReceiver {
 public:
  static constexpr int kBatch = 32;

  struct Stats {
    u64 datagrams = 0;
    u64 bytes = 0;
    u64 truncated = 0;    // longer than the buffer: dropped
    u64 kernel_drops = 0; // lost in the socket's queue, as the kernel counts them
    u64 errors = 0;
    int receive_buffer_bytes = 0;  // what the kernel granted
    bool kernel_stamps = false;
  };

  explicit UdpReceiver(std::size_t datagram_bytes = 2048, const NetOps& net = system_net_ops());
  ~UdpReceiver();
  UdpReceiver(const UdpReceiver&) = delete;
  UdpReceiver& operator=(const UdpReceiver&) = delete;

  // Binds (port 0 = any free one), joining the group when the address is multicast. "" or what went wrong.
  std::string open(const FeedEndpoint& where, int receive_buffer_bytes = 8 << 20);
  void close();
  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  u16 port() const;

  // Takes what is there, at most one batch; datagram i is then at(i), received by the kernel at stamp_ns(i) (wall
  // clock, 0 = not known). Returns how many.
  int receive();
  Bytes at(int i) const { return {&buffer_[static_cast<std::size_t>(i) * datagram_bytes_], lengths_[i]}; }
  TimeNs stamp_ns(int i) const { return stamps_[i]; }
  bool send(const sockaddr_in& to, Bytes datagram);
  const Stats& stats() const { return stats_; }

 private:
  const NetOps* net_;
  int fd_ = -1;
  std::size_t datagram_bytes_;
  HugeArray<u8> buffer_;
  std::size_t lengths_[kBatch] = {};
  TimeNs stamps_[kBatch] = {};
  struct Headers;  // the kernel's message headers, set up once
  std::unique_ptr<Headers> headers_;
  Stats stats_;
};

// The client's end of a SoupBinTCP snapshot service: connect, log in, read packets.
class SnapshotClient {
 public:
  struct Login {
    std::string username;
    std::string password;
    std::string session;  // empty = the current one
  };
  class Handler {
   public:
    virtual ~Handler() = default;
    virtual void on_snapshot_packet(u8 type, Bytes payload) = 0;
    virtual void on_snapshot_closed() = 0;
  };

  SnapshotClient() : buffer_(kBufferBytes) {}
  ~SnapshotClient() { close(); }
  SnapshotClient(const SnapshotClient&) = delete;
  SnapshotClient& operator=(const SnapshotClient&) = delete;

  std::string open(const FeedEndpoint& where, const Login& login, TimeNs now);
  void close();
  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  // Moves bytes and hands whole packets to `h`; may call h.on_snapshot_closed(). Returns packets handed over.
  int poll(TimeNs now, Handler& h);

 private:
  static constexpr std::size_t kBufferBytes = 1u << 18;  // more than the largest packet (65,537 bytes)
  bool flush();

  int fd_ = -1;
  bool connected_ = false;
  std::string out_;  // login and heartbeats still to be written
  TimeNs heartbeat_due_ns_ = 0;
  std::size_t have_ = 0;
  HugeArray<u8> buffer_;
};

struct LiveFeedConfig {
  FeedReceiverConfig receiver;
  FeedEndpoint line_a;
  FeedEndpoint line_b;          // unused when its ip is empty
  FeedEndpoint request_server;  // unused when its ip is empty
  FeedEndpoint snapshot_server;
  SnapshotClient::Login snapshot_login;
  int receive_buffer_bytes = 8 << 20;
  std::size_t datagram_bytes = 2048;
};

// A FeedReceiver on real sockets. Blocks, snapshot blocks and states go to `out`; its request and snapshot calls are
// made here and not passed on.
class LiveFeed final : private FeedSink, private SnapshotClient::Handler {
 public:
  LiveFeed(const LiveFeedConfig& config, FeedSink& out);

  std::string open(TimeNs now);  // "" or what went wrong
  // One turn: a batch of each line, the answers, the snapshot, the timers. Returns datagrams and packets taken.
  int poll(TimeNs now);
  void close();

  FeedReceiver& receiver() { return receiver_; }
  const FeedReceiver& receiver() const { return receiver_; }
  const UdpReceiver& line(int i) const { return i == 0 ? a_ : b_; }
  // Kernel receive stamp (wall clock) of the datagram whose blocks are being delivered; 0 = not known.
  TimeNs kernel_stamp_ns() const { return kernel_stamp_ns_; }
  u64 failed_opens() const { return failed_opens_; }  // snapshot connections that could not be made

 private:
  void on_block(u64 seq, u8 line, Bytes msg) override { out_.on_block(seq, line, msg); }
  void on_snapshot_block(u64 n, Bytes msg) override { out_.on_snapshot_block(n, msg); }
  void on_state(const journal::FeedStateChange& c) override { out_.on_state(c); }
  void request(u64 seq, u16 count) override;
  void open_snapshot() override;
  void close_snapshot() override { snapshot_.close(); }
  void on_snapshot_packet(u8 type, Bytes payload) override { receiver_.on_snapshot_packet(type, payload, now_); }
  void on_snapshot_closed() override { receiver_.on_snapshot_closed(now_); }
  int take(UdpReceiver& from, u8 line);

  LiveFeedConfig config_;
  FeedSink& out_;
  FeedReceiver receiver_;
  UdpReceiver a_;
  UdpReceiver b_;
  UdpReceiver answers_;
  SnapshotClient snapshot_;
  sockaddr_in request_to_{};
  TimeNs now_ = 0;
  TimeNs kernel_stamp_ns_ = 0;
  bool open_failed_ = false;  // told to the receiver at the next poll, never from within its own call
  u64 failed_opens_ = 0;
};

}  // namespace peregrine
