// Whether a SoupBinTCP login is good, and what it is answered: the same rule at every door of the venue.
#pragma once

#include "execution/soup.h"
#include "venue/exchange.h"

namespace peregrine::venue {

struct LoginVerdict {
  u8 refused = 0;  // reason letter; 0 = welcome
  PortIx port = 0;
  soup::LoginAccepted accepted;
};

// `snapshot`: the login of the snapshot service, which has no sequence of its own.
LoginVerdict check_login(const Exchange& exchange, Bytes payload, bool snapshot);

// The messages of a snapshot service's answer: the books of this instant, closed by a G that names the next message.
void snapshot_answer(const Exchange& exchange, MessageStore& out, TimeNs now_ns);

}  // namespace peregrine::venue
