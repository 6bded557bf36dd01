#include "execution/order_state.h"

namespace peregrine {
namespace {

using S = OrderState;
using I = OrderInput;

constexpr const char* kStateNames[kOrderStates] = {"Free",           "PendingNew", "Live",   "PendingCancel",
                                                   "PendingReplace", "Unknown",    "Filled", "Canceled",
                                                   "Rejected",       "Replaced",   "Dead"};
constexpr const char* kInputNames[kOrderInputs] = {
    "AcceptedLive",   "AcceptedDead", "ReplacedLive", "ReplacedDead", "ReplacedAway",    "ExecutedPart",
    "ExecutedAll",    "CanceledPart", "CanceledAll",  "Rejected",     "ReplaceRejected", "CancelPending",
    "CancelRejected", "AskCancel",    "AskReplace",   "LostAnswered", "LostUnanswered",  "Reconciled",
    "OriginalGone",   "NeverSent",    "SessionOver"};

constexpr Transition to(S s) { return {s, false}; }
constexpr Transition odd(S s) { return {s, true}; }

// The venue says the order lives: what it was waiting for decides.
constexpr Transition alive(S s) {
  switch (s) {
    case S::kPendingNew:
    case S::kUnknown: return to(S::kLive);
    case S::kLive:
    case S::kPendingCancel:
    case S::kPendingReplace: return to(s);  // a fill came before the ack
    case S::kFilled:
    case S::kCanceled: return to(s);      // fills or a cancel for all of it came before the ack
    case S::kDead: return odd(S::kLive);  // written off too early: the venue is right
    case S::kReplaced:
    case S::kRejected:
    case S::kFree: return odd(s);
  }
  return odd(s);
}

constexpr Transition executed(S s, bool all) {
  switch (s) {
    case S::kPendingNew:
    case S::kUnknown: return to(all ? S::kFilled : S::kLive);
    case S::kLive:
    case S::kPendingCancel:
    case S::kPendingReplace: return to(all ? S::kFilled : s);
    case S::kFilled: return odd(s);   // more than was ever ordered
    case S::kCanceled: return to(s);  // crossed the cancel, or follows an A with state D
    case S::kReplaced: return to(s);  // in flight for the old number
    case S::kDead: return odd(all ? S::kFilled : S::kLive);
    case S::kRejected:
    case S::kFree: return odd(s);
  }
  return odd(s);
}

constexpr Transition canceled(S s, bool all) {
  if (is_open(s)) return to(all ? S::kCanceled : (s == S::kPendingReplace ? s : S::kLive));
  return s == S::kCanceled ? to(s) : odd(s);  // Canceled: the remainder report after an A with state D
}

constexpr Transition rejected(S s) {
  switch (s) {
    case S::kPendingNew:
    case S::kUnknown:
    case S::kPendingCancel: return to(S::kRejected);
    case S::kDead: return to(S::kRejected);  // it had reached the venue after all, and is as gone
    default: return odd(s);
  }
}

}  // namespace

const char* order_state_name(OrderState s) {
  const auto i = static_cast<u8>(s);
  return i < kOrderStates ? kStateNames[i] : "?";
}
const char* order_input_name(OrderInput i) {
  const auto k = static_cast<u8>(i);
  return k < kOrderInputs ? kInputNames[k] : "?";
}

Transition next_state(OrderState s, OrderInput input) {
  if (s == S::kFree) return odd(s);
  switch (input) {
    case I::kAcceptedLive:
    case I::kReplacedLive: return alive(s);
    case I::kAcceptedDead:
    case I::kReplacedDead: {
      const Transition t = alive(s);
      return is_open(t.next) ? Transition{S::kCanceled, t.anomaly} : t;
    }
    case I::kReplacedAway:
      if (s == S::kPendingReplace) return to(S::kReplaced);
      return odd(is_open(s) || s == S::kDead ? S::kReplaced : s);
    case I::kExecutedPart: return executed(s, false);
    case I::kExecutedAll: return executed(s, true);
    case I::kCanceledPart: return canceled(s, false);
    case I::kCanceledAll: return canceled(s, true);
    case I::kRejected: return rejected(s);
    case I::kReplaceRejected: return s == S::kPendingReplace ? to(S::kLive) : odd(s);
    case I::kCancelPending: return to(s);
    case I::kCancelRejected: return to(s == S::kPendingCancel ? S::kLive : s);
    case I::kAskCancel:
      if (s == S::kPendingReplace) return to(s);
      return is_open(s) ? to(S::kPendingCancel) : odd(s);
    case I::kAskReplace: return s == S::kLive ? to(S::kPendingReplace) : odd(s);
    case I::kLostAnswered: return is_open(s) ? to(s == S::kPendingCancel ? S::kLive : s) : odd(s);
    case I::kLostUnanswered:
      if (!is_open(s)) return odd(s);
      return to(s == S::kPendingReplace ? s : S::kUnknown);
    case I::kReconciled:
    case I::kNeverSent:
    case I::kSessionOver: return is_open(s) ? to(S::kDead) : odd(s);
    case I::kOriginalGone: return is_open(s) ? to(S::kDead) : odd(s);
  }
  return odd(s);
}

}  // namespace peregrine
