// The venue of the simulated world: exchange, flow, feed lines and doors, on the network in memory.
#pragma once

#include <memory>
#include <vector>

#include "venue/connection.h"
#include "venue/flow.h"
#include "venue/lines.h"
#include "venue/simulation_network.h"

namespace peregrine::venue {

inline constexpr u16 kOuchPort = 1, kGlimpsePort = 2, kRetransmitPort = 3, kLineAPort = 4, kLineBPort = 5;

struct SimulatedVenueConfig {
  ExchangeConfig exchange;
  FlowParams flow;
  LineFaults lines[kLines];
  i64 heartbeat_ns = 100'000'000;
  i64 silence_ns = 400'000'000;
  i64 feed_heartbeat_ns = 20'000'000;
  TimeNs halt_at_ns = INT64_MAX;  // the first symbol stands still from here …
  TimeNs halt_until_ns = INT64_MAX;
};

// One order message as it came to the venue, whatever became of it.
struct Arrival {
  TimeNs at_ns;
  PortIx port;
  bool late;  // its connection was no longer the port's, or nobody's
  std::vector<u8> message;
};

class SimulatedVenue final : private ExchangeSink, private DatagramSink, private StreamPeer {
 public:
  SimulatedVenue(const SimulatedVenueConfig& config, SimulatedNetwork& network, const TimeNs& now_ns);
  SimulatedVenue(const SimulatedVenue&) = delete;
  SimulatedVenue& operator=(const SimulatedVenue&) = delete;

  void start();
  TimeNs due_ns() const;
  void step();  // everything due now
  void mass_cancel_by_hand(PortIx port);  // somebody else uses the port, and its numbers
  void stop_flow() { flow_on_ = false; }

  const Exchange& exchange() const { return exchange_; }
  const std::vector<Arrival>& arrivals() const { return arrivals_; }

 private:
  struct Door {
    Connection c;
    u32 stream = 0;
    bool gone = false;  // the network told the end of it
  };
  void ouch(PortIx port, u64 seq, Bytes message) override;
  void itch(u64 seq, u16 locate, Bytes message) override;
  void datagram(int line, Bytes packet) override;
  void accepted(u32 stream, u16 port) override;
  void arrived(u32 stream, Bytes bytes) override;
  void ended(u32 stream) override;
  void datagram_in(u16 port, u16 from, Bytes bytes) override;

  Door* door_of(u32 stream);
  void on_packet(Door& d, Bytes packet);
  void on_login(Door& d, Bytes payload);
  void leave(Door& d);
  void write_out();

  SimulatedVenueConfig config_;
  SimulatedNetwork& network_;
  const TimeNs& now_ns_;
  Exchange exchange_;
  Flow flow_;
  FeedLines lines_;
  std::vector<std::unique_ptr<Door>> doors_;
  std::vector<Door*> port_door_;
  std::vector<Arrival> arrivals_;
  bool flow_on_ = true;
  int halts_done_ = 0;
};

}  // namespace peregrine::venue
