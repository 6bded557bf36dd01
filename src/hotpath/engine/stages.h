// Where the time of a decision goes: stages of the step, marked from outside the state machine.
//
// The step itself reads no clock. A live engine hands it a probe that stamps the time stamp counter for one
// decision in N; replay and virtual time hand it none. Marks never influence a decision.
#pragma once

#include "core/types.h"

namespace peregrine::engine {

enum class Stage : u8 {
  kBook = 0,     // feed message decoded and applied to the book
  kFeatures,     // features computed
  kPolicy,       // policies and consensus done
  kRisk,         // the gate has answered
  kEncode,       // order encoded, intent committed to the journal
  kCount,
};

class StageProbe {
 public:
  virtual void mark(Stage stage) = 0;

 protected:
  ~StageProbe() = default;
};

}  // namespace peregrine::engine
