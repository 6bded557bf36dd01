// A network in memory under virtual time: the engine's socket calls on one side, the venue's doors on the other.
//
//   engine ── NetOps ──▶ up ──(split, delayed)──▶ StreamPeer          streams keep their order, datagrams need not
//          ◀─────────── down ◀──(split, delayed)──
//
// Every draw comes from one seed. A connection that dies may leave bytes behind that reach the venue late, after the
// login of the connection that follows it, or never.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "core/net_ops.h"
#include "core/rng.h"

namespace peregrine::venue {

struct NetworkFaults {
  TimeNs low_ns = 20'000;      // how long a piece of a stream or a datagram takes …
  TimeNs high_ns = 250'000;    // … at most
  u32 split_ppm = 300'000;     // a write is cut somewhere, again and again with this chance
  u32 partial_ppm = 60'000;    // the socket takes only a part of what the engine sends
  u32 block_ppm = 40'000;      // … or nothing (would block)
  u32 refuse_ppm = 100'000;    // a connection is refused
  u32 reset_ppm = 0;           // a send of the engine finds its connection reset
  u32 late_ppm = 500'000;      // a dead connection's bytes still come, up to late_ns later
  u32 lost_ppm = 300'000;      // … or end somewhere
  TimeNs late_ns = 60'000'000;
};

// The venue's end of the streams.
class StreamPeer {
 public:
  virtual void accepted(u32 stream, u16 port) = 0;
  virtual void arrived(u32 stream, Bytes bytes) = 0;
  virtual void ended(u32 stream) = 0;
  virtual void datagram_in(u16 port, u16 from, Bytes bytes) = 0;

 protected:
  ~StreamPeer() = default;
};

// Sees what the engine does to the world; may throw to end the process there.
class EffectHook {
 public:
  virtual void before_effect() = 0;                       // nothing of it is visible yet
  virtual void after_send(u16 port, std::size_t taken) = 0;  // the bytes have left; the engine does not know it yet

 protected:
  ~EffectHook() = default;
};

class SimulatedNetwork {
 public:
  SimulatedNetwork(const NetworkFaults& faults, u64 seed, const TimeNs& now_ns);
  SimulatedNetwork(const SimulatedNetwork&) = delete;
  SimulatedNetwork& operator=(const SimulatedNetwork&) = delete;

  void attach(StreamPeer* peer) { peer_ = peer; }
  void set_hook(EffectHook* hook) { hook_ = hook; }
  void set_faults(const NetworkFaults& faults) { faults_ = faults; }
  const NetworkFaults& faults() const { return faults_; }
  const NetOps& ops() const { return ops_; }

  // The process is gone: its sockets close as the kernel closes them; after a power cut nobody says so.
  void kill(bool power_cut, int owner = 0);
  void set_owner(int owner) { owner_ = owner; }  // of the sockets made from now on: which process runs
  // Both ends of every connection to `port` find it reset.
  void reset_streams(u16 port);

  // The venue's side.
  void write(u32 stream, Bytes bytes);
  bool held(u32 stream) const { return descriptors_[stream]->stream->held; }  // the engine still has it
  void close(u32 stream);                    // after what was written
  void datagram(u16 port, Bytes bytes);      // to whoever is bound there
  void datagram_to_asker(Bytes bytes);       // answers the request datagram_in is about

  TimeNs venue_due_ns() const;   // the next thing that reaches the venue
  TimeNs engine_due_ns() const;  // … the engine
  void deliver();                // what is due reaches the venue
  bool quiet() const { return venue_due_ns() == INT64_MAX; }
  u64 late_bytes() const { return late_bytes_; }

 private:
  friend struct NetworkCalls;
  struct Piece {
    TimeNs due_ns;
    std::vector<u8> bytes;
    std::size_t at = 0;
  };
  struct Pipe {
    std::deque<Piece> pieces;
    TimeNs last_ns = 0;
    TimeNs end_ns = INT64_MAX;  // the other side learns that nothing follows
    TimeNs due_ns() const { return pieces.empty() ? end_ns : pieces.front().due_ns; }
  };
  struct Stream {
    u16 port = 0;
    bool asked = false;     // connect was called
    bool refused = false;
    bool accepted = false;  // the venue knows it
    bool held = false;      // the engine has it open
    bool ended = false;     // the venue was told of the end, or ended it
    bool reset = false;     // the engine's next call finds an error
    TimeNs connected_ns = INT64_MAX;
    Pipe up, down;
  };
  struct Datagrams {
    u16 port = 0;
    std::deque<Piece> queue;
  };
  struct Descriptor {
    int type = 0;
    int owner = 0;
    bool open = false;
    std::unique_ptr<Stream> stream;
    Datagrams datagrams;
  };
  static constexpr int kFirst = 1000;

  bool roll(u32 ppm) { return ppm > 0 && rng_.below(1'000'000) < ppm; }
  TimeNs delay_ns() { return rng_.between(faults_.low_ns, faults_.high_ns); }
  void put(Pipe& pipe, Bytes bytes);
  void leave_behind(Stream& s, bool silent);
  void close_descriptor(Descriptor& d, bool silent);
  Descriptor* find(int fd);

  NetworkFaults faults_;
  Rng rng_;
  const TimeNs& now_ns_;
  NetOps ops_{};
  StreamPeer* peer_ = nullptr;
  EffectHook* hook_ = nullptr;
  std::vector<std::unique_ptr<Descriptor>> descriptors_;
  std::vector<u32> live_;  // streams the venue may still hear of
  struct Request {
    TimeNs due_ns;
    u16 port, from;
    std::vector<u8> bytes;
  };
  std::deque<Request> requests_;
  u16 next_port_ = 50'000;
  u16 asker_ = 0;
  int owner_ = 0;
  u64 late_bytes_ = 0;
};

}  // namespace peregrine::venue
