// One SoupBinTCP connection on the venue's side: framing, login, sequenced output, heartbeats. The socket is
// non-blocking; what it does not take waits in `out`.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "execution/soup.h"
#include "venue/store.h"

namespace peregrine::venue {

struct Connection {
  enum class Kind : u8 { kOuch, kGlimpse };

  int fd = -1;
  Kind kind = Kind::kOuch;
  bool logged_in = false;
  bool closing = false;  // close once `out` is sent
  PortIx port = 0;
  u64 next_seq = 1;  // of the next sequenced packet to go out
  TimeNs opened_ns = 0;
  TimeNs last_rx_ns = 0;
  TimeNs last_tx_ns = 0;
  std::unique_ptr<soup::Framer> framer = std::make_unique<soup::Framer>();
  std::vector<u8> out;
  std::size_t out_at = 0;
  MessageStore snapshot;  // GLIMPSE: what this connection is sent

  void packet(u8 type, Bytes payload, TimeNs now_ns) {
    const std::size_t at = out.size();
    out.resize(at + payload.size() + 3);
    soup::frame(type, payload, out.data() + at);
    last_tx_ns = now_ns;
  }
  // Everything of `store` from next_seq on.
  void pump(const MessageStore& store, TimeNs now_ns) {
    for (; next_seq <= store.size(); ++next_seq) packet(soup::kSequenced, store.at(next_seq), now_ns);
  }
  bool pending() const { return out_at < out.size(); }
};

// An inbound order packet that waits (fault `lag`, `late`).
struct HeldInput {
  TimeNs due_ns;
  PortIx port;
  std::vector<u8> message;
  const Connection* from;  // null once that connection is dead
};

}  // namespace peregrine::venue
