#include "journal/ring_cursor.h"

#include <cstring>

#include "journal/segment.h"

namespace peregrine::journal {

RingCursor::Find RingCursor::bad(Fault fault, std::string expected, std::string found) {
  error_ = {};
  error_.fault = fault;
  error_.file = ring_->path();
  error_.offset = at_;
  error_.expected = std::move(expected);
  error_.found = std::move(found);
  return Find::kBad;
}

RingCursor::Find RingCursor::find(u64 seq) {
  const RingHeader& h = ring_->header();
  promised_seq_ = h.next_seq.load(std::memory_order_acquire);
  // Bytes may be released and overwritten while they are looked at: they count only if `tail` has not passed them
  // afterwards (and the copy's CRC is right).
  const auto released = [&](u64 position) {
    __asm__ __volatile__("" ::: "memory");
    return h.tail.load(std::memory_order_acquire) > position;
  };
  for (;;) {
    const u64 tail = h.tail.load(std::memory_order_acquire);
    const u64 head = h.head.load(std::memory_order_acquire);
    if (head < tail || head - tail > ring_->bytes()) {
      if (released(tail)) continue;
      return bad(Fault::kRingMismatch, "at most " + std::to_string(ring_->bytes()) + " bytes between tail and head",
                 std::to_string(tail) + " and " + std::to_string(head));
    }
    if (at_ < tail) at_ = tail;
    if (at_ > head) return bad(Fault::kRingMismatch, "head at " + std::to_string(at_), std::to_string(head));
    if (at_ == head) return Find::kNone;
    RecordHeader record;
    if (head - at_ < sizeof record) return bad(Fault::kTorn, "a whole record", std::to_string(head - at_) + " bytes");
    std::memcpy(&record, ring_->at(at_), sizeof record);
    const Fault fault = check_record_shape(record, head - at_);
    if (fault != Fault::kNone) {
      if (released(at_)) continue;
      return bad(fault, "a record", "length " + std::to_string(record.length) + ", type " + std::to_string(record.type));
    }
    if (copy_.size() < record.length) copy_.resize(record.length);
    std::memcpy(copy_.data(), ring_->at(at_), record.length);
    if (released(at_)) continue;
    const u32 crc = record_crc(copy_.data(), record.length);
    if (crc != record.crc32c) return bad(Fault::kBadCrc, "crc32c " + std::to_string(crc), std::to_string(record.crc32c));
    if (record.seq > seq) return Find::kMissing;
    position_ = at_;
    at_ += record.length;
    if (record.seq < seq) continue;
    header_ = record;
    return Find::kFound;
  }
}

}  // namespace peregrine::journal
