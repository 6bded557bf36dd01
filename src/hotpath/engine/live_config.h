// How an engine is attached to the world: addresses, credentials, placement, batch limits.
#pragma once

#include <string>
#include <vector>

#include "engine/tcp_client.h"
#include "market/feed_receiver.h"

namespace peregrine::engine {

enum class IdleMode : u8 { kSpin, kYield, kSleep };
enum class Topology : u8 { kInline, kPipelined };

// The order-entry port of one shard.
struct SessionPort {
  Endpoint ouch;
  std::string username, password;  // never journaled, never shown
};

struct LiveConfig {
  Endpoint ouch, itch_a, itch_b, retransmit, glimpse;  // port 0 = not there
  std::string interface_address = "127.0.0.1";         // joins multicast groups
  std::string username, password;                      // of the snapshot service; of the shard where there is one
  FeedReceiverConfig feed;
  TimeNs heartbeat_ns = 1'000'000'000;
  TimeNs silence_ns = 15'000'000'000;
  TimeNs reconnect_delay_ns = 200'000'000;
  TimeNs connect_timeout_ns = 2'000'000'000;
  Topology topology = Topology::kInline;
  u32 shards_per_thread = 1;         // pipelined
  u64 feed_ring_bytes = 4u << 20;    // pipelined, feed to one shard; a power of two
  TimeNs max_lag_ns = 500'000'000;   // pipelined, a packet that waited longer for its shard is not traded on; 0 = any
  u64 session_ring_bytes = 1u << 20; // pipelined, each way between one shard and its session; a power of two
  u64 hold_bytes = 4u << 20;         // pipelined, live messages of one shard kept while its books are rebuilt
  IdleMode idle = IdleMode::kYield;
  // -1 = not pinned. Inline: the first of engine_cpus; pipelined: one for each shard thread.
  std::vector<int> engine_cpus;
  int feed_cpu = -1;
  int session_cpu = -1;
  bool refuse_bad_placement = false;  // do not trade when pinning failed
  TimeNs stall_ns = 10'000'000;      // a shard not looked at for longer has stalled; counted, nothing else
  u32 stage_sample = 8;              // inner stages are stamped for one message in this many
  TimeNs run_for_ns = 0;             // 0 = until stopped
  TimeNs drain_timeout_ns = 4'000'000'000;  // for a venue that is slow, or a connection that comes back
  TimeNs supervisor_timeout_ns = 0;  // 0 = no supervisor expected
  TimeNs noise_ns = 200'000'000;     // noise floor measured at start for so long
  std::size_t send_buffer_bytes = 1u << 20;  // kept for a socket that takes nothing just now
  const NetOps* net = nullptr;               // nullptr = the system's
};

}  // namespace peregrine::engine
