#include <arpa/inet.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <stdexcept>
#include <system_error>

#include "venue/server_impl.h"

namespace peregrine::venue {
namespace {

// One day's file says where it was and what it was called.
bool has_day(const std::string& path) {
  struct stat st{};
  return !path.empty() && ::stat(path.c_str(), &st) == 0 && st.st_size > 0;
}

bool any_port(const std::string& address) { return address.ends_with(":0"); }

}  // namespace

DayConfig day_config(const ServerConfig& c) {
  DayConfig d{c.exchange, c.flow, c.recording, c.recording_speed_percent};
  d.exchange.reject_per_million = c.faults.reject_ppm;
  d.exchange.seed = c.flow.seed;
  return d;
}

// Session, midnight and addresses of the day on file, if there is one.
ServerConfig VenueServer::Impl::continued(ServerConfig c) {
  if (!has_day(c.state)) return c;
  DayReader reader(c.state);
  DayRecord r;
  if (!reader.next(r)) return c;  // cut off before it began
  const DayOpening opening = decode_opening(r);
  c.exchange.session = opening.session;
  c.exchange.midnight_ns = opening.midnight_ns;
  const auto port_of = [](const std::string& a) { return ntohs(parse_address(a).sin_port); };
  if (c.ouch_port == 0) c.ouch_port = port_of(opening.addresses[0]);
  if (c.glimpse_port == 0) c.glimpse_port = port_of(opening.addresses[1]);
  if (c.retransmit_port == 0) c.retransmit_port = port_of(opening.addresses[2]);
  if (any_port(c.itch_a)) c.itch_a = opening.addresses[3];
  if (any_port(c.itch_b)) c.itch_b = opening.addresses[4];
  return c;
}

VenueServer::Impl::Impl(const ServerConfig& config)
    : config_(continued(config)),
      day_(day_config(config_), this),
      lines_(mold::make_session(config_.exchange.session), config_.faults.line, config_.flow.seed,
             config_.datagram_bytes, config_.heartbeat_ns, this) {
  if (has_day(config_.state)) rebuild();
}

// The day so far, from its file: the same inputs through the same function, and nobody hears of it again.
void VenueServer::Impl::rebuild() {
  rebuilding_ = true;
  DayReader reader(config_.state);
  DayRecord r;
  if (reader.next(r) && decode_opening(r).fingerprint != day_.fingerprint()) {
    throw std::runtime_error(config_.state + " is the day of a venue configured otherwise (symbols, accounts, flow, rejects or fees)");
  }
  while (reader.next(r)) day_.apply(r.kind, r.port, r.now_ns, r.payload);
  read_bytes_ = reader.offset();
  torn_bytes_ = reader.torn_bytes();
  read_records_ = reader.records();
  now_ns_ = day_.last_ns();
  lines_.resume(exchange_.itch_store().next_seq());
  rebuilding_ = false;
}

u64 VenueServer::Impl::input(DayInput kind, TimeNs now_ns, u16 port, Bytes payload) {
  if (writer_ != nullptr) writer_->append(kind, port, now_ns, payload);
  return day_.apply(kind, port, now_ns, payload);
}

void VenueServer::Impl::open_sockets() {
  wake_fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  ouch_fd_ = listen_tcp(config_.host, config_.ouch_port);
  glimpse_fd_ = listen_tcp(config_.host, config_.glimpse_port);
  retransmit_fd_ = bind_udp(config_.host, config_.retransmit_port);
  const std::string* wanted[2] = {&config_.itch_a, &config_.itch_b};
  for (int i = 0; i < 2; ++i) {
    feed_to_[i] = parse_address(*wanted[i]);
    while (feed_to_[i].sin_port == 0 || (i == 1 && feed_to_[1].sin_port == feed_to_[0].sin_port &&
                                         feed_to_[1].sin_addr.s_addr == feed_to_[0].sin_addr.s_addr)) {
      const FeedPort claimed = claim_feed_port(config_.host);
      feed_to_[i].sin_port = htons(claimed.port);
      if (feed_held_[i] >= 0) ::close(feed_held_[i]);
      feed_held_[i] = claimed.held;
    }
    feed_fd_[i] = feed_socket(config_.host, feed_to_[i]);
  }
}

void VenueServer::Impl::close_sockets() {
  for (int* fd : {&wake_fd_, &ouch_fd_, &glimpse_fd_, &retransmit_fd_, &feed_fd_[0], &feed_fd_[1], &feed_held_[0], &feed_held_[1]}) {
    if (*fd >= 0) ::close(*fd);
    *fd = -1;
  }
}

void VenueServer::Impl::start() {
  if (thread_.joinable()) return;
  if (started_ns_ != 0) throw std::runtime_error("this venue has had its day; make a new one");
  try {
    if (!config_.state.empty()) writer_ = std::make_unique<DayWriter>(config_.state, read_bytes_, torn_bytes_, read_records_);
    open_sockets();
  } catch (...) {
    writer_.reset();
    close_sockets();
    throw;
  }
  addresses.ouch = format_address(local_address(ouch_fd_));
  addresses.glimpse = format_address(local_address(glimpse_fd_));
  addresses.retransmit = format_address(local_address(retransmit_fd_));
  addresses.itch_a = format_address(feed_to_[0]);
  addresses.itch_b = format_address(feed_to_[1]);

  wall_base_ns_ = std::max(wall_ns(), day_.last_ns());
  mono_base_ns_ = monotonic_ns();
  now_ns_ = now();
  port_connection_.assign(config_.exchange.ports.size(), nullptr);
  if (writer_ != nullptr && read_records_ == 0) {
    const DayOpening opening{day_.fingerprint(), config_.exchange.midnight_ns, config_.exchange.session,
                             {addresses.ouch, addresses.glimpse, addresses.retransmit, addresses.itch_a, addresses.itch_b}};
    writer_->append(DayInput::kHeader, 0, now_ns_, encode_opening(opening));
  }
  if (exchange_.session_state() == SessionState::kStart) {
    input(DayInput::kStart, now_ns_);
  } else {
    resume();
  }
  if (config_.open_at_start) set_session_state(SessionState::kOpen, now_ns_);

  // Planned faults count from the day's first start; what is done is done.
  started_ns_ = day_.started_ns();
  for (const HaltFault& h : config_.faults.halts) {
    halt_plan_.push_back({started_ns_ + h.at_ns, {h.symbol, true}});
    if (h.for_ns > 0) halt_plan_.push_back({started_ns_ + h.at_ns + h.for_ns, {h.symbol, false}});
  }
  std::sort(halt_plan_.begin(), halt_plan_.end());
  halts_done_ = static_cast<std::size_t>(day_.planned_halts());
  if (config_.faults.disconnect_every_ns > 0) next_disconnect_ns_ = now_ns_ + config_.faults.disconnect_every_ns;
  stopping_ = loop_over_ = false;
  thread_ = std::thread([this] { run(); });
}

// After a restart: every connection of the venue before is gone, and the flow goes on from now.
void VenueServer::Impl::resume() {
  for (std::size_t port = 0; port < config_.exchange.ports.size(); ++port) {
    if (config_.exchange.ports[port].cancel_on_disconnect) input(DayInput::kDisconnect, now_ns_, static_cast<u16>(port));
  }
  input(DayInput::kFlowFromNow, now_ns_);
}

void VenueServer::Impl::set_session_state(SessionState state, TimeNs now_ns) {
  if (exchange_.session_state() >= state) return;
  const u8 wanted = static_cast<u8>(state);
  input(DayInput::kSession, now_ns, 0, Bytes(&wanted, 1));
}

void VenueServer::Impl::pause_flow(bool paused) {
  if (flow_paused_ && !paused) input(DayInput::kFlowFromNow, now_ns_);
  flow_paused_ = paused;
}

void VenueServer::Impl::set_flow_rate(u32 rate_per_s) {
  u8 payload[4];
  store_le(payload, rate_per_s);
  input(DayInput::kFlowRate, now_ns_, 0, Bytes(payload, sizeof payload));
}

void VenueServer::Impl::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  const u64 one = 1;
  (void)!::write(wake_fd_, &one, sizeof one);
  thread_.join();
  close_sockets();
  if (writer_ != nullptr) read_bytes_ = writer_->offset();
  writer_.reset();  // the day is anybody's now
}

void VenueServer::Impl::call(const std::function<void(Exchange&, TimeNs)>& f) {
  std::promise<void> done;
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable() || loop_over_) return f(exchange_, now_ns_);
    commands_.push_back([&] {
      try {
        f(exchange_, now_ns_);
        done.set_value();
      } catch (...) {
        done.set_exception(std::current_exception());
        throw;
      }
    });
  }
  const u64 one = 1;
  (void)!::write(wake_fd_, &one, sizeof one);
  done.get_future().get();
}

// ---- outputs of the exchange

void VenueServer::Impl::ouch(PortIx port, u64, Bytes) {
  if (rebuilding_) return;
  ++stats.ouch_out;
  if (port < port_connection_.size() && port_connection_[port] != nullptr) {
    port_connection_[port]->pump(exchange_.port_store(port), now_ns_);
  }
}

void VenueServer::Impl::itch(u64 seq, u16, Bytes message) {
  if (rebuilding_) return;
  ++stats.itch_messages;
  lines_.message(seq, message, now_ns_);
}

void VenueServer::Impl::datagram(int line, Bytes packet) {
  const bool answer = line == kRetransmit;
  if (silent && !answer) return;
  const sockaddr_in& to = answer ? answer_to_ : feed_to_[line];
  const ssize_t n = ::sendto(answer ? retransmit_fd_ : feed_fd_[line], packet.data(), packet.size(), 0,
                             reinterpret_cast<const sockaddr*>(&to), sizeof to);
  if (n < 0) ++stats.send_errors;
}

// ---- the loop

void VenueServer::Impl::run() {
  try {
    loop();
    say_goodbye();
  } catch (const std::exception& e) {
    // Without its file the venue may do nothing more: clients see a venue that died.
    {
      const std::lock_guard lock(mutex_);
      error_ = e.what();
      loop_over_ = true;
    }
    for (bool more = true; more;) {
      try {
        run_commands();
        more = false;
      } catch (const std::exception&) {  // whoever waits for that command hears of it
      }
    }
  }
  for (const auto& c : connections_) ::close(c->fd);
  connections_.clear();
  port_connection_.assign(port_connection_.size(), nullptr);
}

void VenueServer::Impl::run_commands() {
  while (true) {
    std::function<void()> command;
    {
      const std::lock_guard lock(mutex_);
      if (commands_.empty()) return;
      command = std::move(commands_.front());
      commands_.pop_front();
    }
    command();
  }
}

void VenueServer::Impl::loop() {
  std::vector<pollfd> fds;
  while (true) {
    now_ns_ = now();
    run_commands();
    {
      const std::lock_guard lock(mutex_);
      if (stopping_ && commands_.empty()) loop_over_ = true;
      if (loop_over_) break;
    }
    step(now_ns_);

    fds.clear();
    fds.push_back({wake_fd_, POLLIN, 0});
    fds.push_back({ouch_fd_, POLLIN, 0});
    fds.push_back({glimpse_fd_, POLLIN, 0});
    fds.push_back({retransmit_fd_, POLLIN, 0});
    for (const auto& c : connections_) {
      fds.push_back({c->fd, static_cast<short>(POLLIN | (c->pending() ? POLLOUT : 0)), 0});
    }
    const TimeNs wait_ns = clamp64(next_due(now_ns_) - now(), 0, 200'000'000);
    const timespec timeout{wait_ns / 1'000'000'000, wait_ns % 1'000'000'000};
    if (::ppoll(fds.data(), fds.size(), &timeout, nullptr) <= 0) continue;

    now_ns_ = now();
    if (fds[0].revents) {
      u64 drained;
      (void)!::read(wake_fd_, &drained, sizeof drained);
    }
    // Orders are handled at a time the flow has reached too, so that time never runs backwards.
    run_flow(now_ns_);
    const std::size_t known = fds.size() - 4;
    for (std::size_t i = 0; i < known; ++i) {
      if (fds[i + 4].revents & (POLLIN | POLLHUP | POLLERR)) read_from(*connections_[i], now_ns_);
    }
    if (fds[3].revents) answer_retransmits();
    if (fds[1].revents) accept_from(ouch_fd_, Connection::Kind::kOuch, now_ns_);
    if (fds[2].revents) accept_from(glimpse_fd_, Connection::Kind::kGlimpse, now_ns_);
  }

}

// The end: what is held is told, then end of session on every door.
void VenueServer::Impl::say_goodbye() {
  lines_.flush(now_ns_);
  for (const auto& c : connections_) {
    if (c->logged_in) c->packet(soup::kEndOfSession, {}, now_ns_);
    write_to(*c);
  }
  for (int i = 0; i < 3; ++i) {
    lines_.end_of_session(exchange_.itch_store().next_seq());
    ::usleep(5000);
  }
}

void VenueServer::Impl::step(TimeNs now_ns) {
  if (exchange_.next_timer() <= now_ns) input(DayInput::kTimer, now_ns);
  run_flow(now_ns);
  run_faults(now_ns);
  run_held(now_ns);
  check_connections(now_ns);
  lines_.flush(now_ns);
  lines_.on_timer(now_ns);
  for (const auto& c : connections_) write_to(*c);
  for (std::size_t i = connections_.size(); i-- > 0;) {
    Connection& c = *connections_[i];
    if (c.fd < 0 || (c.closing && !c.pending())) close_connection(i, false, now_ns);
  }
}

void VenueServer::Impl::run_flow(TimeNs now_ns) {
  if (flow_paused_ || day_.flow_next_ns() > now_ns) return;
  stats.flow_events += input(DayInput::kFlow, now_ns);
}

void VenueServer::Impl::run_faults(TimeNs now_ns) {
  for (; halts_done_ < halt_plan_.size() && halt_plan_[halts_done_].first <= now_ns; ++halts_done_) {
    const auto& [symbol, stop] = halt_plan_[halts_done_].second;
    for (u32 i = 0; i < config_.exchange.symbols.size(); ++i) {
      if (config_.exchange.symbols[i].symbol != symbol) continue;
      input(DayInput::kHalt, now_ns, 0, halt_payload(i, stop ? 'H' : 'T', true, stop ? "T1" : ""));
    }
  }
  if (now_ns >= next_disconnect_ns_) {
    next_disconnect_ns_ += config_.faults.disconnect_every_ns;
    drop_connections();
  }
}

void VenueServer::Impl::drop_connections() {
  for (std::size_t i = connections_.size(); i-- > 0;) {
    if (connections_[i]->kind != Connection::Kind::kOuch) continue;
    ++stats.disconnects_forced;
    close_connection(i, true, now_ns_);
  }
}

void VenueServer::Impl::run_held(TimeNs now_ns) {
  while (!held_.empty() && held_.front().due_ns <= now_ns) {
    const HeldInput held = std::move(held_.front());
    held_.pop_front();
    input(DayInput::kOuch, now_ns, static_cast<u16>(held.port), held.message);
  }
  for (std::size_t i = 0; i < late_.size();) {
    if (late_[i].due_ns > now_ns) {
      ++i;
      continue;
    }
    const HeldInput held = std::move(late_[i]);
    late_.erase(late_.begin() + static_cast<std::ptrdiff_t>(i));
    ++stats.late_in;
    input(DayInput::kOuch, now_ns, static_cast<u16>(held.port), held.message);
  }
}

TimeNs VenueServer::Impl::next_due(TimeNs now_ns) const {
  TimeNs next = std::min(exchange_.next_timer(), lines_.next_ns());
  if (!flow_paused_) next = std::min(next, day_.flow_next_ns());
  if (halts_done_ < halt_plan_.size()) next = std::min(next, halt_plan_[halts_done_].first);
  next = std::min(next, next_disconnect_ns_);
  if (!held_.empty()) next = std::min(next, held_.front().due_ns);
  for (const HeldInput& h : late_) next = std::min(next, h.due_ns);
  for (const auto& c : connections_) next = std::min(next, c->last_tx_ns + config_.heartbeat_ns);
  return std::max(next, now_ns);
}

// ---- the public face

VenueServer::VenueServer(const ServerConfig& config) : impl_(std::make_unique<Impl>(config)) {}
VenueServer::~VenueServer() = default;
void VenueServer::start() { impl_->start(); }
void VenueServer::stop() { impl_->stop(); }
bool VenueServer::running() const { return impl_->running() && impl_->error().empty(); }
std::string VenueServer::error() const { return impl_->error(); }
const std::string& VenueServer::session() const { return impl_->config().exchange.session; }
u64 VenueServer::state_bytes() const { return impl_->state_bytes(); }
const ServerAddresses& VenueServer::addresses() const { return impl_->addresses; }
void VenueServer::call(const std::function<void(Exchange&, TimeNs)>& f) { impl_->call(f); }

void VenueServer::halt(const std::string& symbol, char state, const std::string& reason) {
  call([&](Exchange& x, TimeNs now_ns) {
    for (u32 i = 0; i < x.config().symbols.size(); ++i) {
      if (x.config().symbols[i].symbol != symbol) continue;
      impl_->input(DayInput::kHalt, now_ns, 0, halt_payload(i, static_cast<u8>(state), false, reason));
    }
  });
}
bool VenueServer::bust(u64 match, char reason) {
  bool done = false;
  call([&](Exchange&, TimeNs now_ns) {
    done = impl_->input(DayInput::kBust, now_ns, 0, bust_payload(match, static_cast<u8>(reason))) != 0;
  });
  return done;
}
void VenueServer::set_session_state(SessionState state) {
  call([&](Exchange&, TimeNs now_ns) { impl_->set_session_state(state, now_ns); });
}
void VenueServer::drop_connections() {
  call([&](Exchange&, TimeNs) { impl_->drop_connections(); });
}
void VenueServer::pause_flow(bool paused) {
  call([&](Exchange&, TimeNs) { impl_->pause_flow(paused); });
}
void VenueServer::set_flow_rate(u32 rate_per_s) {
  if (rate_per_s == 0) return;
  call([&](Exchange&, TimeNs) { impl_->set_flow_rate(rate_per_s); });
}
void VenueServer::silence(bool silent) {
  call([&](Exchange&, TimeNs) { impl_->silent = silent; });
}
ServerStats VenueServer::stats() {
  ServerStats s;
  call([&](Exchange&, TimeNs) {
    s = impl_->stats;
    for (int i = 0; i < kLines; ++i) s.lines[i] = impl_->lines().stats(i);
  });
  return s;
}

}  // namespace peregrine::venue
