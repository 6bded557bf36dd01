// The feed's sockets and its receiver: packets in, whole messages out to the shards they belong to.
//
//   one poll = line A, line B, re-request answers (each at most one batch of UdpReceiver::kBatch packets), snapshot
//              session, a shard's own rebuild, timers
#pragma once

#include <string>
#include <vector>

#include "engine/feed_router.h"
#include "engine/live_config.h"
#include "engine/soup_client.h"
#include "market/live_feed.h"

namespace peregrine::engine {

class FeedStage final : private FeedSink, private FeedRouter::Transport {
 public:
  FeedStage(const LiveConfig& config, const std::vector<std::vector<std::string>>& symbols, ThreadClock& clock,
            EngineControl& control);

  // Binds the feed sockets; an empty string, or what failed and the fix.
  std::string open();
  void start() { feed_.start(clock_.now_ns); }
  bool poll();
  void stop();

  FeedRouter& router() { return router_; }
  const FeedRouter& router() const { return router_; }
  const FeedReceiver& receiver() const { return feed_; }
  u64 kernel_drops() const { return lines_[0].stats().kernel_drops + lines_[1].stats().kernel_drops; }
  // Sockets to sleep on; -1 = not open.
  static constexpr int kFds = 5;
  void fds(int out[kFds]) const;
  void queues(std::vector<QueueUse>& out) const;

 private:
  // A client of the snapshot service: the common one, or that of a shard's rebuild.
  class SnapshotLine final : public SoupHandler {
   public:
    SnapshotLine(FeedStage& f, bool rebuild) : stage_(f), rebuild_(rebuild) {}
    void on_connected() override;
    void on_packet(Bytes packet) override;
    void on_lost(LostReason reason) override;
    void on_flushed(u32, i32) override {}

   private:
    FeedStage& stage_;
    const bool rebuild_;
  };

  // FeedSink
  void on_block(u64 seq, u8 line, Bytes msg) override { router_.on_block(seq, line, msg); }
  void on_ahead(std::span<const Bytes> messages) override { router_.on_ahead(messages); }
  void on_snapshot_block(u64 n, Bytes msg) override { router_.on_snapshot_block(n, msg); }
  void on_state(const journal::FeedStateChange& change) override { router_.on_state(change); }
  void request(u64 seq, u16 count) override;
  void open_snapshot() override;
  void close_snapshot() override { snapshot_wanted_ = false; }
  // FeedRouter::Transport
  void open_rebuild() override;
  void close_rebuild() override;

  bool poll_line(u8 line);
  bool poll_requests();
  bool poll_snapshots();

  const LiveConfig& config_;
  ThreadClock& clock_;
  EngineControl& control_;
  FeedReceiver feed_;
  FeedRouter router_;
  UdpReceiver lines_[2];
  UdpReceiver requests_;  // re-requests leave from here, their answers come back here
  sockaddr_in retransmit_to_{};
  SnapshotLine snapshot_line_;
  SnapshotLine rebuild_line_;
  SoupClient snapshots_;
  SoupClient rebuilds_;
  bool snapshot_wanted_ = false;
  bool rebuild_wanted_ = false;
  bool in_rebuild_poll_ = false;
  u64 snapshot_holds_ = 0;  // polls in which the snapshot had to wait for a shard
};

}  // namespace peregrine::engine
