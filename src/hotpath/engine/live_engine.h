// The live loop of one shard: polls its sources in a fixed rotation and feeds what it finds to the state machine.
//
//   one round = line A, line B, re-request answers (each at most one batch of UdpReceiver::kBatch packets), order session,
//               snapshot session, control words, commands, timers
//
// The order in which inputs are consumed is what the journal records; nothing else about the loop matters to a replay.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "core/clock.h"
#include "core/command_ring.h"
#include "core/shm.h"
#include "engine/live_config.h"
#include "engine/soup_client.h"
#include "engine/step_runner.h"
#include "engine/telemetry.h"
#include "market/live_feed.h"

namespace peregrine::engine {

enum class StopReason : u8 { kNotStopped = 0, kTimeUp = 1, kAsked = 2, kSignal = 3, kJournal = 4, kPlacement = 5 };

// A command on its way to the hot thread. A policy to be staged travels with it.
struct CommandMessage {
  journal::CommandKind kind{};
  u64 idempotency_key = 0;
  std::vector<u8> body;
  std::unique_ptr<Policy> policy;  // kBankSwap: staged into `slot` first
  u32 slot = 0;
};

class LiveEngine final : private FeedSink, private StageProbe {
 public:
  // All references outlive this object. `segment` and `commands` may be null (no control plane attached).
  LiveEngine(const LiveConfig& config, StepRunner& runner, journal::Appender& appender, Telemetry& telemetry,
             Segment* segment, CommandReader* commands, const TscClock& clock);
  ~LiveEngine();

  // Binds the feed sockets; an empty string, or what failed and the fix.
  std::string open();
  // Runs on the calling thread until stopped: drains (cancels everything, waits for the answers) before it returns.
  StopReason run();

  // From any thread.
  void request_stop(StopReason why) {
    u8 none = 0;
    stop_.compare_exchange_strong(none, static_cast<u8>(why), std::memory_order_acq_rel);
  }
  void request_kill() { kill_.store(true, std::memory_order_release); }
  void supervisor_beat() { supervisor_beats_.fetch_add(1, std::memory_order_relaxed); }
  // False while the one before is still on its way.
  bool post(std::unique_ptr<CommandMessage> command);

  const FeedReceiver& feed() const { return feed_; }
  u64 kernel_drops() const;
  TimeNs now_ns() const { return now_; }
  // Why the engine's thread is not where it was asked to be; empty = it is.
  const std::string& placement_error() const { return placement_error_; }

 private:
  // The order session's transport.
  class OrderLine final : public SoupHandler {
   public:
    explicit OrderLine(LiveEngine& e) : engine_(e) {}
    void on_connected(soup::LoginRequest& login) override;
    void on_packet(Bytes packet) override;
    void on_lost(LostReason reason) override;
    void on_flushed(u32 bytes_asked, i32 result) override;

   private:
    LiveEngine& engine_;
  };
  // The snapshot service's transport.
  class SnapshotLine final : public SoupHandler {
   public:
    explicit SnapshotLine(LiveEngine& e) : engine_(e) {}
    void on_connected(soup::LoginRequest& login) override;
    void on_packet(Bytes packet) override;
    void on_lost(LostReason reason) override;
    void on_flushed(u32, i32) override {}

   private:
    LiveEngine& engine_;
  };

  // FeedSink
  void on_block(u64 seq, u8 line, Bytes msg) override;
  void on_ahead(std::span<const Bytes> messages) override { runner_.shard().market().prefetch(messages); }
  void on_snapshot_block(u64 n, Bytes msg) override;
  void on_state(const journal::FeedStateChange& change) override;
  void request(u64 seq, u16 count) override;
  void open_snapshot() override;
  void close_snapshot() override;
  // StageProbe
  void mark(Stage stage) override;

  bool round();
  bool poll_line(u8 line);
  bool poll_requests();
  bool poll_control();
  bool poll_commands();
  bool poll_command_ring();
  void place();
  bool poll_timers();
  void consume(journal::RecordType type, Bytes head, Bytes body = {});
  void send_wire();
  void control(journal::ControlKind kind, u64 value);
  void journal_refused();
  void update_telemetry();
  void begin_drain();
  void idle();
  void tick() { now_ = clock_.now_ns(); }

  LiveConfig config_;
  StepRunner& runner_;
  journal::Appender& appender_;
  Telemetry& telemetry_;
  Segment* segment_;
  CommandReader* commands_;
  TscClock clock_;
  FeedReceiver feed_;
  UdpReceiver lines_[2];
  UdpReceiver requests_;  // re-requests leave from here, their answers come back here
  sockaddr_in retransmit_to_{};
  OrderLine order_line_;
  SnapshotLine snapshot_line_;
  SoupClient orders_;
  SoupClient snapshots_;
  bool snapshot_wanted_ = false;

  TimeNs now_ = 0;
  TimeNs started_ns_ = 0;
  TimeNs housekeeping_ns_ = 0;
  TimeNs state_hash_ns_ = 0;
  TimeNs telemetry_ns_ = 0;
  TimeNs discipline_ns_ = 0;
  TimeNs drain_until_ns_ = 0;
  u64 packet_ticks_ = 0;   // when the packet under way was received; 0 = not a packet
  u64 stage_ticks_ = 0;
  u64 messages_ = 0;
  u64 idle_polls_ = 0;
  u32 connections_ = 0;
  u32 kill_seen_ = 0;
  bool journal_stopped_ = false;
  u64 supervisor_seen_ = 0;
  TimeNs supervisor_ns_ = 0;
  bool supervisor_lost_ = false;
  std::string placement_error_;
  u64 malformed_commands_ = 0;
  static constexpr u32 kSentRing = 4096;
  std::unique_ptr<i64[]> sent_ns_;  // by order number, for order-to-ack
  std::atomic<u8> stop_{0};
  std::atomic<bool> kill_{false};
  std::atomic<u64> supervisor_beats_{0};
  std::atomic<CommandMessage*> mailbox_{nullptr};
};

}  // namespace peregrine::engine
