// How one shard is attached to the world: addresses, credentials, placement, batch limits.
#pragma once

#include <string>

#include "engine/tcp_client.h"
#include "market/feed_receiver.h"

namespace peregrine::engine {

enum class IdleMode : u8 { kSpin, kYield, kSleep };

struct LiveConfig {
  Endpoint ouch, itch_a, itch_b, retransmit, glimpse;  // port 0 = not there
  std::string interface_address = "127.0.0.1";         // joins multicast groups
  std::string username, password;                      // never journaled, never shown
  FeedReceiverConfig feed;
  TimeNs heartbeat_ns = 1'000'000'000;
  TimeNs silence_ns = 15'000'000'000;
  TimeNs reconnect_delay_ns = 200'000'000;
  TimeNs connect_timeout_ns = 2'000'000'000;
  IdleMode idle = IdleMode::kYield;
  int engine_cpu = -1;  // -1 = not pinned
  bool refuse_bad_placement = false;  // do not trade when pinning failed
  u32 stage_sample = 8;              // inner stages are stamped for one message in this many
  TimeNs run_for_ns = 0;             // 0 = until stopped
  TimeNs drain_timeout_ns = 2'000'000'000;
  TimeNs supervisor_timeout_ns = 0;  // 0 = no supervisor expected
  TimeNs noise_ns = 200'000'000;     // noise floor measured at start for so long
  std::size_t send_buffer_bytes = 1u << 20;  // kept for a socket that takes nothing just now
  const NetOps* net = nullptr;               // nullptr = the system's
};

}  // namespace peregrine::engine
