// The drop copy: a login of its own that can send nothing and hears what the ports of a firm do, from sequence 1 of the
// session on, in the order in which it happened.
//
//   S  start and end of the session, as every port hears them
//   p  what the firm holds at the start, a message a symbol (below); only where the venue was told what its firms hold
//   A  an order was accepted, U one was replaced: copies of what its port hears; the venue's order number says which
//   E  an execution: as its port hears it, with tag 1 (the venue's order number) and tag 2 (the firm) behind it
//   B  a broken trade, once for each order in it
//
// Position statement, of this venue's own making: OUCH 5.0 has no message for it, and no type in small letters.
//
//   0      1             9       13        21             29       33
//   +------+-------------+-------+---------+--------------+--------+
//   | 'p'  | time u64    | firm  | symbol  | shares i64   | left   |     big-endian; left (u32): statements after this one
//   +------+-------------+-------+---------+--------------+--------+
#pragma once

#include <string_view>

#include "venue/exchange.h"

namespace peregrine::venue {

inline constexpr std::size_t kPositionStatementBytes = 33;

inline bool is_drop_copy_of(const PortConfig& port, std::string_view firm) {
  return !port.drop_copy_of.empty() && port.drop_copy_of == firm;
}

}  // namespace peregrine::venue
