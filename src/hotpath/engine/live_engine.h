// Hosts the stages of a live engine on its threads. The stages are the same in every topology; what differs is who
// calls whom:
//
//   inline      one thread: feed stage → every shard → its session, by direct calls, in a fixed rotation
//   pipelined   feed thread ──ring a shard──▶ shard threads (k shards each) ──ring──▶ session thread ──ring──▶ back
//
// One round of `inline` = one poll of the feed stage (see there), then for each shard: session, control words,
// commands, timers. The order in which a shard consumes is what its journal records; nothing else about the loop or
// the topology matters to a replay.
//
// A shard of `pipelined` may change its thread: `owner_` names the one that polls it. Only the owner writes it, when its
// turn with the shard is over (release); the thread named there finds it at its next round (acquire) and with it
// everything the old one did. Between the two nobody polls the shard, and its rings wait. Its clock is its own and goes
// with it, so its time never runs backwards.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engine/feed_stage.h"
#include "engine/session_stage.h"
#include "engine/shard_stage.h"
#include "engine/stage_ring.h"

namespace peregrine::engine {

class LiveEngine final {
 public:
  // Whatever `shards` name outlives this object. At least one, at most FeedRouter::kMaxShards.
  LiveEngine(const LiveConfig& config, const std::vector<ShardParts>& shards, const TscClock& clock);
  // One shard on the configuration's own port.
  LiveEngine(const LiveConfig& config, StepRunner& runner, journal::Appender& appender, Telemetry& telemetry,
             Segment* segment, CommandReader* commands, const TscClock& clock);
  ~LiveEngine();

  // Binds the feed sockets; an empty string, or what failed and the fix.
  std::string open();
  // Runs until stopped, on the calling thread and those it starts: drains (cancels everything, waits for the answers)
  // before it returns.
  StopReason run();

  // The parts run() is made of in the inline topology, for a caller with a clock and a network of its own: start()
  // once; then round() and over() in turn until over() says so; then finish().
  void start();
  bool round();  // true: it found something to do
  bool over() const;
  StopReason finish();

  // From any thread.
  void request_stop(StopReason why) { control_.request_stop(why); }
  void request_kill() { control_.kill.store(true, std::memory_order_release); }
  void supervisor_beat() { control_.supervisor_beats.fetch_add(1, std::memory_order_relaxed); }
  // False while the one before is still on its way.
  bool post(std::size_t shard, std::unique_ptr<CommandMessage> command) {
    return shards_[shard]->post(std::move(command));
  }
  bool post(std::unique_ptr<CommandMessage> command) { return post(0, std::move(command)); }

  // Before run() and after it.
  std::size_t shards() const { return shards_.size(); }
  const ShardStage& shard(std::size_t i) const { return *shards_[i]; }
  const FeedStage& feed_stage() const { return *feed_; }
  const FeedReceiver& feed() const { return feed_->receiver(); }
  u64 kernel_drops() const { return feed_->kernel_drops(); }
  TimeNs now_ns() const { return clocks_[0]->now_ns; }
  u32 threads() const { return config_.topology == Topology::kInline ? 1 : 2 + shard_threads(); }
  struct ShardQueue {
    int shard;  // -1 = the engine's
    QueueUse use;
  };
  std::vector<ShardQueue> queues() const;
  // Why the engine's threads are not where they were asked to be; empty = they are.
  const std::string& placement_error() const { return placement_error_; }

 private:
  struct Link {  // the rings of one shard
    explicit Link(const LiveConfig& c);
    InputRing feed;
    InputRing answers;
    WireRing wire;
  };
  struct Placed;

  static constexpr int kFeedBatch = 64;    // records of the feed's ring, before the shard looks at its other sources
  static constexpr int kAnswerBatch = 16;
  static constexpr int kWireBatch = 16;

  u32 shard_threads() const;
  StopReason run_inline();
  StopReason run_pipelined();
  void feed_loop();
  void session_loop();
  void shard_loop(u32 thread);
  bool turn(std::size_t shard, u32 thread, bool rested);
  void start_stages();
  void idle_inline();
  void idle_on(const int* fds, int n) const;
  void place(Placed& slot) const;
  void judge_placement(std::vector<Placed>& slots);

  LiveConfig config_;
  EngineControl control_;
  // Inline: one. Pipelined: one a shard, then feed, then session.
  std::vector<std::unique_ptr<ThreadClock>> clocks_;
  std::unique_ptr<FeedStage> feed_;
  std::vector<std::unique_ptr<ShardStage>> shards_;
  std::vector<std::unique_ptr<SessionStage>> sessions_;
  std::vector<std::unique_ptr<Link>> links_;
  Segment* segment_ = nullptr;
  std::atomic<u32> threads_placed_{0};
  std::atomic<u32> go_{0};  // 1 = trade, 2 = go home
  std::atomic<u32> shard_threads_over_{0};
  std::atomic<u32> shards_over_{0};
  bool rested_ = true;                        // inline
  bool over_[FeedRouter::kMaxShards] = {};    // counted in shards_over_; the owner's
  alignas(128) std::atomic<u32> owner_[FeedRouter::kMaxShards] = {};  // the thread that polls a shard
  std::string placement_error_;
};

}  // namespace peregrine::engine
