// How long something takes on its way, in virtual time: constant, uniform, or drawn from recorded samples.
#pragma once

#include <vector>

#include "core/rng.h"
#include "core/types.h"

namespace peregrine::venue {

struct LatencyModel {
  enum class Kind : u8 { kConstant, kUniform, kRecorded };
  Kind kind = Kind::kConstant;
  TimeNs min_ns = 10'000;
  TimeNs max_ns = 10'000;           // uniform: both ends included
  std::vector<TimeNs> samples_ns;   // recorded: drawn with equal chance

  TimeNs draw(Rng& rng) const {
    switch (kind) {
      case Kind::kConstant: return min_ns;
      case Kind::kUniform: return rng.between(min_ns, max_ns);
      case Kind::kRecorded: return samples_ns.empty() ? min_ns : samples_ns[rng.below(samples_ns.size())];
    }
    return min_ns;
  }
};

}  // namespace peregrine::venue
