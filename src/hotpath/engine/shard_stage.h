// One shard with everything that is its alone: journal, telemetry, timers, commands, control word. It takes inputs
// from wherever they come, in the order they come, and is the only writer of its journal.
//
//   put(): append to the journal, step, hand the bytes of journaled intents to the session's door
//
// Door full: the bytes stay in the runner and the shard consumes a send result that says so, which shuts the gate for
// new orders; what still comes (cancels) has the rest of the runner's buffer, and all of it goes first later.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "core/command_ring.h"
#include "core/shm.h"
#include "engine/command_acks.h"
#include "engine/live_config.h"
#include "engine/stage.h"
#include "engine/step_runner.h"
#include "engine/telemetry.h"

namespace peregrine::engine {

// A command on its way to the shard's thread. A policy to be staged travels with it.
struct CommandMessage {
  journal::CommandKind kind{};
  u64 idempotency_key = 0;
  std::vector<u8> body;  // with the origin behind it: the shard's thread makes nothing longer
  u16 origin_bytes = 0;  // who, why, when
  std::unique_ptr<Policy> policy;  // kBankSwap: staged into `slot` first
  u32 slot = 0;
};

// What a shard is made from; all of it outlives the stage. `segment` and `commands` may be null (no control plane).
struct ShardParts {
  StepRunner* runner = nullptr;
  journal::Appender* appender = nullptr;
  Telemetry* telemetry = nullptr;
  Segment* segment = nullptr;
  CommandReader* commands = nullptr;
  CommandAcks acks;  // told of what became of them, where there is a segment
  SessionPort port;
};

class ShardStage final : public InputSink, private StageProbe {
 public:
  ShardStage(const LiveConfig& config, const ShardParts& parts, bool heartbeats, ThreadClock& clock,
             EngineControl& control);
  ~ShardStage();
  ShardStage(const ShardStage&) = delete;
  ShardStage& operator=(const ShardStage&) = delete;

  void attach(SessionDoor& door) { door_ = &door; }
  void start();
  // Kill word, commands, timers, what waits for room, and the way to the end once a stop is asked for.
  bool poll();
  // Cancelled, logged out, last state hash written: nothing is consumed any more.
  bool over() const { return phase_ == Phase::kOver; }
  void finish();  // the last telemetry

  // Its thread turns to it. `rested`: it has slept or yielded since the last time.
  void look(bool rested);
  // Which thread polls it; told by that thread.
  void set_thread(u32 thread) { thread_ = thread; }
  u32 thread() const { return thread_; }
  // Threads it may be moved between, 0 = it stays where it is.
  void allow_moves(u32 threads) { move_threads_ = threads; }
  static constexpr u32 kStay = 0xFFFFFFFF;
  // Where a command wants it, once; kStay = where it is.
  u32 take_move() { return std::exchange(move_to_, kStay); }

  // InputSink: consumed before it returns.
  bool put(journal::RecordType type, const Stamps& stamps, Bytes head, Bytes body) override;
  void ahead(std::span<const Bytes> messages) override { runner_.shard().market().prefetch(messages); }
  bool put_closed() override;
  u64 room_bytes() const override { return UINT64_MAX; }
  void overrun(u32) override {}
  bool put_overrun_mark(u32) override { return true; }

  // From any thread. False while the one before is still on its way.
  bool post(std::unique_ptr<CommandMessage> command);

  const Shard& shard() const { return runner_.shard(); }
  const StepRunner& runner() const { return runner_; }
  const journal::Appender& appender() const { return appender_; }
  const Telemetry& telemetry() const { return telemetry_; }
  Telemetry& telemetry() { return telemetry_; }
  TimeNs started_ns() const { return started_ns_; }
  void add_idle_poll() { ++idle_polls_; }
  // Own queues: runner's buffer, journal ring, command ring.
  void queues(std::vector<QueueUse>& out) const;

 private:
  enum class Phase : u8 { kRunning, kDraining, kLeaving, kOver };

  void mark(Stage stage) override;
  bool consume(journal::RecordType type, Bytes head, Bytes body = {});
  void hand_over_wire();
  void hand_over_login();
  void measure_ack(Bytes packet);
  void note_lag(u64 ticks);
  void control(journal::ControlKind kind, u64 value);
  void journal_refused();
  bool poll_control();
  bool poll_mailbox();
  bool poll_command_ring();
  void poll_supervisor(bool& busy);
  void command(const journal::CommandHead& head, Bytes rest);
  bool move_target(const journal::CommandHead& head, Bytes rest, u32& thread) const;
  bool poll_timers();
  void poll_end();
  void update_telemetry(bool whole);
  void update_limits();
  void update_instruments(bool whole);
  void update_health();

  const LiveConfig& config_;
  StepRunner& runner_;
  journal::Appender& appender_;
  Telemetry& telemetry_;
  Segment* segment_;
  CommandReader* commands_;
  CommandAcks acks_;
  ThreadClock& clock_;
  EngineControl& control_;
  SessionDoor* door_ = nullptr;
  const bool heartbeats_;  // one shard of an engine gives the segment's sign of life

  Phase phase_ = Phase::kRunning;
  TimeNs started_ns_ = 0;
  TimeNs housekeeping_ns_ = 0;
  TimeNs state_hash_ns_ = 0;
  TimeNs telemetry_ns_ = 0;
  TimeNs give_up_ns_ = 0;     // of the phase under way
  u64 packet_ticks_ = 0;      // when the packet under way was received; 0 = not a packet
  u64 measured_ticks_ = 0;    // the packet whose first order has been measured
  u64 stage_ticks_ = 0;
  u64 messages_ = 0;
  u64 idle_polls_ = 0;
  u32 connection_ = 0;        // 0 = none stands
  u32 connections_ = 0;
  u32 overruns_ = 0;
  u32 kill_seen_ = 0;
  u32 next_instrument_ = 0;
  bool journal_stopped_ = false;  // no market data any more, the rest from the journal's reserve
  bool reserve_spent_ = false;    // … and that is used up: nothing is consumed
  bool login_wanted_ = false;
  bool refusal_told_ = false;  // the shard knows that its bytes wait
  bool door_closed_ = false;
  bool stop_asked_ = false;
  u64 wire_refused_ = 0;
  u64 wire_high_ = 0;
  u64 journal_high_ = 0;
  u64 journal_full_ = 0;
  u64 supervisor_seen_ = 0;
  TimeNs supervisor_ns_ = 0;
  bool supervisor_lost_ = false;
  u64 malformed_commands_ = 0;
  u64 command_seq_ = 0;  // journal number of the last command consumed
  u32 thread_ = 0;
  u32 move_threads_ = 0;
  u32 move_to_ = kStay;
  u64 rounds_ = 0;
  TimeNs looked_ns_ = 0;
  i64 lag_ns_ = 0;         // oldest message consumed since the last telemetry, when it was consumed
  u64 stalls_ = 0;
  TimeNs stall_max_ns_ = 0;
  static constexpr u32 kSentRing = 4096;
  std::unique_ptr<i64[]> sent_ns_;  // by order number, for order-to-ack
  std::atomic<CommandMessage*> mailbox_{nullptr};
};

}  // namespace peregrine::engine
