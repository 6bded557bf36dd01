// The two feed lines: ITCH messages into MoldUDP64 packets, each line with its own faults. No sockets, no clock.
#pragma once

#include <map>
#include <vector>

#include "core/rng.h"
#include "market/moldudp64.h"
#include "venue/faults.h"
#include "venue/store.h"

namespace peregrine::venue {

inline constexpr int kLineA = 0, kLineB = 1, kRetransmit = 2, kLines = 3;

struct LineStats {
  u64 packets = 0, lost = 0, reordered = 0, duplicated = 0, corrupted = 0, delayed = 0;
};

class DatagramSink {
 public:
  // line kRetransmit: the answer to the request under way.
  virtual void datagram(int line, Bytes packet) = 0;

 protected:
  ~DatagramSink() = default;
};

class FeedLines {
 public:
  FeedLines(const mold::Session& session, const LineFaults (&faults)[kLines], u64 seed, std::size_t datagram_bytes,
            i64 heartbeat_ns, DatagramSink* sink);

  // A message joins the packet under construction; `flush` sends it.
  void message(u64 seq, Bytes message, TimeNs now_ns);
  void flush(TimeNs now_ns);
  // Heartbeats and delayed packets that are due.
  void on_timer(TimeNs now_ns);
  TimeNs next_ns() const;
  // The messages before `next_seq` went out (or not) in an earlier life: they can be asked for.
  void resume(u64 next_seq);
  void end_of_session(u64 next_seq);
  // Answers a re-request from the store; false when it is malformed, of another session, or past the end.
  bool retransmit(Bytes request, const MessageStore& store);
  const LineStats& stats(int line) const { return lines_[line].stats; }

 private:
  struct Line {
    LineFaults faults;
    Rng rng;
    LineStats stats;
    std::vector<u8> held;  // waits for the packet after it
    std::multimap<TimeNs, std::vector<u8>> delayed;
  };
  void send(int line, Bytes packet, TimeNs now_ns);
  void emit(int line, Bytes packet);
  bool roll(Line& line, u32 ppm) { return ppm > 0 && line.rng.below(1'000'000) < ppm; }

  mold::Session session_;
  std::vector<u8> buffer_;
  std::vector<u8> answer_;
  mold::PacketBuilder builder_;
  i64 heartbeat_ns_;
  DatagramSink* sink_;
  std::vector<Line> lines_;
  u64 next_seq_ = 1;
  TimeNs last_sent_ns_ = 0;
};

}  // namespace peregrine::venue
