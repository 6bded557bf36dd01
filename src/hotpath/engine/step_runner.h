// Journal first, then step, then wire: the one order in which anything happens, live and in virtual time alike.
#pragma once

#include <cstring>
#include <memory>

#include "core/assert.h"
#include "engine/device_port.h"
#include "engine/input.h"
#include "engine/shard.h"
#include "execution/soup.h"
#include "journal/appender.h"
#include "signal/user_signal.h"

namespace peregrine::engine {

class StepRunner final : private ShardOutput {
 public:
  static constexpr std::size_t kWireCapacity = 256 * 1024;

  // `appender` may be null (a run nobody will replay: training, throughput benches).
  StepRunner(Shard& shard, journal::Appender* appender)
      : shard_(shard), appender_(appender), wire_(std::make_unique<u8[]>(kWireCapacity)) {}

  // Appends the input, then steps. False: the journal refused it and nothing happened. With `reserved` the journal's
  // reserve may be used: for what must be consumed while the journal is unhealthy.
  bool consume(journal::RecordType type, TimeNs now, Bytes head, Bytes body = {}, bool reserved = false) {
    PRG_ASSERT(now >= last_ns_);
    last_ns_ = now;
    ++inputs_;
    now_ns_ = now;
    if (appender_ != nullptr) {
      const u64 seq = reserved ? appender_->append_reserved(type, now, head, body) : appender_->append(type, now, head, body);
      if (seq == 0) return false;
      input_seq_ = seq;
    } else {
      input_seq_ = ++unjournaled_seq_;
    }
    shard_.step(Input{type, now, head, body}, input_seq_, *this);
    if (shard_.signal_wanted() && type != journal::RecordType::kSignal) ask_signal(reserved);
    if (shard_.asks_made() != asks_seen_) ask_device(reserved);
    return true;
  }
  // Asynchronous placement: consumes one answer that has come. False: none.
  bool poll_device(TimeNs now, bool reserved = false) {
    if (device_ == nullptr || !device_->poll(now, reply_)) return false;
    answer_device(now, reserved);
    return true;
  }
  // For a run with one thread: the device's cold work, between two inputs.
  void work_device() {
    if (device_ != nullptr) device_->work();
  }
  DeviceHealth device_health() const { return device_ != nullptr ? device_->health() : DeviceHealth{}; }
  // Who computes decisions when the shard's configuration places them on a device; without one the kernels do.
  void set_device(DevicePort* device) { device_ = device; }
  // The user's own signal; without one a decision that waits for it holds.
  void set_signal(UserSignal signal) { signal_ = signal; }

  // SoupBinTCP packets of the intents since clear_wire(): all of them are in the journal.
  Bytes wire() const { return Bytes(wire_.get(), wire_size_); }
  void clear_wire() { wire_size_ = 0; }
  u64 last_intent_seq() const { return last_intent_seq_; }
  u32 last_user_ref_num() const { return last_user_ref_num_; }
  u64 inputs() const { return inputs_; }
  u64 input_seq() const { return input_seq_; }
  u64 intents() const { return intents_; }
  // Intents the journal refused: they were not sent and never will be.
  u64 intents_refused() const { return intents_refused_; }
  Shard& shard() { return shard_; }

 private:
  void ask_signal(bool reserved) {
    UserSignalResult r{0, 1};
    if (signal_.present()) r = signal_.call(shard_.signal_features(), FeatureEngine::kFeatures);
    const journal::SignalValue value{shard_.signal_decision(), r.value, r.status, {}};
    consume(journal::RecordType::kSignal, now_ns_, bytes_of(value), {}, reserved);
  }
  void ask_device(bool reserved) {
    asks_seen_ = shard_.asks_made();
    const Shard::Ask* ask = shard_.last_ask();
    if (ask == nullptr) return;
    if (device_ == nullptr) {
      reply_ = DeviceReply::absent(ask->decision, journal::DeviceOutcome::kNoDevice);
    } else if (shard_.config().device.placement == DevicePlacement::kInline) {
      device_->ask(*ask, shard_.policies(), reply_);
    } else if (device_->submit(*ask, shard_.policies(), now_ns_, reply_)) {
      return;
    }
    answer_device(now_ns_, reserved);
  }
  void answer_device(TimeNs now, bool reserved) {
    const u64 wrong = shard_.counters().device_wrong;
    consume(journal::RecordType::kDevice, now, bytes_of(reply_.head), reply_.logit_bytes(), reserved);
    if (device_ != nullptr && shard_.counters().device_wrong != wrong) device_->on_wrong();
  }
  void intent(const journal::IntentHead& head, Bytes ouch) override {
    u64 seq = 0;
    if (appender_ != nullptr) {
      seq = appender_->append_reserved(journal::RecordType::kIntent, now_ns_, bytes_of(head), ouch);
    } else {
      seq = ++unjournaled_seq_;
    }
    // The order matters: an intent that is not in the journal must never reach the wire.
    if (seq == 0 || wire_size_ + ouch.size() + 3 > kWireCapacity) {
      ++intents_refused_;
      return;
    }
    ++intents_;
    last_intent_seq_ = seq;
    last_user_ref_num_ = head.user_ref_num;
    wire_size_ += soup::frame(soup::kUnsequenced, ouch, wire_.get() + wire_size_);
  }
  void decision(const journal::DecisionHead& head, const i32* features, const i32* logits) override {
    if (appender_ == nullptr) return;
    const Bytes f(reinterpret_cast<const u8*>(features), head.n_features * std::size_t{4});
    const Bytes l(reinterpret_cast<const u8*>(logits), head.n_logits * std::size_t{4});
    appender_->append_reserved(journal::RecordType::kDecision, now_ns_, bytes_of(head), f, l);
  }
  void state_hash(const journal::StateHash& hash) override {
    if (appender_ != nullptr) appender_->append_reserved(journal::RecordType::kStateHash, now_ns_, bytes_of(hash));
  }

  Shard& shard_;
  journal::Appender* appender_;
  UserSignal signal_;
  DevicePort* device_ = nullptr;
  DeviceReply reply_;
  u64 asks_seen_ = 0;
  TimeNs now_ns_ = 0;
  TimeNs last_ns_ = 0;
  u64 inputs_ = 0;
  u64 input_seq_ = 0;
  u64 intents_ = 0;
  u64 intents_refused_ = 0;
  u64 last_intent_seq_ = 0;
  u32 last_user_ref_num_ = 0;
  u64 unjournaled_seq_ = 0;
  std::size_t wire_size_ = 0;
  std::unique_ptr<u8[]> wire_;
};

}  // namespace peregrine::engine
