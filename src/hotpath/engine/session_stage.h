// The order session's transport of one shard: connects, logs in, sends, and tells the shard what came of it.
//
// It decides nothing. Bytes made for a connection that is gone are not sent on the next one: the shard is told
// -ENOTCONN, and the fence of the new connection settles what those orders are.
// The way to the shard is full: nothing is read from the socket, so TCP holds the venue back; a packet is never lost.
#pragma once

#include <vector>

#include "engine/live_config.h"
#include "engine/soup_client.h"
#include "engine/stage.h"

namespace peregrine::engine {

SoupClientConfig soup_config(const LiveConfig& c, const SessionPort& port);

class SessionStage final : public SessionDoor, private SoupHandler {
 public:
  SessionStage(const LiveConfig& config, const SessionPort& port, ThreadClock& clock);

  void attach(InputSink& shard) { shard_ = &shard; }
  void start() { client_.start(); }
  bool poll();
  int fd() const { return client_.fd(); }
  bool stopped() const { return stopped_; }
  void queues(std::vector<QueueUse>& out) const;

  // SessionDoor
  bool send(const WireHead& head, Bytes wire) override;
  void settle() override;
  bool login(const LoginHead& head) override;
  bool stop() override;

 private:
  // Room for connection changes and send results is kept free of packets.
  static constexpr u64 kReservedBytes = 16 * 1024;
  // What a byte from the venue can become in a ring: an empty packet of 3 bytes takes a record of 32.
  static constexpr u64 kGrowth = 12;

  void on_connected() override;
  void on_packet(Bytes packet) override;
  void on_lost(LostReason reason) override;
  void on_flushed(u32 bytes_asked, i32 result) override;
  void put_result(const journal::SendResult& r, const Stamps& stamps);

  ThreadClock& clock_;
  SoupClient client_;
  InputSink* shard_ = nullptr;
  u32 connection_ = 0;
  bool up_ = false;           // the shard has been told of connection_
  bool stopped_ = false;
  bool packet_refused_ = false;
  u64 last_intent_seq_ = 0;
  bool result_pending_ = false;
  journal::SendResult result_{};
  Stamps result_stamps_{};
  u64 times_held_ = 0;
  bool held_ = false;         // not reading for want of room
};

}  // namespace peregrine::engine
