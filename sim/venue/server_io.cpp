// The venue's doors: connections, logins, order packets, re-requests.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "venue/login.h"
#include "venue/server_impl.h"

namespace peregrine::venue {

// ---- connections

void VenueServer::Impl::accept_from(int fd, Connection::Kind kind, TimeNs now_ns) {
  while (true) {
    const int peer = ::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (peer < 0) return;
    set_nodelay(peer);
    auto c = std::make_unique<Connection>();
    c->fd = peer;
    c->kind = kind;
    c->opened_ns = c->last_rx_ns = c->last_tx_ns = now_ns;
    connections_.push_back(std::move(c));
    ++stats.connections;
  }
}

void VenueServer::Impl::read_from(Connection& c, TimeNs now_ns) {
  u8 chunk[16384];
  while (c.fd >= 0 && !c.closing) {
    const ssize_t n = ::recv(c.fd, chunk, sizeof chunk, 0);
    if (n > 0) {
      c.last_rx_ns = now_ns;
      c.framer->push(Bytes(chunk, static_cast<std::size_t>(n)), [&](Bytes packet) {
        if (!c.closing) on_packet(c, packet, now_ns);
      });
      continue;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    c.out.clear();
    c.out_at = 0;
    c.closing = true;
  }
}

void VenueServer::Impl::on_packet(Connection& c, Bytes packet, TimeNs now_ns) {
  const u8 type = packet[0];
  const Bytes payload = packet.subspan(1);
  if (type == soup::kDebug || (type == soup::kClientHeartbeat && c.logged_in)) return;
  if (type == soup::kLoginRequest && !c.logged_in) return on_login(c, payload, now_ns);
  if (type == soup::kLogout) {
    c.closing = true;
    return;
  }
  if (type != soup::kUnsequenced || !c.logged_in || c.kind != Connection::Kind::kOuch) {
    ++stats.malformed_in;
    c.closing = true;  // anything else before login, or of no meaning: the connection is not kept
    return;
  }
  ++stats.ouch_in;
  if (config_.faults.lag_ns > 0) {
    held_.push_back({now_ns + config_.faults.lag_ns, c.port, {payload.begin(), payload.end()}, &c});
    return;
  }
  input(DayInput::kOuch, now_ns, static_cast<u16>(c.port), payload);
}

void VenueServer::Impl::on_login(Connection& c, Bytes payload, TimeNs now_ns) {
  const bool glimpse = c.kind == Connection::Kind::kGlimpse;
  const LoginVerdict verdict = check_login(exchange_, payload, glimpse);
  if (verdict.refused != 0) {
    ++stats.logins_refused;
    c.packet(soup::kLoginRejected, Bytes(&verdict.refused, 1), now_ns);
    c.closing = true;
    return;
  }
  const PortIx ix = verdict.port;
  if (!glimpse) {
    // The newest connection of a port is the true one: the peer knows best that its old one is gone.
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      if (connections_[i].get() == port_connection_[ix] && port_connection_[ix] != nullptr) {
        connections_[i]->out.clear();
        connections_[i]->out_at = 0;
        connections_[i]->closing = true;
        port_connection_[ix] = nullptr;
        input(DayInput::kDisconnect, now_ns, static_cast<u16>(ix));
        break;
      }
    }
  }
  u8 answer[soup::kLoginAcceptedBytes];
  c.packet(soup::kLoginAccepted, Bytes(answer, soup::encode(verdict.accepted, answer)), now_ns);
  c.logged_in = true;
  c.port = ix;
  c.next_seq = verdict.accepted.sequence;
  ++stats.logins;
  if (!glimpse) {
    port_connection_[ix] = &c;
    c.pump(exchange_.port_store(ix), now_ns);
    return;
  }
  // The snapshot stands for everything up to the last message published, sent or not yet.
  ++stats.snapshots;
  if (writer_ != nullptr) writer_->append(DayInput::kSnapshot, 0, now_ns, {});
  snapshot_answer(exchange_, c.snapshot, now_ns);
  c.pump(c.snapshot, now_ns);
}

void VenueServer::Impl::write_to(Connection& c) {
  while (c.fd >= 0 && c.pending()) {
    const ssize_t n = ::send(c.fd, c.out.data() + c.out_at, c.out.size() - c.out_at, MSG_NOSIGNAL);
    if (n <= 0) {
      if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) c.out_at = c.out.size(), c.closing = true;
      break;
    }
    c.out_at += static_cast<std::size_t>(n);
  }
  if (!c.pending()) c.out.clear(), c.out_at = 0;
  if (c.out.size() - c.out_at > kMaxUnsentBytes) c.out.clear(), c.out_at = 0, c.closing = true;
}

void VenueServer::Impl::check_connections(TimeNs now_ns) {
  for (std::size_t i = connections_.size(); i-- > 0;) {
    Connection& c = *connections_[i];
    const bool silent_peer = now_ns - c.last_rx_ns > config_.silence_ns;
    if ((c.logged_in && silent_peer) || (!c.logged_in && now_ns - c.opened_ns > config_.login_timeout_ns)) {
      ++stats.silent_closed;
      close_connection(i, false, now_ns);
      continue;
    }
    if (now_ns - c.last_tx_ns < config_.heartbeat_ns) continue;
    if (c.logged_in) {
      c.packet(soup::kServerHeartbeat, {}, now_ns);
    } else {
      c.last_tx_ns = now_ns;
    }
  }
}

void VenueServer::Impl::close_connection(std::size_t i, bool reset, TimeNs now_ns) {
  const std::unique_ptr<Connection> c = std::move(connections_[i]);
  connections_.erase(connections_.begin() + static_cast<std::ptrdiff_t>(i));
  if (reset) {
    close_with_reset(c->fd);
  } else {
    ::close(c->fd);
  }
  // What this connection had still under way arrives, only later.
  for (std::size_t k = 0; k < held_.size();) {
    if (held_[k].from != c.get() || config_.faults.late_ns == 0) {
      ++k;
      continue;
    }
    held_[k].due_ns += config_.faults.late_ns;
    held_[k].from = nullptr;
    late_.push_back(std::move(held_[k]));
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(k));
  }
  if (c->logged_in && c->kind == Connection::Kind::kOuch && port_connection_[c->port] == c.get()) {
    port_connection_[c->port] = nullptr;
    input(DayInput::kDisconnect, now_ns, static_cast<u16>(c->port));
  }
}

void VenueServer::Impl::answer_retransmits() {
  u8 request[64];
  for (int n = 0; n < 64; ++n) {
    socklen_t size = sizeof answer_to_;
    const ssize_t got =
        ::recvfrom(retransmit_fd_, request, sizeof request, 0, reinterpret_cast<sockaddr*>(&answer_to_), &size);
    if (got < 0) return;
    ++stats.retransmit_requests;
    // Only what has gone out on the lines can be asked for again.
    lines_.flush(now_ns_);
    if (!lines_.retransmit(Bytes(request, static_cast<std::size_t>(got)), exchange_.itch_store()))
      ++stats.retransmit_refused;
  }
}

}  // namespace peregrine::venue
