// Instrument index <-> the venue's eight-character symbol, both ways, filled at start.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/types.h"
#include "execution/ouch.h"

namespace peregrine {

class SymbolTable {
 public:
  // Not in the hot path. Instruments may come in any order; the last name of an index wins.
  void set(InstrumentIx ix, std::string_view symbol) {
    if (ix == names_.size()) {  // one after the other, thousands of them
      names_.push_back(ouch::alpha<8>(symbol));
      const std::pair<u64, InstrumentIx> entry{key(names_[ix]), ix};
      sorted_.insert(std::lower_bound(sorted_.begin(), sorted_.end(), entry), entry);
      return;
    }
    if (ix > names_.size()) names_.resize(ix + 1, ouch::alpha<8>(""));
    names_[ix] = ouch::alpha<8>(symbol);
    sorted_.clear();
    for (InstrumentIx i = 0; i < names_.size(); ++i) sorted_.push_back({key(names_[i]), i});
    std::sort(sorted_.begin(), sorted_.end());
  }
  std::size_t size() const { return names_.size(); }
  const ouch::Symbol& name(InstrumentIx ix) const { return names_[ix]; }
  InstrumentIx find(const ouch::Symbol& symbol) const {
    const auto it = std::lower_bound(sorted_.begin(), sorted_.end(), std::pair<u64, InstrumentIx>{key(symbol), 0});
    return it != sorted_.end() && it->first == key(symbol) ? it->second : kNoInstrument;
  }

 private:
  static u64 key(const ouch::Symbol& s) {
    u64 v;
    std::memcpy(&v, s.data(), 8);
    return v;
  }
  std::vector<ouch::Symbol> names_;
  std::vector<std::pair<u64, InstrumentIx>> sorted_;
};

}  // namespace peregrine
