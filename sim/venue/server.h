// The venue with real sockets: one thread, one poll loop, the exchange inside.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "venue/day.h"
#include "venue/exchange.h"
#include "venue/faults.h"
#include "venue/flow.h"
#include "venue/lines.h"

namespace peregrine::venue {

struct ServerConfig {
  ExchangeConfig exchange;
  FlowParams flow;
  FaultPlan faults;
  std::string recording;  // ITCH file to replay in place of the generator
  u32 recording_speed_percent = 100;
  std::string state;  // file of the day: every input is written there first; an earlier venue's day there goes on
  std::string host = "127.0.0.1";
  u16 ouch_port = 0;  // 0 = any free one
  u16 glimpse_port = 0;
  u16 retransmit_port = 0;
  std::string itch_a = "127.0.0.1:0";  // destination of line A, unicast or multicast; port 0 = any free one
  std::string itch_b = "127.0.0.1:0";
  i64 heartbeat_ns = 1'000'000'000;
  i64 silence_ns = 15'000'000'000;
  i64 login_timeout_ns = 30'000'000'000;
  bool open_at_start = true;
  u32 datagram_bytes = 1400;
};

// What of it decides the day's course.
DayConfig day_config(const ServerConfig& c);

// Addresses as "host:port" once started.
struct ServerAddresses {
  std::string ouch, itch_a, itch_b, retransmit, glimpse;
};

struct ServerStats {
  u64 itch_messages = 0, retransmit_requests = 0, retransmit_refused = 0, snapshots = 0, connections = 0, logins = 0,
      logins_refused = 0, disconnects_forced = 0, silent_closed = 0, ouch_in = 0, ouch_out = 0, malformed_in = 0,
      late_in = 0, flow_events = 0, send_errors = 0;
  LineStats lines[kLines];
};

class VenueServer {
 public:
  explicit VenueServer(const ServerConfig& config);
  ~VenueServer();
  VenueServer(const VenueServer&) = delete;
  VenueServer& operator=(const VenueServer&) = delete;

  // Binds, starts the thread; throws std::system_error when an address cannot be had, or the day's file not be written.
  void start();
  // Ends the session (Z, end of session on the feed) and joins the thread. Idempotent.
  void stop();
  bool running() const;
  // Not empty: the venue stopped by itself, because its day could not be written.
  std::string error() const;
  const std::string& session() const;  // the day's name; an earlier venue's where the file has one
  u64 state_bytes() const;             // length of the day's file, 0 without one; from call() only
  const ServerAddresses& addresses() const;

  // Each of these is done by the server's thread between two inputs, and waited for.
  void halt(const std::string& symbol, char state, const std::string& reason);
  bool bust(u64 match, char reason);
  void set_session_state(SessionState state);
  void drop_connections();  // order entry only, without a word, as a network failure would
  void pause_flow(bool paused);
  void set_flow_rate(u32 rate_per_s);  // events a second and symbol, above 0
  void silence(bool silent);  // neither feed packets nor heartbeats go out (they can still be asked for)
  ServerStats stats();
  // Runs `f` with the exchange and the venue's present time.
  void call(const std::function<void(Exchange&, TimeNs)>& f);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace peregrine::venue
