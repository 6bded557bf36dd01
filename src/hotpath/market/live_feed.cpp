#include "market/live_feed.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "core/bytes.h"

namespace peregrine {
namespace {

std::string failure(const char* what, const FeedEndpoint& e, int rc) {
  return std::string(what) + " " + e.ip + ":" + std::to_string(e.port) + ": " + std::strerror(-rc);
}

bool parse(const FeedEndpoint& e, sockaddr_in& out) {
  out = {};
  out.sin_family = AF_INET;
  out.sin_port = htons(e.port);
  return inet_pton(AF_INET, e.ip.c_str(), &out.sin_addr) == 1;
}

bool is_multicast(const sockaddr_in& a) { return (ntohl(a.sin_addr.s_addr) >> 28) == 14; }

}  // namespace

struct UdpReceiver::Headers {
  mmsghdr messages[kBatch];
  iovec pieces[kBatch];
  alignas(cmsghdr) u8 control[kBatch][CMSG_SPACE(sizeof(timespec)) + CMSG_SPACE(sizeof(u32))];
};

UdpReceiver::UdpReceiver(std::size_t datagram_bytes, const NetOps& net)
    : net_(&net),
      datagram_bytes_(datagram_bytes),
      buffer_(kBatch * datagram_bytes),
      headers_(std::make_unique<Headers>()) {
  std::memset(headers_.get(), 0, sizeof(Headers));
  for (int i = 0; i < kBatch; ++i) {
    headers_->pieces[i] = {&buffer_[static_cast<std::size_t>(i) * datagram_bytes_], datagram_bytes_};
    headers_->messages[i].msg_hdr.msg_iov = &headers_->pieces[i];
    headers_->messages[i].msg_hdr.msg_iovlen = 1;
    headers_->messages[i].msg_hdr.msg_control = headers_->control[i];
  }
}

UdpReceiver::~UdpReceiver() { close(); }

std::string UdpReceiver::open(const FeedEndpoint& where, int receive_buffer_bytes) {
  close();
  sockaddr_in addr;
  if (!parse(where, addr)) return where.ip + ": not an IPv4 address";
  void* const c = net_->context;
  fd_ = net_->socket(c, SOCK_DGRAM);
  if (fd_ < 0) return failure("socket for", where, fd_);
  const int on = 1;
  // Only a group may be shared with other receivers; a second unicast binding would steal its datagrams.
  if (is_multicast(addr)) net_->set_option(c, fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  net_->set_option(c, fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
  socklen_t n = sizeof stats_.receive_buffer_bytes;
  net_->get_option(c, fd_, SOL_SOCKET, SO_RCVBUF, &stats_.receive_buffer_bytes, &n);
  stats_.kernel_stamps = net_->set_option(c, fd_, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) == 0;
#ifdef SO_RXQ_OVFL
  net_->set_option(c, fd_, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
#endif
  // Bound to the group itself, a socket sees no other group's datagrams on the same port.
  if (const int rc = net_->bind(c, fd_, addr); rc != 0) {
    close();
    return failure("bind to", where, rc);
  }
  if (is_multicast(addr)) {
    ip_mreqn group{};
    group.imr_multiaddr = addr.sin_addr;
    sockaddr_in via;
    if (parse({where.interface_ip, 0}, via)) group.imr_address = via.sin_addr;
    if (const int rc = net_->set_option(c, fd_, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group); rc != 0) {
      close();
      return failure("joining group", where, rc);
    }
  }
  return {};
}

void UdpReceiver::close() {
  if (fd_ >= 0) net_->close(net_->context, fd_);
  fd_ = -1;
}

u16 UdpReceiver::port() const {
  sockaddr_in a{};
  return fd_ >= 0 && net_->local_address(net_->context, fd_, a) == 0 ? ntohs(a.sin_port) : 0;
}

int UdpReceiver::receive() {
  if (fd_ < 0) return 0;
  for (int i = 0; i < kBatch; ++i) {
    headers_->messages[i].msg_hdr.msg_controllen = sizeof headers_->control[i];
    headers_->messages[i].msg_hdr.msg_flags = 0;
  }
  const int n = net_->receive_batch(net_->context, fd_, headers_->messages, kBatch);
  if (n <= 0) {
    if (n < 0 && n != -EAGAIN && n != -EWOULDBLOCK && n != -EINTR) ++stats_.errors;
    return 0;
  }
  for (int i = 0; i < n; ++i) {
    msghdr& h = headers_->messages[i].msg_hdr;
    lengths_[i] = headers_->messages[i].msg_len;
    stamps_[i] = 0;
    ++stats_.datagrams;
    stats_.bytes += lengths_[i];
    if ((h.msg_flags & MSG_TRUNC) != 0) {
      ++stats_.truncated;
      lengths_[i] = 0;
    }
    for (cmsghdr* c = CMSG_FIRSTHDR(&h); c != nullptr; c = CMSG_NXTHDR(&h, c)) {
      if (c->cmsg_level != SOL_SOCKET) continue;
      if (c->cmsg_type == SCM_TIMESTAMPNS) {
        timespec t;
        std::memcpy(&t, CMSG_DATA(c), sizeof t);
        stamps_[i] = static_cast<TimeNs>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
      }
#ifdef SO_RXQ_OVFL
      if (c->cmsg_type == SO_RXQ_OVFL) {
        u32 drops;  // since the socket was opened
        std::memcpy(&drops, CMSG_DATA(c), sizeof drops);
        stats_.kernel_drops = drops;
      }
#endif
    }
  }
  return n;
}

bool UdpReceiver::send(const sockaddr_in& to, Bytes datagram) {
  const ssize_t n = net_->send_to(net_->context, fd_, datagram.data(), datagram.size(), to);
  return n == static_cast<ssize_t>(datagram.size());
}

std::string SnapshotClient::open(const FeedEndpoint& where, const Login& login, TimeNs now) {
  close();
  sockaddr_in addr;
  if (!parse(where, addr)) return where.ip + ": not an IPv4 address";
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return failure("socket for", where, -errno);
  const int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&addr), sizeof addr) != 0 && errno != EINPROGRESS) {
    const std::string error = failure("connecting to", where, -errno);
    close();
    return error;
  }
  // Login request: username(6) password(10) session(10, blank = current) sequence(20, from the first).
  out_.assign(49, ' ');
  u8* p = reinterpret_cast<u8*>(out_.data());
  store_be16(p, 47);
  p[2] = 'L';
  store_alpha(p + 3, 6, login.username.data(), login.username.size());
  store_alpha(p + 9, 10, login.password.data(), login.password.size());
  const std::size_t n = login.session.size() < 10 ? login.session.size() : 10;
  std::memcpy(p + 29 - n, login.session.data(), n);  // padded on the left
  p[48] = '1';
  heartbeat_due_ns_ = now + 1'000'000'000;
  return {};
}

void SnapshotClient::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  connected_ = false;
  have_ = 0;
  out_.clear();
}

bool SnapshotClient::flush() {
  while (!out_.empty()) {
    const ssize_t n = ::send(fd_, out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ENOTCONN;
    out_.erase(0, static_cast<std::size_t>(n));
    connected_ = true;
  }
  return true;
}

int SnapshotClient::poll(TimeNs now, Handler& h) {
  if (fd_ < 0) return 0;
  if (connected_ && now >= heartbeat_due_ns_) {
    if (out_.empty()) out_.assign("\0\1R", 3);
    heartbeat_due_ns_ = now + 1'000'000'000;
  }
  bool alive = flush();
  if (alive && connected_) {
    const ssize_t n = ::recv(fd_, buffer_.data() + have_, kBufferBytes - have_, MSG_DONTWAIT);
    if (n > 0) {
      have_ += static_cast<std::size_t>(n);
    } else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
      alive = false;
    }
  }
  int packets = 0;
  std::size_t at = 0;
  while (have_ - at >= 2) {
    const std::size_t n = load_be16(buffer_.data() + at);
    if (have_ - at - 2 < n) break;
    if (n > 0) {
      ++packets;
      h.on_snapshot_packet(buffer_[at + 2], {buffer_.data() + at + 3, n - 1});
      if (fd_ < 0) return packets;  // the handler had what it wanted and closed us
    }
    at += 2 + n;
  }
  if (at > 0) std::memmove(buffer_.data(), buffer_.data() + at, have_ - at);
  have_ -= at;
  if (!alive) {
    close();
    h.on_snapshot_closed();
  }
  return packets;
}

LiveFeed::LiveFeed(const LiveFeedConfig& config, FeedSink& out)
    : config_(config),
      out_(out),
      receiver_(
          [&config] {
            FeedReceiverConfig r = config.receiver;
            r.lines = config.line_b.ip.empty() ? 1 : 2;
            r.request_service = r.request_service && !config.request_server.ip.empty();
            r.snapshot_service = r.snapshot_service && !config.snapshot_server.ip.empty();
            return r;
          }(),
          *this),
      a_(config.datagram_bytes),
      b_(config.datagram_bytes),
      answers_(65536) {}

std::string LiveFeed::open(TimeNs now) {
  std::string error = a_.open(config_.line_a, config_.receive_buffer_bytes);
  if (error.empty() && !config_.line_b.ip.empty()) error = b_.open(config_.line_b, config_.receive_buffer_bytes);
  if (error.empty() && !config_.request_server.ip.empty()) {
    if (!parse(config_.request_server, request_to_)) error = config_.request_server.ip + ": not an IPv4 address";
    if (error.empty()) error = answers_.open({"0.0.0.0", 0}, config_.receive_buffer_bytes);
  }
  if (!error.empty()) {
    close();
    return error;
  }
  receiver_.start(now);
  return {};
}

void LiveFeed::close() {
  a_.close();
  b_.close();
  answers_.close();
  snapshot_.close();
}

int LiveFeed::take(UdpReceiver& from, u8 line) {
  const int n = from.receive();
  for (int i = 0; i < n; ++i) {
    kernel_stamp_ns_ = from.stamp_ns(i);
    receiver_.on_packet(line, from.at(i), now_);
  }
  kernel_stamp_ns_ = 0;
  return n;
}

int LiveFeed::poll(TimeNs now) {
  now_ = now;
  if (open_failed_) {
    open_failed_ = false;
    receiver_.on_snapshot_closed(now);
  }
  int work = take(a_, kLineA);
  work += take(b_, kLineB);
  work += take(answers_, kLineRetransmission);
  work += snapshot_.poll(now, *this);
  receiver_.on_timer(now);
  return work;
}

void LiveFeed::request(u64 seq, u16 count) {
  u8 packet[mold::kRequestBytes];
  mold::encode(mold::Request{receiver_.session(), seq, count}, packet);
  (void)answers_.send(request_to_, {packet, sizeof packet});  // a lost request is asked again by the timer
}

void LiveFeed::open_snapshot() {
  if (snapshot_.open(config_.snapshot_server, config_.snapshot_login, now_).empty()) return;
  ++failed_opens_;
  open_failed_ = true;
}

}  // namespace peregrine
