// What a firm holds: told on its drop copies when the session begins, added up whenever it is asked for.
#include "venue/drop_copy.h"

#include <cstring>

#include "core/assert.h"
#include "core/bytes.h"

namespace peregrine::venue {

void Exchange::state_positions(TimeNs now_ns) {
  for (PortIx p = 0; p < ports_.size(); ++p) {
    const auto held = config_.holdings.find(ports_[p].config.drop_copy_of);
    if (held == config_.holdings.end()) continue;
    std::map<std::string, i64> lots = held->second;  // those of symbols that are not listed today are held all the same
    for (const SymbolConfig& s : config_.symbols) lots.emplace(s.symbol, 0);
    u32 left = static_cast<u32>(lots.size());
    for (const auto& [symbol, shares] : lots) {
      u8 m[kPositionStatementBytes];
      m[0] = 'p';
      store_be64(m + 1, stamp(now_ns));
      const auto firm = ouch::alpha<4>(held->first);
      const auto name = ouch::alpha<8>(symbol);
      std::memcpy(m + 9, firm.data(), 4);
      std::memcpy(m + 13, name.data(), 8);
      store_be64(m + 21, static_cast<u64>(shares));
      store_be32(m + 29, --left);
      const u64 seq = ports_[p].store.append(Bytes(m, sizeof m));
      sink_->ouch(p, seq, Bytes(m, sizeof m));
    }
  }
}

std::map<std::string, std::map<std::string, i64>> Exchange::holdings() const {
  auto held = config_.holdings;
  for (const Trade& t : trades_) {
    if (t.broken) continue;
    for (int side = 0; side < 2; ++side) {
      if (t.orders[side] == 0) continue;
      const Port& port = ports_[orders_[t.orders[side] - 1].port];
      i64& lots = held[port.config.firm][config_.symbols[t.symbol].symbol];
      lots += t.sides[side] == 'B' ? i64{t.qty} : -i64{t.qty};
    }
  }
  return held;
}

}  // namespace peregrine::venue
