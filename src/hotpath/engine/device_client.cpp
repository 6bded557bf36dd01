#include "engine/device_client.h"

#include <bit>
#include <cstring>

#include "core/assert.h"

namespace peregrine::engine {

namespace {

constexpr u64 kMostBackoff = 64;

u32 active_slots(const PolicySet& set) {
  u32 mask = 0;
  for (u32 s = 0; s < kMaxPolicies; ++s) mask |= u32{set.active(s)} << s;
  return mask;
}

}  // namespace

DeviceClient::DeviceClient(const pgd_backend& backend, pgd_device* device, const DeviceClientConfig& config,
                           const TscClock& clock)
    : backend_(backend), device_(device), config_(config), clock_(clock), skip_next_(config.probe_after) {
  PRG_ASSERT(backend_.caps(device_, &caps_) == PGD_OK);
  PRG_ASSERT(config_.cycles_per_poll > 0);
  if (config_.count_polls) {
    polls_per_deadline_ = config_.deadline + 1;
  } else if (caps_.time_unit == PGD_TIME_CYCLES) {
    polls_per_deadline_ = config_.deadline / config_.cycles_per_poll + 1;
  }
}

// ---- loading

bool DeviceClient::fits(const PolicySet& set) const {
  const u32 active = active_slots(set);
  if (active == 0 || set.n_actions() > PGD_COMPLETION_LOGITS || set.n_actions() > caps_.max_outputs) return false;
  if (static_cast<u32>(std::popcount(active)) > caps_.slots) return false;
  for (u32 s = 0; s < kMaxPolicies; ++s) {
    if ((active >> s & 1) == 0) continue;
    const PolicySource* source = set.policy(s).source().get();
    if (source == nullptr || source->feature_index.size() > caps_.max_inputs) return false;
    if (source->layer.size() > caps_.max_layers) return false;
    for (std::size_t l = 0; l + 1 < source->layer.size(); ++l) {
      if (source->layer[l].outputs > caps_.max_width) return false;
    }
  }
  return true;
}

bool DeviceClient::prepare(const PolicySet& set, pgd_reason& reason) {
  PRG_ASSERT(owner_.load(std::memory_order_acquire) == kServing);
  if (!fits(set)) {
    std::memset(&reason, 0, sizeof reason);
    std::strcpy(reason.found, "the policies are larger than the device holds, or have more than 8 actions");
    std::strcpy(reason.hint, "placement: cpu, or smaller networks");
    return false;
  }
  hand_over(&set, false);
  const bool good = load(job_, reason);
  owner_.store(kServing, std::memory_order_release);
  return good;
}

void DeviceClient::hand_over(const PolicySet* set, bool reset) {
  job_.version = set->version();
  job_.reset = reset;
  for (u32 s = 0; s < kMaxPolicies; ++s) {
    job_.source[s] = set->active(s) ? set->policy(s).source() : nullptr;
  }
  owner_.store(kWanted, std::memory_order_release);
}

bool DeviceClient::work() {
  if (owner_.load(std::memory_order_acquire) != kWanted) return false;
  pgd_reason reason;
  load(job_, reason);
  owner_.store(kServing, std::memory_order_release);
  return true;
}

bool DeviceClient::load(Job& job, pgd_reason& reason) {
  std::memset(&reason, 0, sizeof reason);
  const bool good = load_banks(job, reason);
  loaded_version_ = good ? job.version : 0;
  failed_version_ = good ? 0 : job.version;
  for (auto& source : job.source) source = nullptr;  // here, where memory may be given back
  return good;
}

bool DeviceClient::load_banks(const Job& job, pgd_reason& reason) {
  if (job.reset) {
    next_bank_ = 0;
    if (backend_.reset(device_) != PGD_OK) return false;
  }
  if (caps_.banks != 0) {
    pgd_layer layers[kMaxPolicies][kMaxPolicyLayers];
    pgd_policy policies[kMaxPolicies];
    u32 n = 0;
    for (const auto& source : job.source) {
      if (source == nullptr) continue;
      for (std::size_t l = 0; l < source->layer.size(); ++l) {
        const PolicySource::Layer& from = source->layer[l];
        layers[n][l] = {from.inputs,           from.outputs,     from.relu ? 1u : 0u,
                        from.weights.data(),   from.bias.data(), from.shift.empty() ? nullptr : from.shift.data()};
      }
      policies[n] = {static_cast<u32>(source->feature_index.size()), static_cast<u32>(source->layer.size()),
                     source->quant_m.data(), source->quant_s.data(), layers[n]};
      ++n;
    }
    const pgd_policy_set set{job.version, n, policies};
    if (backend_.load_policy(device_, next_bank_, &set, &reason) != PGD_OK) return false;
    if (backend_.swap(device_, next_bank_) != PGD_OK) return false;
    next_bank_ = next_bank_ + 1 == caps_.banks ? 0 : next_bank_ + 1;
  }
  return true;
}

// ---- breaker

DeviceClient::Outcome DeviceClient::refusal(const PolicySet& set) {
  if (owner_.load(std::memory_order_acquire) != kServing) return Outcome::kLoading;
  if (breaker_ == Breaker::kOpen) {
    if (skip_left_ > 0) {
      --skip_left_;
      return Outcome::kBreakerOpen;
    }
    // Time to try again, on a device that knows nothing of what went before.
    breaker_ = Breaker::kProbing;
    ++counters_.probes;
    failed_version_ = 0;
    reset_wanted_ = true;
  }
  const bool other = loaded_version_ != set.version();
  if (!other && !reset_wanted_) return Outcome::kAnswered;
  if (!fits(set)) return Outcome::kNoDevice;
  if (!reset_wanted_ && failed_version_ == set.version()) {
    settle(Outcome::kBroken);
    return Outcome::kBroken;
  }
  for (const Flight& f : flights_) {
    if (f.decision != 0) return Outcome::kLoading;  // first what is under way comes to its end
  }
  hand_over(&set, reset_wanted_);
  reset_wanted_ = false;
  return Outcome::kLoading;
}

void DeviceClient::settle(Outcome outcome) {
  if (outcome == Outcome::kAnswered) {
    failures_ = 0;
    if (breaker_ == Breaker::kProbing) {
      breaker_ = Breaker::kClosed;
      skip_next_ = config_.probe_after;
      ++counters_.closed;
    }
    return;
  }
  ++failures_;
  if (breaker_ == Breaker::kProbing || outcome == Outcome::kBroken || failures_ >= config_.breaker_failures) open_breaker();
}

void DeviceClient::open_breaker() {
  if (breaker_ != Breaker::kOpen) ++counters_.opened;
  breaker_ = Breaker::kOpen;
  failures_ = 0;
  skip_left_ = skip_next_;
  const u64 most = u64{config_.probe_after} * kMostBackoff;
  skip_next_ = skip_next_ * 2 < most ? skip_next_ * 2 : most;
}

void DeviceClient::on_wrong() {
  ++counters_.wrong;
  open_breaker();
}

DeviceHealth DeviceClient::health() const {
  using State = DeviceHealth::State;
  static constexpr State kStates[] = {State::kClosed, State::kOpen, State::kProbing};
  DeviceHealth h;
  // A probe begins with loading: the breaker says more than that.
  h.state = breaker_ == Breaker::kClosed && loading() ? State::kLoading : kStates[static_cast<u8>(breaker_)];
  h.asked = counters_.asked;
  h.missed = counters_.late;
  h.failed = counters_.corrupt + counters_.refused + counters_.busy + counters_.broken;
  h.trips = counters_.opened;
  return h;
}

// ---- asking

bool DeviceClient::send(Flight& f, const Shard::Ask& ask, const PolicySet& set) {
  u32 k = 0;
  for (u32 s = 0; s < kMaxPolicies; ++s) {
    if ((f.wanted >> s & 1) == 0) continue;
    if ((f.got >> s & 1) == 0) {
      const PolicySource& source = *set.policy(s).source();
      i32 inputs[kMaxPolicyInputs];
      const u32 n = static_cast<u32>(source.feature_index.size());
      for (u32 i = 0; i < n; ++i) inputs[i] = ask.features[source.feature_index[i]];
      const int r = backend_.submit(device_, k, PGD_KIND_FEATURES, inputs, n, &f.tag[s]);
      if (r != PGD_OK) {
        f.tag[s] = 0;
        f.trouble = r == PGD_E_WOULD_BLOCK ? Outcome::kBusy : Outcome::kBroken;
        return false;
      }
      ++f.attempts;
    }
    ++k;
  }
  return true;
}

bool DeviceClient::resend(Flight& f, const Shard::Ask& ask, const PolicySet& set) {
  if (f.trouble == Outcome::kBroken || f.attempts >= std::popcount(f.wanted) * (1 + config_.retries)) return false;
  ++counters_.retries;
  f.trouble = Outcome::kAnswered;
  return send(f, ask, set);
}

// A completion, to whose flight it belongs. Everything it says must fit what was asked.
void DeviceClient::take(const pgd_completion& c) {
  for (Flight& f : flights_) {
    if (f.decision == 0) continue;
    u32 k = 0;
    for (u32 s = 0; s < kMaxPolicies; ++s) {
      if ((f.wanted >> s & 1) == 0) continue;
      if (f.tag[s] != c.tag || (f.got >> s & 1) != 0) {
        ++k;
        continue;
      }
      if (c.status != PGD_STATUS_OK) {
        f.trouble = Outcome::kRefused;
        return;
      }
      const bool sound = c.policy_version == f.version && c.outputs == f.n_actions && c.slot == k &&
                         c.action == Policy::argmax(c.logits, f.n_actions);
      if (!sound) {
        f.trouble = c.policy_version == f.version ? Outcome::kCorrupt : Outcome::kRefused;
        return;
      }
      f.got |= static_cast<u8>(1u << s);
      std::memcpy(f.logits[s], c.logits, sizeof f.logits[s]);
      f.cycles = c.cycles > f.cycles ? c.cycles : f.cycles;
      return;
    }
  }
  ++counters_.late_answers;
}

void DeviceClient::reply_of(const Flight& f, DeviceReply& reply) const {
  reply.head = {};
  reply.head.decision = f.decision;
  reply.head.outcome = static_cast<u8>(f.trouble);
  reply.head.attempts = f.attempts;
  reply.head.n_actions = f.n_actions;
  if (f.trouble != Outcome::kAnswered) return;  // all or nothing: one source for a decision is easier to explain
  reply.head.policy_version = f.version;
  reply.head.cycles = f.cycles;
  reply.head.answered = f.got;
  i32* to = reply.logits;
  for (u32 s = 0; s < kMaxPolicies; ++s) {
    if ((f.got >> s & 1) == 0) continue;
    std::memcpy(to, f.logits[s], f.n_actions * sizeof *to);
    to += f.n_actions;
  }
}

void DeviceClient::drop(Flight& f) {
  switch (f.trouble) {
    case Outcome::kAnswered: ++counters_.answered; break;
    case Outcome::kLate: ++counters_.late; break;
    case Outcome::kCorrupt: ++counters_.corrupt; break;
    case Outcome::kRefused: ++counters_.refused; break;
    case Outcome::kBusy: ++counters_.busy; break;
    default: ++counters_.broken; break;
  }
  for (u32 s = 0; s < kMaxPolicies; ++s) {
    const bool open = (f.wanted >> s & 1) != 0 && (f.got >> s & 1) == 0 && f.tag[s] != 0;
    if (open && f.trouble != Outcome::kBroken) backend_.cancel(device_, f.tag[s]);
  }
  settle(f.trouble);
  f = Flight{};
}

bool DeviceClient::submit(const Shard::Ask& ask, const PolicySet& set, TimeNs now, DeviceReply& reply) {
  if (const Outcome why = refusal(set); why != Outcome::kAnswered) {
    ++counters_.not_asked;
    reply = DeviceReply::absent(ask.decision, why);
    return false;
  }
  ++counters_.asked;
  for (Flight& f : flights_) {
    if (f.decision != 0) continue;
    f.decision = ask.decision;
    f.version = set.version();
    f.wanted = static_cast<u8>(active_slots(set));
    f.n_actions = static_cast<u8>(set.n_actions());
    f.deadline_ns = now + static_cast<TimeNs>(config_.deadline);
    f.polls_left = polls_per_deadline_;
    if (send(f, ask, set) || resend(f, ask, set)) return true;
    reply_of(f, reply);
    drop(f);
    return false;
  }
  ++counters_.busy;
  reply = DeviceReply::absent(ask.decision, Outcome::kBusy);
  return false;
}

bool DeviceClient::poll(TimeNs now, DeviceReply& reply) {
  if (owner_.load(std::memory_order_acquire) != kServing) return false;
  Flight* flying = nullptr;
  for (Flight& f : flights_) {
    if (f.decision != 0) flying = &f;
  }
  // Also when nothing is waited for: late answers are taken out of the device's ring.
  pgd_completion c;
  const int r = backend_.poll(device_, &c);
  if (r == 1) take(c);
  if (flying == nullptr) return false;
  for (Flight& f : flights_) {
    if (f.decision == 0) continue;
    if (f.trouble == Outcome::kAnswered && f.got != f.wanted) {
      // Which request a corrupt completion answered is not known: all that wait may be that one.
      if (r == PGD_E_CORRUPT) f.trouble = Outcome::kCorrupt;
      if (r < 0 && r != PGD_E_CORRUPT) f.trouble = Outcome::kBroken;
      const bool late = polls_per_deadline_ != 0 ? f.polls_left-- == 0 : now >= f.deadline_ns;
      if (late && f.trouble == Outcome::kAnswered) f.trouble = Outcome::kLate;
    }
    if (!done(f)) continue;
    reply_of(f, reply);
    drop(f);
    return true;
  }
  return false;
}

void DeviceClient::ask(const Shard::Ask& ask, const PolicySet& set, DeviceReply& reply) {
  const u64 began = polls_per_deadline_ != 0 ? 0 : clock_.ticks();
  if (!submit(ask, set, 0, reply)) return;
  Flight* mine = nullptr;
  for (Flight& f : flights_) {
    if (f.decision == ask.decision) mine = &f;
  }
  Flight& f = *mine;
  u64 polls_left = polls_per_deadline_;
  for (;;) {
    pgd_completion c;
    const int r = backend_.poll(device_, &c);
    if (r == 1) take(c);
    if (r == PGD_E_CORRUPT) f.trouble = Outcome::kCorrupt;
    if (r < 0 && r != PGD_E_CORRUPT) f.trouble = Outcome::kBroken;
    if (f.got == f.wanted) break;
    if (f.trouble != Outcome::kAnswered && !resend(f, ask, set)) break;
    const bool late = polls_per_deadline_ != 0
                          ? polls_left-- == 0
                          : clock_.to_duration_ns(clock_.ticks() - began) >= static_cast<i64>(config_.deadline);
    if (late) {
      f.trouble = Outcome::kLate;
      break;
    }
  }
  reply_of(f, reply);
  drop(f);
}

}  // namespace peregrine::engine
