#include "venue/server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <future>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "core/assert.h"
#include "venue/connection.h"
#include "venue/net.h"

namespace peregrine::venue {
namespace {

// The simulated venue's only clock. The wall gives the start, the monotonic clock every step from there.
TimeNs read_clock(clockid_t id) {
  timespec t;
  ::clock_gettime(id, &t);
  return static_cast<TimeNs>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

constexpr std::size_t kMaxUnsentBytes = 64u << 20;
constexpr int kFlowBatch = 256;  // flow events between two looks at the sockets

std::vector<u8> read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat st {};
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

class VenueServer::Impl final : private ExchangeSink, private DatagramSink {
 public:
  explicit Impl(const ServerConfig& config)
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
  ~Impl() { stop(); }

  void start();
  void stop();
  void call(const std::function<void(Exchange&, TimeNs)>& f);
  bool running() const { return thread_.joinable(); }

  ServerAddresses addresses;
  bool silent = false;
  ServerStats stats;
  void drop_connections();
  void pause_flow(bool paused);
  void set_session_state(SessionState state, TimeNs now_ns);
  const FeedLines& lines() const { return lines_; }

 private:
  static ExchangeConfig with_faults(const ServerConfig& c) {
    ExchangeConfig e = c.exchange;
    e.reject_per_million = c.faults.reject_ppm;
    e.seed = c.flow.seed;
    return e;
  }
  TimeNs now() const { return wall_base_ns_ + (read_clock(CLOCK_MONOTONIC) - mono_base_ns_); }

  void ouch(PortIx port, u64 seq, Bytes message) override;
  void itch(u64 seq, u16 locate, Bytes message) override;
  void datagram(int line, Bytes packet) override;

  void run();
  void step(TimeNs now_ns);
  void run_flow(TimeNs now_ns);
  void run_faults(TimeNs now_ns);
  void run_held(TimeNs now_ns);
  void check_connections(TimeNs now_ns);
  TimeNs next_due(TimeNs now_ns) const;
  void accept_from(int fd, Connection::Kind kind, TimeNs now_ns);
  void read_from(Connection& c, TimeNs now_ns);
  void on_packet(Connection& c, Bytes packet, TimeNs now_ns);
  void on_login(Connection& c, Bytes payload, TimeNs now_ns);
  void write_to(Connection& c);
  void close_connection(std::size_t i, bool reset, TimeNs now_ns);
  void answer_retransmits();

  ServerConfig config_;
  Exchange exchange_;
  Flow flow_;
  FeedLines lines_;
  std::vector<u8> recording_;
  std::unique_ptr<RecordedFlow> recorded_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> port_connection_;
  std::deque<HeldInput> held_;   // of living connections, in order of arrival
  std::vector<HeldInput> late_;  // of dead ones
  int ouch_fd_ = -1, glimpse_fd_ = -1, retransmit_fd_ = -1, wake_fd_ = -1;
  int feed_fd_[2] = {-1, -1};
  sockaddr_in feed_to_[2] = {};
  sockaddr_in answer_to_ = {};
  TimeNs wall_base_ns_ = 0, mono_base_ns_ = 0, started_ns_ = 0, next_disconnect_ns_ = INT64_MAX, now_ns_ = 0;
  std::size_t halts_done_ = 0;
  std::vector<std::pair<TimeNs, std::pair<std::string, bool>>> halt_plan_;
  std::thread thread_;
  std::mutex mutex_;
  std::vector<std::function<void()>> commands_;
  bool stopping_ = false;
  bool flow_paused_ = false;
};

void VenueServer::Impl::start() {
  if (thread_.joinable()) return;
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
  addresses.ouch = format_address(local_address(ouch_fd_));
  addresses.glimpse = format_address(local_address(glimpse_fd_));
  addresses.retransmit = format_address(local_address(retransmit_fd_));
  addresses.itch_a = format_address(feed_to_[0]);
  addresses.itch_b = format_address(feed_to_[1]);

  wall_base_ns_ = read_clock(CLOCK_REALTIME);
  mono_base_ns_ = read_clock(CLOCK_MONOTONIC);
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
  stopping_ = false;
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
  for (int* fd : {&wake_fd_, &ouch_fd_, &glimpse_fd_, &retransmit_fd_, &feed_fd_[0], &feed_fd_[1]}) {
    ::close(*fd);
    *fd = -1;
  }
}

void VenueServer::Impl::call(const std::function<void(Exchange&, TimeNs)>& f) {
  if (!thread_.joinable()) return f(exchange_, now_ns_);
  std::promise<void> done;
  {
    const std::lock_guard lock(mutex_);
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
      stopping = stopping_;
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
  exchange_.on_ouch(c.port, payload, now_ns);
}

void VenueServer::Impl::on_login(Connection& c, Bytes payload, TimeNs now_ns) {
  soup::LoginRequest login;
  const auto refuse = [&](u8 reason) {
    ++stats.logins_refused;
    c.packet(soup::kLoginRejected, Bytes(&reason, 1), now_ns);
    c.closing = true;
  };
  if (!soup::decode(payload, login)) return refuse('A');
  const auto text = [](const auto& field) {
    std::string s(field.begin(), field.end());
    s.erase(s.find_last_not_of(' ') + 1);
    std::transform(s.begin(), s.end(), s.begin(), [](unsigned char x) { return std::toupper(x); });
    return s;
  };
  const int port = exchange_.port_of(text(login.username));
  if (port < 0) return refuse('A');
  std::string password = config_.exchange.ports[static_cast<std::size_t>(port)].password;
  std::transform(password.begin(), password.end(), password.begin(), [](unsigned char x) { return std::toupper(x); });
  if (text(login.password) != password) return refuse('A');
  const soup::SessionId session = soup::make_session(config_.exchange.session.data(), config_.exchange.session.size());
  if (!soup::same_session(login.session, soup::blank_session()) && !soup::same_session(login.session, session)) {
    return refuse('S');
  }

  soup::LoginAccepted accepted;
  accepted.session = session;
  const bool glimpse = c.kind == Connection::Kind::kGlimpse;
  const PortIx ix = static_cast<PortIx>(port);
  if (!glimpse) {
    const u64 next = exchange_.port_store(ix).next_seq();
    if (login.sequence > next) return refuse('S');  // it has seen messages this session never sent
    accepted.sequence = login.sequence == 0 ? next : login.sequence;
    // The newest connection of a port is the true one: the peer knows best that its old one is gone.
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      if (connections_[i].get() == port_connection_[ix] && port_connection_[ix] != nullptr) {
        connections_[i]->out.clear();
        connections_[i]->out_at = 0;
        connections_[i]->closing = true;
        port_connection_[ix] = nullptr;
        exchange_.on_disconnect(ix, now_ns);
        break;
      }
    }
  }
  u8 answer[soup::kLoginAcceptedBytes];
  c.packet(soup::kLoginAccepted, Bytes(answer, soup::encode(accepted, answer)), now_ns);
  c.logged_in = true;
  c.port = ix;
  c.next_seq = accepted.sequence;
  ++stats.logins;
  if (!glimpse) {
    port_connection_[ix] = &c;
    c.pump(exchange_.port_store(ix), now_ns);
    return;
  }
  // The snapshot stands for everything up to the last message published, sent or not yet.
  ++stats.snapshots;
  exchange_.snapshot(c.snapshot, now_ns);
  u8 end[21] = {'G'};
  soup::store_sequence(end + 1, exchange_.itch_store().next_seq());
  c.snapshot.append(Bytes(end, sizeof end));
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
    exchange_.on_disconnect(c->port, now_ns);
  }
}

void VenueServer::Impl::answer_retransmits() {
  u8 request[64];
  for (int n = 0; n < 64; ++n) {
    socklen_t size = sizeof answer_to_;
    const ssize_t got = ::recvfrom(retransmit_fd_, request, sizeof request, 0, reinterpret_cast<sockaddr*>(&answer_to_), &size);
    if (got < 0) return;
    ++stats.retransmit_requests;
    // Only what has gone out on the lines can be asked for again.
    lines_.flush(now_ns_);
    if (!lines_.retransmit(Bytes(request, static_cast<std::size_t>(got)), exchange_.itch_store())) ++stats.retransmit_refused;
  }
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
