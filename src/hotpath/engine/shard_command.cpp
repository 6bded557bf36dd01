// What people and the control plane ask of a shard: each command is one input, applied whole or refused whole.
#include <cstring>

#include "engine/shard.h"

namespace peregrine::engine {

using journal::CommandKind;

namespace {

template <class T>
bool read_body(Bytes body, T& out) {
  if (body.size() < sizeof(T)) return false;
  std::memcpy(&out, body.data(), sizeof(T));
  return true;
}

u32 flags_of(Bytes body) {
  u32 flags = 0;
  (void)read_body(body, flags);
  return flags;
}

}  // namespace

// A repetition is told what became of the first: one that was refused is not done by being asked for twice.
bool Shard::seen_command(u64 key) {
  if (key == 0) return false;
  for (u32 i = 0; i < kCommandKeys; ++i) {
    if (command_keys_[i] != key) continue;
    command_outcome_ = command_refused_[i] ? CommandOutcome::kRefused : CommandOutcome::kDuplicate;
    return true;
  }
  return false;
}

void Shard::remember_command(u64 key, bool refused) {
  if (key == 0) return;
  command_keys_[command_key_next_] = key;
  command_refused_[command_key_next_] = refused;
  command_key_next_ = (command_key_next_ + 1) % kCommandKeys;
}

void Shard::on_command(const Input& in) {
  journal::CommandHead head;
  command_outcome_ = CommandOutcome::kRefused;
  if (in.head.size() != sizeof head) return;
  std::memcpy(&head, in.head.data(), sizeof head);
  if (seen_command(head.idempotency_key)) {
    ++counters_.duplicate_commands;
    return;
  }
  ++counters_.commands;
  const Bytes body = head.body_bytes < in.body.size() ? in.body.first(head.body_bytes) : in.body;  // the origin follows
  if (apply_command(static_cast<CommandKind>(head.kind), body)) command_outcome_ = CommandOutcome::kApplied;
  remember_command(head.idempotency_key, command_outcome_ == CommandOutcome::kRefused);
}

bool Shard::apply_command(CommandKind kind, Bytes body) {
  u32 number = 0;
  switch (kind) {
    case CommandKind::kLimits: {
      RiskLimits limits;
      return read_body(body, limits) && gate_.set_limits(limits);
    }
    case CommandKind::kWeights: {
      i16 weights[kMaxPolicies];
      if (!read_body(body, weights)) return false;
      policies_.set_weights(weights, kMaxPolicies);
      return true;
    }
    case CommandKind::kBankSwap: return read_body(body, number) && policies_.swap(number);
    case CommandKind::kPause:
      paused_ = true;
      update_paused();
      if ((flags_of(body) & journal::kPauseCancels) != 0) cancel_all();
      return true;
    case CommandKind::kResume:
      paused_ = false;
      if ((flags_of(body) & journal::kResumeDrained) != 0) draining_ = false;
      update_paused();
      if ((flags_of(body) & journal::kResumeHeld) != 0) return true;
      gate_.set_reduce_only(false);
      flattening_ = false;
      session_.retry(now_ns_, *this);  // where it had given up agreeing with the venue: nothing leaves before it does
      return true;
    case CommandKind::kDrain:
      draining_ = true;
      update_paused();
      session_.mass_cancel(Cause{}, now_ns_, *this);
      return true;
    case CommandKind::kKill: kill(); return true;
    case CommandKind::kFlatten:
      flattening_ = true;
      gate_.set_reduce_only(true);
      cancel_all();
      return true;
    case CommandKind::kLeaseGrant: {
      Lease lease;
      return read_body(body, lease) && gate_.grant(lease);
    }
    case CommandKind::kLeaseReturn: {
      Lease lease;
      if (!read_body(body, lease)) return false;
      gate_.give_back(lease, exposure_);
      return true;
    }
    case CommandKind::kPauseSymbol: return pause_symbol(body, true);
    case CommandKind::kResumeSymbol: return pause_symbol(body, false);
    case CommandKind::kRevive: revive(); return true;
    case CommandKind::kReduceOnly:
      if (!read_body(body, number) || number > 1) return false;
      gate_.set_reduce_only(number == 1);
      return true;
    case CommandKind::kRearm: return read_body(body, number) && rearm(number);
    case CommandKind::kActiveSymbols:
      if (!read_body(body, number)) return false;
      set_active_symbols(number);
      return true;
    case CommandKind::kMove:  // between two threads of the engine: nothing here depends on which one it is
    case CommandKind::kNote: return true;
  }
  return false;
}

bool Shard::pause_symbol(Bytes body, bool paused) {
  InstrumentIx ix = 0;
  if (!read_body(body, ix) || ix >= items_.size()) return false;
  gate_.set_symbol_paused(ix, paused);
  if (paused) cancel_of(ix);
  return true;
}

// The shard's instruments stand in the order of their priority: the first n go on, the others get rid of what they have.
void Shard::set_active_symbols(u32 n) {
  const u32 all = static_cast<u32>(items_.size());
  gate_.set_active(n < all ? n : Gate::kAllActive);
  if (n < all) cancel_between(n, all);
}

void Shard::update_paused() { gate_.set_paused(paused_ || draining_ || unsupervised_); }

void Shard::on_supervisor(bool back) {
  const SupervisorLoss policy = config_.supervisor_loss;
  if (!back && policy == SupervisorLoss::kKill) kill();  // stands until a person lifts it
  if (policy != SupervisorLoss::kStop && policy != SupervisorLoss::kCancel) return;
  unsupervised_ = !back;
  update_paused();
  if (!back && policy == SupervisorLoss::kCancel) cancel_all();
}

void Shard::cancel_all() { cancel_between(0, kNoInstrument); }
void Shard::cancel_of(InstrumentIx ix) { cancel_between(ix, ix); }

void Shard::cancel_between(InstrumentIx first, InstrumentIx last) {
  for (u32 n = orders_.first_open(); n != 0;) {
    const u32 next = orders_.next_open(n);
    const Order* o = orders_.find(n);
    const bool meant = o != nullptr && o->instrument >= first && o->instrument <= last;
    if (meant && !o->cancel_asked && !o->cancel_wanted) cancel(*o, Cause{});
    n = next;
  }
}

}  // namespace peregrine::engine
