// What a shard does when a breaker trips, and how it is armed again. Both leave a record in the journal.
#include "engine/shard.h"

namespace peregrine::engine {

// A loss or a drawdown above its limit, looked at after every fill and every mark.
void Shard::check_breakers() {
  if (gate_.update_breakers(exposure_)) kill_wanted_ = true;
  const u32 judged = (gate_.loss_tripped() ? kLossBreaker : 0) | (gate_.drawdown_tripped() ? kDrawdownBreaker : 0);
  const u32 fresh = judged & ~breakers_.open();
  for (const u32 bit : {kLossBreaker, kDrawdownBreaker}) {
    if ((fresh & bit) != 0) breakers_.trip(bit, now_ns_);
  }
  tripped_now_ |= fresh;
}

// At the end of the step: the message is wholly booked. Too many messages are answered with one, that cancels all; a
// loss kills, which does the same and more.
void Shard::act_on_breakers() {
  const u32 tripped = tripped_now_;
  tripped_now_ = 0;
  for (u32 i = 0; i < kBreakers; ++i) {
    const u32 bit = 1u << i;
    if ((tripped & bit) == 0) continue;
    if (bit == kLossBreaker) {
      record_breaker(bit, true, exposure_.account().loss(), gate_.account_limits().max_loss);
    } else if (bit == kDrawdownBreaker) {
      record_breaker(bit, true, exposure_.account().drawdown(), gate_.account_limits().max_drawdown);
    } else {
      record_breaker(bit, true, breakers_.most(bit) + 1, breakers_.most(bit));
    }
  }
  if ((tripped & kRateBreakers) == 0 || kill_wanted_) return;
  flattening_ = false;
  session_.mass_cancel(Cause{}, now_ns_, *this);
  gate_.set_session_ready(session_.ready());
}

// Refused before the cooldown of any of them is over, and while the loss is above its limit: it would trip at once.
// What has not tripped needs no arming. The drawdown is measured from here again. A kill that a breaker caused stands.
bool Shard::rearm(u32 bits) {
  if (bits == 0 || (bits & ~kAllBreakers) != 0 || breakers_.hot(bits, now_ns_) != 0) return false;
  const u32 meant = bits & breakers_.open();
  if ((meant & kLossBreaker) != 0) {
    if (exposure_.account().loss() > gate_.account_limits().max_loss) return false;
    gate_.reset_loss();
  }
  if ((meant & kDrawdownBreaker) != 0) {
    gate_.reset_drawdown();
    exposure_.reset_peak();
  }
  breakers_.rearm(meant);
  if ((meant & kRateBreakers) != 0) gate_.set_breaker((breakers_.open() & kRateBreakers) != 0);
  for (u32 i = 0; i < kBreakers; ++i) {
    if ((meant >> i & 1) != 0) record_breaker(1u << i, false, 0, 0);
  }
  return true;
}

void Shard::record_breaker(u32 bit, bool tripped, i64 observed, i64 limit) {
  if (!config_.breakers.present) return;
  journal::DecisionHead head{};
  head.decision = bit;
  head.feed_seq = feed_seq_;
  head.instrument = kNoInstrument;
  head.action = kNoAction;
  head.risk_reason = static_cast<u8>(tripped ? RiskReason::kBreaker : RiskReason::kPass);
  head.risk_observed = observed;
  head.risk_limit = limit;
  out_->decision(head, features_now_, decision_now_.logits);
}

}  // namespace peregrine::engine
