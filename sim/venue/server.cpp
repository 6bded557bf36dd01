#include <fcntl.h>
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

std::vector<u8> read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat st{};
  if (fd < 0 || ::fstat(fd, &st) != 0) throw std::system_error(errno, std::generic_category(), "opening " + path);
  std::vector<u8> data(static_cast<std::size_t>(st.st_size));
  std::size_t at = 0;
  while (at < data.size()) {
    const ssize_t n = ::read(fd, data.data() + at, data.size() - at);
    if (n <= 0) break;
    at += static_cast<std::size_t>(n);
  }
  ::close(fd);
  data.resize(at);
  return data;
}

}  // namespace

VenueServer::Impl::Impl(const ServerConfig& config)
    : config_(config),
      exchange_(with_faults(config), this),
      flow_(config.flow, exchange_),
      lines_(mold::make_session(config.exchange.session), config.faults.line, config.flow.seed, config.datagram_bytes,
             config.heartbeat_ns, this) {
  if (!config.recording.empty()) {
    recording_ = read_file(config.recording);
    recorded_ = std::make_unique<RecordedFlow>(Bytes(recording_), 0, 0, config.recording_speed_percent, exchange_);
  }
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
      feed_to_[i].sin_port = htons(free_udp_port(config_.host));
    }
    feed_fd_[i] = feed_socket(config_.host, feed_to_[i]);
  }
}

void VenueServer::Impl::close_sockets() {
  for (int* fd : {&wake_fd_, &ouch_fd_, &glimpse_fd_, &retransmit_fd_, &feed_fd_[0], &feed_fd_[1]}) {
    if (*fd >= 0) ::close(*fd);
    *fd = -1;
  }
}

void VenueServer::Impl::start() {
  if (thread_.joinable()) return;
  if (exchange_.session_state() != SessionState::kStart) {
    throw std::runtime_error("this venue has had its day; make a new one");
  }
  try {
    open_sockets();
  } catch (...) {
    close_sockets();
    throw;
  }
  addresses.ouch = format_address(local_address(ouch_fd_));
  addresses.glimpse = format_address(local_address(glimpse_fd_));
  addresses.retransmit = format_address(local_address(retransmit_fd_));
  addresses.itch_a = format_address(feed_to_[0]);
  addresses.itch_b = format_address(feed_to_[1]);

  wall_base_ns_ = wall_ns();
  mono_base_ns_ = monotonic_ns();
  started_ns_ = now_ns_ = now();
  port_connection_.assign(config_.exchange.ports.size(), nullptr);
  for (const HaltFault& h : config_.faults.halts) {
    halt_plan_.push_back({started_ns_ + h.at_ns, {h.symbol, true}});
    if (h.for_ns > 0) halt_plan_.push_back({started_ns_ + h.at_ns + h.for_ns, {h.symbol, false}});
  }
  std::sort(halt_plan_.begin(), halt_plan_.end());
  if (config_.faults.disconnect_every_ns > 0) next_disconnect_ns_ = started_ns_ + config_.faults.disconnect_every_ns;

  exchange_.start(started_ns_);
  if (config_.open_at_start) set_session_state(SessionState::kOpen, started_ns_);
  stopping_ = loop_over_ = false;
  thread_ = std::thread([this] { run(); });
}

// The flow begins with the open market.
void VenueServer::Impl::set_session_state(SessionState state, TimeNs now_ns) {
  const bool was_open = exchange_.session_state() >= SessionState::kOpen;
  exchange_.set_session_state(state, now_ns);
  if (was_open || exchange_.session_state() != SessionState::kOpen) return;
  if (recorded_ != nullptr) {
    recorded_->begin(now_ns);
  } else if (config_.flow.rate_per_s > 0) {
    flow_.seed_books(now_ns);
    flow_.begin(now_ns);
  }
}

void VenueServer::Impl::pause_flow(bool paused) {
  if (flow_paused_ && !paused && recorded_ == nullptr && exchange_.session_state() == SessionState::kOpen) {
    flow_.begin(now_ns_);  // what was missed is not made up for
  }
  flow_paused_ = paused;
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
}

void VenueServer::Impl::call(const std::function<void(Exchange&, TimeNs)>& f) {
  std::promise<void> done;
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable() || loop_over_) return f(exchange_, now_ns_);
    commands_.push_back([&] {
      f(exchange_, now_ns_);
      done.set_value();
    });
  }
  const u64 one = 1;
  (void)!::write(wake_fd_, &one, sizeof one);
  done.get_future().wait();
}

// ---- outputs of the exchange

void VenueServer::Impl::ouch(PortIx port, u64, Bytes) {
  ++stats.ouch_out;
  if (port < port_connection_.size() && port_connection_[port] != nullptr) {
    port_connection_[port]->pump(exchange_.port_store(port), now_ns_);
  }
}

void VenueServer::Impl::itch(u64 seq, u16, Bytes message) {
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
  std::vector<pollfd> fds;
  while (true) {
    now_ns_ = now();
    std::vector<std::function<void()>> commands;
    bool stopping;
    {
      const std::lock_guard lock(mutex_);
      commands.swap(commands_);
      stopping = loop_over_ = stopping_;
    }
    for (const auto& command : commands) command();
    if (stopping) break;
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

  // The end: what is held is told, then end of session on every door.
  lines_.flush(now_ns_);
  for (const auto& c : connections_) {
    if (c->logged_in) c->packet(soup::kEndOfSession, {}, now_ns_);
    write_to(*c);
  }
  for (int i = 0; i < 3; ++i) {
    lines_.end_of_session(exchange_.itch_store().next_seq());
    ::usleep(5000);
  }
  for (const auto& c : connections_) ::close(c->fd);
  connections_.clear();
  port_connection_.assign(port_connection_.size(), nullptr);
}

void VenueServer::Impl::step(TimeNs now_ns) {
  exchange_.on_timer(now_ns);
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
  if (flow_paused_) return;
  int n = 0;
  if (recorded_ != nullptr) {
    for (; recorded_->next_ns() <= now_ns && n < kFlowBatch; ++n) recorded_->step();
  } else {
    for (; flow_.next_ns() <= now_ns && n < kFlowBatch; ++n) flow_.step();
  }
  stats.flow_events += static_cast<u64>(n);
}

void VenueServer::Impl::run_faults(TimeNs now_ns) {
  for (; halts_done_ < halt_plan_.size() && halt_plan_[halts_done_].first <= now_ns; ++halts_done_) {
    const auto& [symbol, stop] = halt_plan_[halts_done_].second;
    for (u32 i = 0; i < config_.exchange.symbols.size(); ++i) {
      if (config_.exchange.symbols[i].symbol == symbol) exchange_.halt(i, stop ? 'H' : 'T', stop ? "T1" : "", now_ns);
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
    const HeldInput input = std::move(held_.front());
    held_.pop_front();
    exchange_.on_ouch(input.port, input.message, now_ns);
  }
  for (std::size_t i = 0; i < late_.size();) {
    if (late_[i].due_ns > now_ns) {
      ++i;
      continue;
    }
    const HeldInput input = std::move(late_[i]);
    late_.erase(late_.begin() + static_cast<std::ptrdiff_t>(i));
    ++stats.late_in;
    exchange_.on_ouch(input.port, input.message, now_ns);
  }
}

TimeNs VenueServer::Impl::next_due(TimeNs now_ns) const {
  TimeNs next = std::min(exchange_.next_timer(), lines_.next_ns());
  if (!flow_paused_) next = std::min(next, recorded_ != nullptr ? recorded_->next_ns() : flow_.next_ns());
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
bool VenueServer::running() const { return impl_->running(); }
const ServerAddresses& VenueServer::addresses() const { return impl_->addresses; }
void VenueServer::call(const std::function<void(Exchange&, TimeNs)>& f) { impl_->call(f); }

void VenueServer::halt(const std::string& symbol, char state, const std::string& reason) {
  call([&](Exchange& x, TimeNs now_ns) {
    for (u32 i = 0; i < x.config().symbols.size(); ++i) {
      if (x.config().symbols[i].symbol == symbol) x.halt(i, static_cast<u8>(state), reason, now_ns);
    }
  });
}
bool VenueServer::bust(u64 match, char reason) {
  bool done = false;
  call([&](Exchange& x, TimeNs now_ns) { done = x.bust(match, static_cast<u8>(reason), now_ns); });
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
