// The venue's locate index -> our instrument. Private to market/.
#pragma once

#include "market/market.h"

namespace peregrine {

// In the locate map: this locate was looked up by symbol and is none of ours.
inline constexpr InstrumentIx kNotOurs = kNoInstrument - 1;

inline InstrumentIx Market::by_locate(u16 locate) const {
  const InstrumentIx ix = by_locate_[locate];
  return ix >= kNotOurs ? kNoInstrument : ix;
}

}  // namespace peregrine
