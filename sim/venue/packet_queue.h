// Messages on their way in virtual time: first in, first out, each with the time it arrives.
#pragma once

#include <cstring>
#include <vector>

#include "core/assert.h"
#include "core/types.h"

namespace peregrine::venue {

class PacketQueue {
 public:
  static constexpr std::size_t kMaxBytes = 232;
  struct Packet {
    TimeNs at_ns;
    u64 seq;
    u32 size;
    u8 bytes[kMaxBytes];
    Bytes view() const { return Bytes(bytes, size); }
  };

  // A channel keeps its order: a packet never arrives before the one sent earlier.
  void push(TimeNs at_ns, u64 seq, Bytes bytes) {
    PRG_ASSERT(bytes.size() <= kMaxBytes);
    if (count_ == ring_.size()) grow();
    if (at_ns < last_ns_) at_ns = last_ns_;
    last_ns_ = at_ns;
    Packet& p = ring_[(first_ + count_) & (ring_.size() - 1)];
    p.at_ns = at_ns;
    p.seq = seq;
    p.size = static_cast<u32>(bytes.size());
    std::memcpy(p.bytes, bytes.data(), bytes.size());
    ++count_;
  }
  bool empty() const { return count_ == 0; }
  TimeNs next_ns() const { return count_ == 0 ? INT64_MAX : ring_[first_].at_ns; }
  const Packet& front() const { return ring_[first_]; }
  void pop() {
    first_ = (first_ + 1) & (ring_.size() - 1);
    --count_;
  }
  void clear() { first_ = count_ = 0; }

 private:
  void grow() {
    std::vector<Packet> bigger(ring_.empty() ? 1024 : ring_.size() * 2);
    for (std::size_t i = 0; i < count_; ++i) bigger[i] = ring_[(first_ + i) & (ring_.size() - 1)];
    ring_.swap(bigger);
    first_ = 0;
  }
  std::vector<Packet> ring_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  TimeNs last_ns_ = 0;
};

}  // namespace peregrine::venue
