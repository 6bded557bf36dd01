// A quant's own signal: a C function (a numba @cfunc, usually) called at each decision. What it returned is an
// input of the shard (journal::SignalValue): a replay reads it back and never calls the function.
#pragma once

#include "core/types.h"

namespace peregrine {

// `features`: the n numbers of the schema (the user_signal entry is 0). Returns the signal's value and writes
// *status = 0, or 1 when it raised (the value then means nothing).
using UserSignalFn = i32 (*)(const i32* features, i32 n, i32* status);

struct UserSignalResult {
  i32 value = 0;
  u8 status = 0;  // 0 good, 1 raised: the shard holds
};

class UserSignal {
 public:
  UserSignal() = default;
  explicit UserSignal(UserSignalFn fn) : fn_(fn) {}
  // As handed over by Python (`hotpath.signal.user.UserSignal.address`), which keeps the code alive.
  static UserSignal from_address(u64 address) { return UserSignal(reinterpret_cast<UserSignalFn>(address)); }

  bool present() const { return fn_ != nullptr; }

  // Status starts as 1, so that a function that forgets to write it holds instead of trading.
  UserSignalResult call(const i32* features, i32 n) const {
    i32 status = 1;
    const i32 value = fn_(features, n, &status);
    if (status != 0) return {0, 1};
    return {value, 0};
  }

 private:
  UserSignalFn fn_ = nullptr;
};

}  // namespace peregrine
