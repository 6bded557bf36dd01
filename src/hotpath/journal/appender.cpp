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

namespace {

// Copies `n` bytes to `to`, which is 8-byte aligned in its record, and fills the last word with zeros. Word by word: a
// head was stored field by field a moment ago, and a wider load would wait until those stores have left the store buffer;
// the CRC's loads are then forwarded the same way. Without calls, for a part is a few words long.
inline void copy_words(u8* to, const u8* from, std::size_t n) {
  for (; n >= 8; n -= 8, to += 8, from += 8) {
    u64 word = load_le<u64>(from);
    asm("" : "+r"(word));  // else the compiler makes it a call of memcpy again
    store_le<u64>(to, word);
  }
  if (n == 0) return;
  u64 last = 0;
  if ((n & 4) != 0) last = load_le<u32>(from), from += 4;
  if ((n & 2) != 0) last |= u64{load_le<u16>(from)} << (8 * (n & 4)), from += 2;
  if ((n & 1) != 0) last |= u64{*from} << (8 * (n & 6));
  store_le<u64>(to, last);
}

}  // namespace

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
  const u64 pad = length - sizeof(RecordHeader) - payload;
  u8* q = p + sizeof(RecordHeader);
  // A part begins at a whole word unless the one before it is ragged, which none of the engine's own is.
  const bool more = !b.empty() || !c.empty();
  if ((((more ? a.size() : 0) | (!c.empty() ? b.size() : 0)) & 7) == 0) [[likely]] {
    copy_words(q, a.data(), a.size());
    copy_words(q + a.size(), b.data(), b.size());
    copy_words(q + a.size() + b.size(), c.data(), c.size());
  } else {
    if (pad != 0) store_le<u64>(p + length - 8, 0);
    if (!a.empty()) std::memcpy(q, a.data(), a.size());
    if (!b.empty()) std::memcpy(q + a.size(), b.data(), b.size());
    if (!c.empty()) std::memcpy(q + a.size() + b.size(), c.data(), c.size());
  }
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
