#include "venue/simulation_venue.h"

#include <algorithm>

#include "venue/login.h"

namespace peregrine::venue {

SimulatedVenue::SimulatedVenue(const SimulatedVenueConfig& config, SimulatedNetwork& network, const TimeNs& now_ns)
    : config_(config),
      network_(network),
      now_ns_(now_ns),
      exchange_(config.exchange, this),
      flow_(config.flow, exchange_),
      lines_(mold::make_session(config.exchange.session), config.lines, config.flow.seed, 1400, config.feed_heartbeat_ns,
             this),
      port_door_(config.exchange.ports.size(), nullptr) {
  network_.attach(this);
}

void SimulatedVenue::start() {
  exchange_.start(now_ns_);
  exchange_.set_session_state(SessionState::kOpen, now_ns_);
  flow_.seed_books(now_ns_);
  flow_.begin(now_ns_);
  lines_.flush(now_ns_);
}

TimeNs SimulatedVenue::due_ns() const {
  TimeNs due = std::min(exchange_.next_timer(), lines_.next_ns());
  if (flow_on_) due = std::min(due, flow_.next_ns());
  if (halts_done_ == 0) due = std::min(due, config_.halt_at_ns);
  if (halts_done_ == 1) due = std::min(due, config_.halt_until_ns);
  for (const auto& d : doors_) {
    if (!d->gone && !d->c.closing) due = std::min(due, d->c.last_tx_ns + config_.heartbeat_ns);
  }
  return due;
}

void SimulatedVenue::step() {
  exchange_.on_timer(now_ns_);
  while (flow_on_ && flow_.next_ns() <= now_ns_) flow_.step();
  for (; halts_done_ < 2 && (halts_done_ == 0 ? config_.halt_at_ns : config_.halt_until_ns) <= now_ns_; ++halts_done_) {
    exchange_.halt(0, halts_done_ == 0 ? 'H' : 'T', halts_done_ == 0 ? "T1" : "", now_ns_);
  }
  network_.deliver();
  for (const auto& d : doors_) {
    if (d->gone || d->c.closing) continue;
    if (now_ns_ - d->c.last_rx_ns > config_.silence_ns) {
      leave(*d);
    } else if (now_ns_ - d->c.last_tx_ns >= config_.heartbeat_ns) {
      if (d->c.logged_in) {
        d->c.packet(soup::kServerHeartbeat, {}, now_ns_);
      } else {
        d->c.last_tx_ns = now_ns_;
      }
    }
  }
  lines_.flush(now_ns_);
  lines_.on_timer(now_ns_);
  write_out();
  std::erase_if(doors_, [](const auto& d) { return d->gone; });
}

void SimulatedVenue::mass_cancel_by_hand(PortIx port) {
  ouch::MassCancel m;
  m.user_ref_num = exchange_.next_user_ref_num(port);
  u8 bytes[ouch::kMaxMessageBytes];
  exchange_.on_ouch(port, Bytes(bytes, ouch::encode(m, bytes)), now_ns_);
}

void SimulatedVenue::write_out() {
  for (const auto& d : doors_) {
    Connection& c = d->c;
    if (c.pending()) network_.write(d->stream, Bytes(c.out.data() + c.out_at, c.out.size() - c.out_at));
    c.out.clear();
    c.out_at = 0;
    if (c.closing) network_.close(d->stream);
  }
}

// ---- outputs of the exchange

void SimulatedVenue::ouch(PortIx port, u64, Bytes) {
  if (port_door_[port] != nullptr) port_door_[port]->c.pump(exchange_.port_store(port), now_ns_);
}
void SimulatedVenue::itch(u64 seq, u16, Bytes message) { lines_.message(seq, message, now_ns_); }

void SimulatedVenue::datagram(int line, Bytes packet) {
  if (line == kRetransmit) return network_.datagram_to_asker(packet);
  network_.datagram(line == kLineA ? kLineAPort : kLineBPort, packet);
}

// ---- doors

SimulatedVenue::Door* SimulatedVenue::door_of(u32 stream) {
  for (const auto& d : doors_) {
    if (d->stream == stream) return d.get();
  }
  return nullptr;
}

void SimulatedVenue::accepted(u32 stream, u16 port) {
  auto d = std::make_unique<Door>();
  d->stream = stream;
  d->c.kind = port == kOuchPort ? Connection::Kind::kOuch : Connection::Kind::kGlimpse;
  d->c.opened_ns = d->c.last_rx_ns = d->c.last_tx_ns = now_ns_;
  doors_.push_back(std::move(d));
}

void SimulatedVenue::arrived(u32 stream, Bytes bytes) {
  Door* d = door_of(stream);
  if (d == nullptr) return;
  d->c.last_rx_ns = now_ns_;
  d->c.framer->push(bytes, [&](Bytes packet) { on_packet(*d, packet); });
}

void SimulatedVenue::ended(u32 stream) {
  if (Door* d = door_of(stream); d != nullptr) {
    leave(*d);
    d->gone = true;
  }
}

void SimulatedVenue::leave(Door& d) {
  d.c.closing = true;
  if (d.c.logged_in && d.c.kind == Connection::Kind::kOuch && port_door_[d.c.port] == &d) {
    port_door_[d.c.port] = nullptr;
    exchange_.on_disconnect(d.c.port, now_ns_);
  }
}

void SimulatedVenue::on_packet(Door& d, Bytes packet) {
  const u8 type = packet[0];
  const Bytes payload = packet.subspan(1);
  if (type == soup::kDebug || type == soup::kClientHeartbeat) return;
  if (type == soup::kLoginRequest && !d.c.logged_in) return on_login(d, payload);
  if (type == soup::kLogout) return leave(d);
  if (type != soup::kUnsequenced || !d.c.logged_in || d.c.kind != Connection::Kind::kOuch) return leave(d);
  // What a replaced connection still had under way is taken as an order gateway may: nothing told it otherwise yet.
  arrivals_.push_back({now_ns_, d.c.port, port_door_[d.c.port] != &d || !network_.held(d.stream), {payload.begin(), payload.end()}});
  exchange_.on_ouch(d.c.port, payload, now_ns_);
}

void SimulatedVenue::on_login(Door& d, Bytes payload) {
  const bool glimpse = d.c.kind == Connection::Kind::kGlimpse;
  const LoginVerdict v = check_login(exchange_, payload, glimpse);
  if (v.refused != 0) {
    d.c.packet(soup::kLoginRejected, Bytes(&v.refused, 1), now_ns_);
    d.c.closing = true;
    return;
  }
  if (!glimpse && port_door_[v.port] != nullptr) leave(*port_door_[v.port]);  // the newest connection is the true one
  u8 answer[soup::kLoginAcceptedBytes];
  d.c.packet(soup::kLoginAccepted, Bytes(answer, soup::encode(v.accepted, answer)), now_ns_);
  d.c.logged_in = true;
  d.c.port = v.port;
  d.c.next_seq = v.accepted.sequence;
  if (!glimpse) {
    port_door_[v.port] = &d;
    d.c.pump(exchange_.port_store(v.port), now_ns_);
    return;
  }
  snapshot_answer(exchange_, d.c.snapshot, now_ns_);
  d.c.pump(d.c.snapshot, now_ns_);
}

void SimulatedVenue::datagram_in(u16 port, u16, Bytes bytes) {
  if (port != kRetransmitPort) return;
  lines_.flush(now_ns_);
  (void)lines_.retransmit(bytes, exchange_.itch_store());
}

}  // namespace peregrine::venue
