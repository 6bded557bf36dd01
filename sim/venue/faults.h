// Faults by option: what the venue does wrong on purpose, by seed.
//
// `loss=1%,b.loss=5%,reorder=0.5%,dup=1%,delay=2ms@10%,corrupt=0.1%,disconnect=30s,halt=PRGN@10s+5s,
//  reject=2%,lag=5ms,late=200ms` ; a prefix `a.` or `b.` names one feed line, `r.` the retransmission service, none
//  means both lines.
#pragma once

#include <string>
#include <vector>

#include "core/rng.h"
#include "core/types.h"

namespace peregrine::venue {

struct LineFaults {
  u32 loss_ppm = 0;
  u32 reorder_ppm = 0;  // the packet is sent after the next one
  u32 dup_ppm = 0;
  u32 corrupt_ppm = 0;  // framing bits flipped or the tail cut: damage a receiver can see
  u32 delay_ppm = 0;
  i64 delay_ns = 0;
};

struct HaltFault {
  std::string symbol;
  i64 at_ns = 0;   // after the server's start
  i64 for_ns = 0;  // 0 = to the end
};

struct FaultPlan {
  LineFaults line[3];  // A, B, the retransmission service (loss, dup, corrupt)
  u32 reject_ppm = 0;
  i64 disconnect_every_ns = 0;  // drop every order-entry connection this often, without a word
  i64 lag_ns = 0;               // every inbound order packet waits this long
  i64 late_ns = 0;              // packets still waiting when their connection dies wait this much longer
  std::vector<HaltFault> halts;
};

// Reads the option text; returns an empty string, or what is wrong and what would be right.
std::string parse_faults(const std::string& text, FaultPlan& out);

}  // namespace peregrine::venue
