// An append-only list of messages in one block of bytes: what can be asked for again.
#pragma once

#include <vector>

#include "core/types.h"

namespace peregrine::venue {

using PortIx = u32;

class MessageStore {
 public:
  // Returns the message's number, from 1.
  u64 append(Bytes message) {
    bytes_.insert(bytes_.end(), message.begin(), message.end());
    ends_.push_back(bytes_.size());
    return ends_.size();
  }
  u64 size() const { return ends_.size(); }
  u64 next_seq() const { return ends_.size() + 1; }
  // Precondition: 1 <= seq <= size().
  Bytes at(u64 seq) const {
    const std::size_t begin = seq == 1 ? 0 : ends_[seq - 2];
    return {bytes_.data() + begin, ends_[seq - 1] - begin};
  }
  void clear() { bytes_.clear(), ends_.clear(); }

 private:
  std::vector<u8> bytes_;
  std::vector<std::size_t> ends_;
};

}  // namespace peregrine::venue
