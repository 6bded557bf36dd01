// The inside of VenueServer: one thread's state, in one class over two files (server.cpp: the loop, server_io.cpp:
// connections and re-requests).
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "venue/connection.h"
#include "venue/net.h"
#include "venue/server.h"

namespace peregrine::venue {

inline constexpr std::size_t kMaxUnsentBytes = 64u << 20;  // a client that reads no more is cut off

class VenueServer::Impl final : private ExchangeSink, private DatagramSink {
 public:
  explicit Impl(const ServerConfig& config);
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
  void set_flow_rate(u32 rate_per_s);
  void set_session_state(SessionState state, TimeNs now_ns);
  const FeedLines& lines() const { return lines_; }
  // One input of the day: on file first, then done.
  u64 input(DayInput kind, TimeNs now_ns, u16 port = 0, Bytes payload = {});
  const ServerConfig& config() const { return config_; }
  std::string error() {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  u64 state_bytes() const { return writer_ != nullptr ? writer_->offset() : read_bytes_; }

 private:
  static ServerConfig continued(ServerConfig c);
  void rebuild();
  void resume();
  // The wall gives the start, the monotonic clock every step from there; time never lies before the day's last input.
  TimeNs now() const { return wall_base_ns_ + (monotonic_ns() - mono_base_ns_); }

  void ouch(PortIx port, u64 seq, Bytes message) override;
  void itch(u64 seq, u16 locate, Bytes message) override;
  void datagram(int line, Bytes packet) override;

  void open_sockets();
  void close_sockets();
  void run();
  void loop();
  void run_commands();
  void say_goodbye();
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
  Day day_;
  Exchange& exchange_ = day_.exchange();
  std::unique_ptr<DayWriter> writer_;
  u64 read_bytes_ = 0, torn_bytes_ = 0;  // of the day's file when it was rebuilt
  u32 read_records_ = 0;
  bool rebuilding_ = false;
  FeedLines lines_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> port_connection_;
  std::deque<HeldInput> held_;   // of living connections, in order of arrival
  std::vector<HeldInput> late_;  // of dead ones
  int ouch_fd_ = -1, glimpse_fd_ = -1, retransmit_fd_ = -1, wake_fd_ = -1;
  int feed_fd_[2] = {-1, -1};
  int feed_held_[2] = {-1, -1};  // what keeps the ports of lines given with port 0 from other venues
  sockaddr_in feed_to_[2] = {};
  sockaddr_in answer_to_ = {};
  TimeNs wall_base_ns_ = 0, mono_base_ns_ = 0, started_ns_ = 0, next_disconnect_ns_ = INT64_MAX, now_ns_ = 0;
  std::size_t halts_done_ = 0;
  std::vector<std::pair<TimeNs, std::pair<std::string, bool>>> halt_plan_;
  std::thread thread_;
  std::mutex mutex_;
  std::deque<std::function<void()>> commands_;
  bool stopping_ = false;
  bool loop_over_ = false;  // nobody will take a command any more
  bool flow_paused_ = false;
  std::string error_;
};

}  // namespace peregrine::venue
