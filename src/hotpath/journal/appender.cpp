#include "journal/appender.h"

#include <cstring>

#include "core/assert.h"
#include "core/bytes.h"
#include "core/crc32c.h"

namespace peregrine::journal {

Appender::Appender(std::shared_ptr<Ring> ring, u64 reserve_bytes)
    : header_(&ring->header()),
      data_(ring->at(0)),
      mask_(ring->bytes() - 1),
      head_(header_->head.load(std::memory_order_relaxed)),
      cached_tail_(header_->tail.load(std::memory_order_acquire)),
      next_seq_(header_->next_seq.load(std::memory_order_relaxed)),
      reserve_(reserve_bytes),
      generation_(header_->generation),
      ring_(std::move(ring)) {
  PRG_ASSERT(reserve_ < ring_->bytes());
  PRG_ASSERT(head_ - cached_tail_ <= ring_->bytes());
}

std::unique_ptr<Appender> Appender::create(const RingOptions& options, u64 reserve_bytes, JournalError& error) {
  std::shared_ptr<Ring> ring = Ring::create(options, error);
  if (ring == nullptr) return nullptr;
  if (reserve_bytes >= ring->bytes()) {
    error = {};
    error.fault = Fault::kBadArgument;
    error.file = ring->path();
    error.expected = "a reserve smaller than the ring's " + std::to_string(ring->bytes()) + " bytes";
    error.found = std::to_string(reserve_bytes);
    ring->remove();
    return nullptr;
  }
  return std::make_unique<Appender>(std::move(ring), reserve_bytes);
}

u64 Appender::put(RecordType type, i64 ts_ns, Bytes a, Bytes b, Bytes c, u64 reserve) {
  const u64 payload = a.size() + b.size() + c.size();
  const u64 length = record_bytes(payload);
  const u64 ring_bytes = mask_ + 1;
  if (__builtin_expect(length > kMaxRecordBytes || length + reserve > ring_bytes, 0)) return 0;
  if (__builtin_expect(head_ + length + reserve - cached_tail_ > ring_bytes, 0)) {
    cached_tail_ = header_->tail.load(std::memory_order_acquire);
    PRG_ASSERT(cached_tail_ <= head_);
    if (head_ + length + reserve - cached_tail_ > ring_bytes) return 0;
  }

  u8* p = data_ + (head_ & mask_);
  // Whole words, so that the CRC's loads are forwarded from the store buffer.
  const u64 pad = length - sizeof(RecordHeader) - payload;
  if (pad != 0) store_le<u64>(p + length - 8, 0);
  u8* q = p + sizeof(RecordHeader);
  if (!a.empty()) std::memcpy(q, a.data(), a.size());
  if (!b.empty()) std::memcpy(q + a.size(), b.data(), b.size());
  if (!c.empty()) std::memcpy(q + a.size() + b.size(), c.data(), c.size());
  store_le<u64>(p, length | (static_cast<u64>(type) << 32) | (pad << 48));
  store_le<u64>(p + 8, next_seq_);
  store_le<i64>(p + 16, ts_ns);
  store_le<u64>(p + 24, generation_);
  store_le<u32>(p + 28, crc32c(0, p, length));

  head_ += length;
  header_->head.store(head_, std::memory_order_release);
  // After head: a process killed between the two leaves a number that is too small, never one that claims a record
  // which is not there.
  header_->next_seq.store(next_seq_ + 1, std::memory_order_release);
  return next_seq_++;
}

u64 Appender::free_bytes() const {
  const u64 used = head_ - header_->tail.load(std::memory_order_acquire) + reserve_;
  const u64 bytes = mask_ + 1;
  return used < bytes ? bytes - used : 0;
}

WriterStatus Appender::writer_status() const {
  return static_cast<WriterStatus>(header_->status.load(std::memory_order_acquire));
}

}  // namespace peregrine::journal
