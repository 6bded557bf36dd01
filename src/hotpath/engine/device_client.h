// Asks a device for logits, and never waits longer than its deadline: the engine's side of drivers/include/device.h.
//
//   ask ─▶ breaker open? banks being loaded? ─▶ submit a request a slot ─▶ poll ─▶ check ─▶ reply
//            │ absent, says why                  ▲ retry while time is left    │ late, corrupt, refused: absent
//
// What is absent the kernels make up for, with the same bits; the reply is journaled either way. Failures in a row open
// the breaker: the device is reset and loaded anew, and after a number of decisions one asks again (a probe).
//
// Loading takes milliseconds, so it is another thread's work: the hot thread hands the device over (kWanted), decides
// without it, and takes it back (kServing). One of the two has it, never both.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "core/clock.h"
#include "device.h"
#include "engine/device_port.h"
#include "policy/policy_source.h"

namespace peregrine::engine {

struct DeviceClientConfig {
  u64 deadline = 50'000;     // in the device's unit (caps.time_unit): ns, or bus clock cycles
  u64 cycles_per_poll = 16;  // what each poll gives a device whose unit is cycles
  bool count_polls = false;  // virtual time: the deadline is as many polls, whatever the device's unit
  u32 retries = 1;           // inline: submissions after the first, while there is time
  u32 breaker_failures = 3;  // failed decisions in a row that open the breaker
  u32 probe_after = 1'000;   // decisions without it before it is tried again; doubles with each failed probe, to 64 times
};

struct DeviceClientCounters {
  u64 asked = 0, answered = 0, late = 0, corrupt = 0, refused = 0, busy = 0, broken = 0;
  u64 not_asked = 0;     // breaker open, loading, or it cannot hold the set
  u64 late_answers = 0;  // completions of asks that nobody waits for any more
  u64 retries = 0, wrong = 0, opened = 0, closed = 0, probes = 0;
};

class DeviceClient final : public DevicePort {
 public:
  enum class Breaker : u8 { kClosed = 0, kOpen = 1, kProbing = 2 };

  // `device` is open and stays so; the clock is read only where the device's time is ns.
  DeviceClient(const pgd_backend& backend, pgd_device* device, const DeviceClientConfig& config, const TscClock& clock);
  DeviceClient(const DeviceClient&) = delete;
  DeviceClient& operator=(const DeviceClient&) = delete;

  // Before the first ask, from any one thread: loads the set and makes it answer. False: `reason` says why; every ask
  // is then absent, and work() tries again after a probe's worth of decisions.
  bool prepare(const PolicySet& set, pgd_reason& reason);
  // The other thread's turn: loads what was handed over. False: nothing was.
  bool work() override;

  void ask(const Shard::Ask& ask, const PolicySet& set, DeviceReply& reply) override;
  bool submit(const Shard::Ask& ask, const PolicySet& set, TimeNs now, DeviceReply& reply) override;
  bool poll(TimeNs now, DeviceReply& reply) override;
  void on_wrong() override;
  DeviceHealth health() const override;

  const DeviceClientCounters& counters() const { return counters_; }
  const pgd_caps& caps() const { return caps_; }
  Breaker breaker() const { return breaker_; }
  bool loading() const { return owner_.load(std::memory_order_acquire) == kWanted; }

 private:
  enum : u32 { kServing = 0, kWanted = 1 };
  using Outcome = journal::DeviceOutcome;

  struct Flight {
    u64 decision = 0;  // 0 = free
    u64 version = 0;
    TimeNs deadline_ns = 0;
    u64 polls_left = 0;
    u64 tag[kMaxPolicies] = {};
    u8 wanted = 0;     // slots asked
    u8 got = 0;        // slots answered
    u8 n_actions = 0;
    u8 attempts = 0;
    Outcome trouble = Outcome::kAnswered;
    u32 cycles = 0;
    i32 logits[kMaxPolicies][PGD_COMPLETION_LOGITS] = {};
  };
  struct Job {
    u64 version = 0;
    bool reset = false;
    std::array<std::shared_ptr<const PolicySource>, kMaxPolicies> source;
  };

  // Why this set is not asked about just now, or kAnswered.
  Outcome refusal(const PolicySet& set);
  bool fits(const PolicySet& set) const;
  void hand_over(const PolicySet* set, bool reset);
  bool load(Job& job, pgd_reason& reason);
  bool load_banks(const Job& job, pgd_reason& reason);
  bool send(Flight& f, const Shard::Ask& ask, const PolicySet& set);
  bool resend(Flight& f, const Shard::Ask& ask, const PolicySet& set);
  void take(const pgd_completion& c);
  void reply_of(const Flight& f, DeviceReply& reply) const;
  void drop(Flight& f);
  void settle(Outcome outcome);
  void open_breaker();
  bool done(const Flight& f) const { return f.got == f.wanted || f.trouble != Outcome::kAnswered; }

  const pgd_backend& backend_;
  pgd_device* device_;
  const DeviceClientConfig config_;
  const TscClock& clock_;
  pgd_caps caps_{};
  DeviceClientCounters counters_;
  Flight flights_[Shard::kMaxAsks];
  Breaker breaker_ = Breaker::kClosed;
  u32 failures_ = 0;
  u64 skip_left_ = 0;
  u64 skip_next_;
  bool reset_wanted_ = false;
  u64 polls_per_deadline_ = 0;  // 0 = the clock says when it is late
  // Handed to and fro with owner_.
  std::atomic<u32> owner_{kServing};
  Job job_;
  u64 loaded_version_ = 0;  // 0 = nothing
  u64 failed_version_ = 0;  // loading it failed: not tried again before a probe
  u32 next_bank_ = 0;
};

}  // namespace peregrine::engine
