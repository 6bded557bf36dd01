#include "venue/simulation_network.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace peregrine::venue {

// The table's functions; context is the network.
struct NetworkCalls {
  using Net = SimulatedNetwork;
  static Net& net(void* context) { return *static_cast<Net*>(context); }

  static int socket(void* context, int type) {
    Net& n = net(context);
    auto d = std::make_unique<Net::Descriptor>();
    d->type = type;
    d->owner = n.owner_;
    d->open = true;
    if (type == SOCK_STREAM) d->stream = std::make_unique<Net::Stream>();
    n.descriptors_.push_back(std::move(d));
    return Net::kFirst + static_cast<int>(n.descriptors_.size()) - 1;
  }

  static int set_option(void*, int, int, int, const void*, socklen_t) { return 0; }

  static int get_option(void* context, int fd, int level, int name, void* value, socklen_t* bytes) {
    Net::Descriptor* d = net(context).find(fd);
    int v = 0;
    if (level == SOL_SOCKET && name == SO_ERROR && d != nullptr && d->stream && d->stream->refused) v = ECONNREFUSED;
    std::memcpy(value, &v, std::min<std::size_t>(*bytes, sizeof v));
    return 0;
  }

  static int bind(void* context, int fd, const sockaddr_in& address) {
    Net& n = net(context);
    Net::Descriptor* d = n.find(fd);
    if (d == nullptr) return -EBADF;
    d->datagrams.port = address.sin_port != 0 ? ntohs(address.sin_port) : n.next_port_++;
    return 0;
  }

  static int local_address(void* context, int fd, sockaddr_in& address) {
    Net::Descriptor* d = net(context).find(fd);
    if (d == nullptr) return -EBADF;
    address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(d->datagrams.port);
    return 0;
  }

  static int connect(void* context, int fd, const sockaddr_in& peer) {
    Net& n = net(context);
    if (n.hook_ != nullptr) n.hook_->before_effect();
    Net::Descriptor* d = n.find(fd);
    if (d == nullptr || !d->stream) return -EBADF;
    Net::Stream& s = *d->stream;
    s.port = ntohs(peer.sin_port);
    s.asked = s.held = true;
    s.refused = n.roll(n.faults_.refuse_ppm);
    s.connected_ns = n.now_ns_ + n.delay_ns();
    s.up.last_ns = s.down.last_ns = s.connected_ns;
    if (!s.refused) n.live_.push_back(static_cast<u32>(fd - Net::kFirst));
    return -EINPROGRESS;
  }

  static int writable(void* context, int fd) {
    Net& n = net(context);
    const Net::Descriptor* d = n.find(fd);
    return d != nullptr && d->stream && n.now_ns_ >= d->stream->connected_ns ? 1 : 0;
  }

  static ssize_t send(void* context, int fd, const void* data, std::size_t bytes) {
    Net& n = net(context);
    if (n.hook_ != nullptr) n.hook_->before_effect();
    Net::Descriptor* d = n.find(fd);
    if (d == nullptr || !d->stream) return -EBADF;
    Net::Stream& s = *d->stream;
    if (s.reset) return -ECONNRESET;
    if (n.roll(n.faults_.reset_ppm)) {
      s.reset = true;
      n.leave_behind(s, false);
      return -ECONNRESET;
    }
    if (n.roll(n.faults_.block_ppm)) return -EAGAIN;
    if (bytes > 1 && n.roll(n.faults_.partial_ppm)) bytes = 1 + n.rng_.below(bytes - 1);
    if (!s.ended) n.put(s.up, Bytes(static_cast<const u8*>(data), bytes));
    if (n.hook_ != nullptr) n.hook_->after_send(s.port, bytes);
    return static_cast<ssize_t>(bytes);
  }

  static ssize_t receive(void* context, int fd, void* data, std::size_t bytes) {
    Net& n = net(context);
    Net::Descriptor* d = n.find(fd);
    if (d == nullptr || !d->stream) return -EBADF;
    Net::Stream& s = *d->stream;
    if (s.reset) return -ECONNRESET;
    std::size_t done = 0;
    u8* out = static_cast<u8*>(data);
    while (done < bytes && !s.down.pieces.empty() && s.down.pieces.front().due_ns <= n.now_ns_) {
      Net::Piece& p = s.down.pieces.front();
      const std::size_t take = std::min(bytes - done, p.bytes.size() - p.at);
      std::memcpy(out + done, p.bytes.data() + p.at, take);
      done += take;
      p.at += take;
      if (p.at == p.bytes.size()) s.down.pieces.pop_front();
    }
    if (done > 0) return static_cast<ssize_t>(done);
    return s.down.pieces.empty() && s.down.end_ns <= n.now_ns_ ? 0 : -EAGAIN;
  }

  static ssize_t send_to(void* context, int fd, const void* data, std::size_t bytes, const sockaddr_in& to) {
    Net& n = net(context);
    if (n.hook_ != nullptr) n.hook_->before_effect();
    Net::Descriptor* d = n.find(fd);
    if (d == nullptr) return -EBADF;
    const u8* p = static_cast<const u8*>(data);
    n.requests_.push_back({n.now_ns_ + n.delay_ns(), ntohs(to.sin_port), d->datagrams.port, {p, p + bytes}});
    return static_cast<ssize_t>(bytes);
  }

  static int receive_batch(void* context, int fd, mmsghdr* messages, unsigned count) {
    Net& n = net(context);
    Net::Descriptor* d = n.find(fd);
    if (d == nullptr) return -EBADF;
    unsigned got = 0;
    auto& queue = d->datagrams.queue;
    while (got < count && !queue.empty() && queue.front().due_ns <= n.now_ns_) {
      const std::vector<u8>& bytes = queue.front().bytes;
      msghdr& h = messages[got].msg_hdr;
      const std::size_t take = std::min(bytes.size(), h.msg_iov[0].iov_len);
      std::memcpy(h.msg_iov[0].iov_base, bytes.data(), take);
      messages[got].msg_len = static_cast<unsigned>(take);
      h.msg_flags = take < bytes.size() ? MSG_TRUNC : 0;
      h.msg_controllen = 0;
      queue.pop_front();
      ++got;
    }
    return got > 0 ? static_cast<int>(got) : -EAGAIN;
  }

  static int close(void* context, int fd) {
    Net& n = net(context);
    Net::Descriptor* d = n.find(fd);
    if (d == nullptr) return -EBADF;
    n.close_descriptor(*d, false);
    return 0;
  }
};

SimulatedNetwork::SimulatedNetwork(const NetworkFaults& faults, u64 seed, const TimeNs& now_ns)
    : faults_(faults), rng_(seed), now_ns_(now_ns) {
  ops_ = {this,
          NetworkCalls::socket,
          NetworkCalls::set_option,
          NetworkCalls::get_option,
          NetworkCalls::bind,
          NetworkCalls::local_address,
          NetworkCalls::connect,
          NetworkCalls::writable,
          NetworkCalls::send,
          NetworkCalls::receive,
          NetworkCalls::send_to,
          NetworkCalls::receive_batch,
          NetworkCalls::close};
}

SimulatedNetwork::Descriptor* SimulatedNetwork::find(int fd) {
  const std::size_t i = static_cast<std::size_t>(fd - kFirst);
  if (fd < kFirst || i >= descriptors_.size() || !descriptors_[i]->open) return nullptr;
  return descriptors_[i].get();
}

void SimulatedNetwork::put(Pipe& pipe, Bytes bytes) {
  while (!bytes.empty()) {
    std::size_t n = bytes.size();
    if (n > 1 && roll(faults_.split_ppm)) n = 1 + rng_.below(n - 1);
    pipe.last_ns = std::max(pipe.last_ns, now_ns_ + delay_ns());
    pipe.pieces.push_back({pipe.last_ns, {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n)}, 0});
    bytes = bytes.subspan(n);
  }
}

// What a dying connection had under way: it comes as it would have, or late, or ends somewhere.
void SimulatedNetwork::leave_behind(Stream& s, bool silent) {
  Pipe& up = s.up;
  if (!up.pieces.empty() && roll(faults_.lost_ppm)) {
    const std::size_t keep = rng_.below(up.pieces.size());
    up.pieces.resize(keep + 1);
    std::vector<u8>& last = up.pieces.back().bytes;
    last.resize(rng_.below(last.size() + 1));
  }
  const TimeNs extra = !up.pieces.empty() && roll(faults_.late_ppm) ? rng_.between(1, faults_.late_ns) : 0;
  for (Piece& p : up.pieces) {
    p.due_ns += extra;
    if (extra > 0) late_bytes_ += p.bytes.size();
  }
  up.last_ns = std::max(up.last_ns, now_ns_) + extra;
  // A peer that vanished is noticed by its silence, or by the login that follows.
  up.end_ns = silent ? INT64_MAX : up.last_ns + delay_ns();
}

void SimulatedNetwork::close_descriptor(Descriptor& d, bool silent) {
  d.open = false;
  d.datagrams = {};
  if (!d.stream || !d.stream->held) return;
  Stream& s = *d.stream;
  s.held = false;
  s.down = {};
  if (s.up.end_ns == INT64_MAX) leave_behind(s, silent);
}

void SimulatedNetwork::kill(bool power_cut, int owner) {
  for (auto& d : descriptors_) {
    if (d->open && d->owner == owner) close_descriptor(*d, power_cut);
  }
}

void SimulatedNetwork::reset_streams(u16 port) {
  for (auto& d : descriptors_) {
    if (!d->open || !d->stream || d->stream->port != port || d->stream->reset || d->stream->refused) continue;
    d->stream->reset = true;
    leave_behind(*d->stream, false);
  }
}

void SimulatedNetwork::write(u32 stream, Bytes bytes) {
  Stream& s = *descriptors_[stream]->stream;
  if (s.held && !s.reset && s.down.end_ns == INT64_MAX) put(s.down, bytes);
}

void SimulatedNetwork::close(u32 stream) {
  Stream& s = *descriptors_[stream]->stream;
  if (s.down.end_ns == INT64_MAX) s.down.end_ns = std::max(s.down.last_ns, now_ns_) + delay_ns();
}

void SimulatedNetwork::datagram(u16 port, Bytes bytes) {
  for (auto& d : descriptors_) {
    if (!d->open || d->type != SOCK_DGRAM || d->datagrams.port != port) continue;
    auto& queue = d->datagrams.queue;
    TimeNs due = now_ns_ + delay_ns();
    if (!queue.empty()) due = std::max(due, queue.back().due_ns);  // reordering is the lines' own fault
    queue.push_back({due, {bytes.begin(), bytes.end()}, 0});
  }
}

void SimulatedNetwork::datagram_to_asker(Bytes bytes) { datagram(asker_, bytes); }

TimeNs SimulatedNetwork::venue_due_ns() const {
  TimeNs due = INT64_MAX;
  for (const Request& r : requests_) due = std::min(due, r.due_ns);
  for (const u32 i : live_) {
    const Stream& s = *descriptors_[i]->stream;
    due = std::min(due, s.accepted ? s.up.due_ns() : s.connected_ns);
  }
  return due;
}

TimeNs SimulatedNetwork::engine_due_ns() const {
  TimeNs due = INT64_MAX;
  for (const auto& d : descriptors_) {
    if (!d->open) continue;
    if (!d->datagrams.queue.empty()) due = std::min(due, d->datagrams.queue.front().due_ns);
    if (!d->stream || !d->stream->held) continue;
    due = std::min(due, d->stream->down.due_ns());
    if (d->stream->asked && !d->stream->accepted) due = std::min(due, d->stream->connected_ns);
  }
  return due;
}

void SimulatedNetwork::deliver() {
  for (bool again = true; again;) {
    again = false;
    for (std::size_t i = 0; i < requests_.size();) {
      if (requests_[i].due_ns > now_ns_) {
        ++i;
        continue;
      }
      const Request r = std::move(requests_[i]);
      requests_.erase(requests_.begin() + static_cast<std::ptrdiff_t>(i));
      asker_ = r.from;
      peer_->datagram_in(r.port, r.from, r.bytes);
    }
    // In order of opening, the oldest connection first; one piece of each at a time.
    for (std::size_t k = 0; k < live_.size(); ++k) {
      const u32 i = live_[k];
      Stream& s = *descriptors_[i]->stream;
      if (!s.accepted) {
        if (s.connected_ns > now_ns_) continue;
        s.accepted = again = true;
        peer_->accepted(i, s.port);
      } else if (!s.up.pieces.empty() && s.up.pieces.front().due_ns <= now_ns_) {
        const Piece p = std::move(s.up.pieces.front());
        s.up.pieces.pop_front();
        again = true;
        peer_->arrived(i, p.bytes);
      } else if (s.up.pieces.empty() && s.up.end_ns <= now_ns_) {
        s.ended = again = true;
        live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(k));
        peer_->ended(i);
        break;
      }
    }
  }
}

}  // namespace peregrine::venue
