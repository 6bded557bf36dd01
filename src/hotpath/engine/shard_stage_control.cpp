// What reaches a shard from outside its market and its venue: kill word, supervisor, commands. All become inputs.
#include <cstring>

#include "engine/shard_stage.h"
#include "risk/limits.h"

namespace peregrine::engine {

using journal::CommandKind;
using journal::ControlKind;
using journal::RecordType;

bool ShardStage::poll_control() {
  bool busy = false;
  u32 level = segment_ != nullptr ? static_cast<u32>(segment_->kill_level()) : 0;
  if (control_.kill.load(std::memory_order_acquire) && level == 0) level = 1;
  if (level != kill_seen_) {
    kill_seen_ = level;
    control(ControlKind::kKillWord, level);
    busy = true;
  }
  if (!journal_stopped_ && !appender_.healthy()) {
    journal_stopped_ = true;
    control(ControlKind::kJournalUnhealthy, 0);
    busy = true;
  }
  if (config_.supervisor_timeout_ns > 0) poll_supervisor(busy);
  return busy;
}

// Its beats come from a thread of this process or, through the segment, from a process of its own.
void ShardStage::poll_supervisor(bool& busy) {
  u64 beats = control_.supervisor_beats.load(std::memory_order_relaxed);
  if (segment_ != nullptr) beats += segment_->supervisor_beats();
  if (beats != supervisor_seen_) {
    supervisor_seen_ = beats;
    supervisor_ns_ = clock_.now_ns;
    if (!supervisor_lost_) return;
    supervisor_lost_ = false;
    control(ControlKind::kSupervisorBack, beats);
    busy = true;
  } else if (!supervisor_lost_ && clock_.now_ns - supervisor_ns_ > config_.supervisor_timeout_ns) {
    supervisor_lost_ = true;
    control(ControlKind::kSupervisorLost, beats);
    busy = true;
  }
}

bool ShardStage::post(std::unique_ptr<CommandMessage> command) {
  CommandMessage* none = nullptr;
  if (!mailbox_.compare_exchange_strong(none, command.get(), std::memory_order_acq_rel)) return false;
  command.release();
  return true;
}

bool ShardStage::poll_mailbox() {
  if (mailbox_.load(std::memory_order_relaxed) == nullptr) return false;
  const std::unique_ptr<CommandMessage> c(mailbox_.exchange(nullptr, std::memory_order_acq_rel));
  if (c == nullptr) return false;
  if (c->policy != nullptr) {
    // Checked where it was posted; a refusal here would make the journal say what did not happen.
    const PolicyError staged = runner_.shard().policies().stage(c->slot, std::move(*c->policy));
    PRG_ASSERT(staged.ok);
  }
  journal::CommandHead head{};
  head.idempotency_key = c->idempotency_key;
  head.kind = static_cast<u16>(c->kind);
  head.body_bytes = static_cast<u32>(c->body.size()) - c->origin_bytes;
  head.origin_bytes = c->origin_bytes;
  command(head, Bytes(c->body.data(), c->body.size()));
  return true;
}

void ShardStage::command(const journal::CommandHead& head, Bytes rest) {
  AckStatus status = AckStatus::kNotJournaled;
  command_seq_ = 0;
  const bool move = head.kind == static_cast<u16>(CommandKind::kMove);
  u32 thread = kStay;
  // Who revives has lifted the kill word before he asked: since this round looked at it, perhaps.
  const bool revive = head.kind == static_cast<u16>(CommandKind::kRevive);
  if (revive && kill_seen_ != 0) poll_control();
  if (revive && kill_seen_ != 0) {
    status = AckStatus::kKillStands;
  } else if (head.kind == static_cast<u16>(CommandKind::kResume) && control_.stopping()) {
    status = AckStatus::kEnding;  // its drain is the last word: a resume may lift one
  } else if (move && !move_target(head, rest, thread)) {
    status = AckStatus::kNoThread;
  } else if (consume(RecordType::kCommand, bytes_of(head), rest)) {
    status = static_cast<AckStatus>(runner_.shard().command_outcome());
    if (move && status == AckStatus::kApplied) move_to_ = thread;
  }
  acks_.tell(head.idempotency_key, command_seq_, clock_.now_ns, head.kind, status);
}

// The thread a move names; false = there is none of that number.
bool ShardStage::move_target(const journal::CommandHead& head, Bytes rest, u32& thread) const {
  if (head.body_bytes != sizeof thread || rest.size() < sizeof thread) return false;
  std::memcpy(&thread, rest.data(), sizeof thread);
  return thread < move_threads_;
}

static_assert(static_cast<u32>(CommandOutcome::kApplied) == static_cast<u32>(AckStatus::kApplied));
static_assert(static_cast<u32>(CommandOutcome::kDuplicate) == static_cast<u32>(AckStatus::kDuplicate));
static_assert(static_cast<u32>(CommandOutcome::kRefused) == static_cast<u32>(AckStatus::kRefused));
static_assert(sizeof(journal::CommandHead) + sizeof(RiskLimits) + 512 <= kCommandMaxBytes);

// Commands of another process: a CommandHead, its body and its origin in one slot; the journal keeps what was consumed.
bool ShardStage::poll_command_ring() {
  if (commands_ == nullptr) return false;
  u8 slot[kCommandMaxBytes];
  u32 bytes = 0;
  const CommandReader::Poll polled = commands_->poll(slot, bytes);
  if (polled == CommandReader::Poll::kNone || polled == CommandReader::Poll::kBroken) return false;
  journal::CommandHead head;
  if (polled == CommandReader::Poll::kMalformed || bytes < sizeof head) {
    ++malformed_commands_;
    return true;
  }
  std::memcpy(&head, slot, sizeof head);
  // A bank travels with its policy through the engine's own process; by ring only a swap back is possible: an
  // artifact here would be staged by a replay, and was not staged live.
  const bool bank = head.kind == static_cast<u16>(CommandKind::kBankSwap) && head.body_bytes != sizeof(u32);
  if (bank || u64{head.body_bytes} + head.origin_bytes != bytes - sizeof head) {
    ++malformed_commands_;
    acks_.tell(head.idempotency_key, 0, clock_.now_ns, head.kind, AckStatus::kMalformed);
    return true;
  }
  command(head, Bytes(slot + sizeof head, bytes - sizeof head));
  return true;
}

}  // namespace peregrine::engine
