// Single-producer single-consumer ring of fixed slots over memory the caller gives: a heap block, an
// anonymous mapping or a region of shared memory (core/shm.h).
//
//   0       8         12           16           24     128          136        256         384
//   +-------+---------+------------+------------+------+------------+----------+-----------+---------+
//   | magic | version | slot_bytes | slot_count | zero | write_seq  | refused  | read_seq  | slots … |
//   +-------+---------+------------+------------+------+------------+----------+-----------+---------+
//                                                      producer's lines        consumer's lines
//
// write_seq and read_seq count slots since the start and never wrap (2^64); slot of n = n mod slot_count.
// The sides lie 128 bytes apart because Intel prefetches lines in pairs. Each handle caches the other side's
// counter and reads it again only when the cached one says full or empty. Of its own counter it keeps a copy and never
// reads the shared word: after the other side has polled it, the line is elsewhere, and reading it before the store
// fetched it twice. Nothing is stored while polling an empty ring. (Round trip 620 -> 390 ns on two Xeon cores.)
//
// Full: try_reserve and try_push return nothing, the slot is not written, and `refused` counts it. What was
// refused is the caller's to keep or drop; the ring never overwrites.
#pragma once

#include <cstring>
#include <type_traits>

#include "core/assert.h"
#include "core/atomic.h"
#include "core/error.h"
#include "core/types.h"

namespace peregrine {

inline constexpr u64 kSpscMagic = 0x31435350'47525050ull;  // "PPRGPSC1"
inline constexpr u32 kSpscVersion = 1;

struct alignas(128) SpscLayout {
  u64 magic;
  u32 version;
  u32 slot_bytes;
  u64 slot_count;
  u64 zero[13];
  alignas(128) u64 write_seq;
  u64 refused;
  alignas(128) u64 read_seq;
};
static_assert(sizeof(SpscLayout) == 384 && std::is_trivially_copyable_v<SpscLayout>);
static_assert(offsetof(SpscLayout, slot_bytes) == 12 && offsetof(SpscLayout, slot_count) == 16);
static_assert(offsetof(SpscLayout, write_seq) == 128 && offsetof(SpscLayout, refused) == 136);
static_assert(offsetof(SpscLayout, read_seq) == 256);

// A handle. Both threads of one process may share one handle, or each attach its own; processes attach their
// own. Whatever handle is used, one thread produces and one consumes. A side is handed over by attaching anew: a
// handle knows its own side's counter from attach on and does not see what another handle of that side does.
class SpscRing {
 public:
  SpscRing() = default;

  static constexpr u64 bytes_needed(u32 slot_bytes, u64 slot_count) {
    return sizeof(SpscLayout) + static_cast<u64>(slot_bytes) * slot_count;
  }
  // Formats `memory` as an empty ring. slot_bytes: a multiple of 64; slot_count: a power of two.
  static Error create(void* memory, u64 bytes, u32 slot_bytes, u64 slot_count, SpscRing& out) {
    if (Error e = check_shape(bytes, slot_bytes, slot_count); e.failed()) return e;
    if (reinterpret_cast<std::uintptr_t>(memory) % kCacheLine != 0)
      return Error::make("ring memory at %p is not aligned to %zu bytes", memory, kCacheLine);
    auto* l = static_cast<SpscLayout*>(memory);
    store_relaxed(l->magic, 0);
    l->version = kSpscVersion;
    l->slot_bytes = slot_bytes;
    l->slot_count = slot_count;
    for (u64& z : l->zero) z = 0;
    store_relaxed(l->write_seq, 0);
    store_relaxed(l->refused, 0);
    store_relaxed(l->read_seq, 0);
    store_release(l->magic, kSpscMagic);
    out.bind(l);
    return Error::none();
  }
  // Takes up a ring that another thread or process created.
  static Error attach(void* memory, u64 bytes, SpscRing& out) {
    if (bytes < sizeof(SpscLayout))
      return Error::make("%llu bytes cannot hold a ring header of %zu bytes", ull(bytes), sizeof(SpscLayout));
    auto* l = static_cast<SpscLayout*>(memory);
    const u64 magic = load_acquire(l->magic);
    if (magic != kSpscMagic)
      return Error::make("not an SPSC ring: magic %016llx, expected %016llx", ull(magic), ull(kSpscMagic));
    if (l->version != kSpscVersion)
      return Error::make("SPSC ring has layout version %u, this build reads %u; hint: run both sides from one build",
                         l->version, kSpscVersion);
    if (Error e = check_shape(bytes, l->slot_bytes, l->slot_count); e.failed()) return e;
    // The counters may move while we look, so each bound is checked against the read taken on its safe side.
    const u64 read_before = load_acquire(l->read_seq);
    const u64 written = load_acquire(l->write_seq);
    const u64 read_after = load_acquire(l->read_seq);
    if (written < read_before || (written > read_after && written - read_after > l->slot_count))
      return Error::make("SPSC ring is damaged: %llu slots written, %llu read, capacity %llu", ull(written),
                         ull(read_after), ull(l->slot_count));
    out.bind(l);
    return Error::none();
  }

  bool bound() const { return layout_ != nullptr; }
  u64 capacity() const { return mask_ + 1; }
  u32 slot_bytes() const { return slot_bytes_; }
  u64 written() const { return load_acquire(layout_->write_seq); }
  u64 consumed() const { return load_acquire(layout_->read_seq); }
  u64 refused() const { return load_relaxed(layout_->refused); }
  // Slots held; exact for either side as a lower bound of what it may use.
  u64 size() const {
    const u64 r = load_acquire(layout_->read_seq);
    const u64 n = load_acquire(layout_->write_seq) - r;
    return n > capacity() ? capacity() : n;
  }
  u8* slots() const { return slots_; }

  // ---- producer ----

  // The next free slot, or nullptr when full. Fill it, then commit().
  u8* try_reserve() {
    u8* first = nullptr;
    return try_reserve_n(1, first) == 1 ? first : nullptr;
  }
  // Up to `n` free slots that lie one after the other from `first` (fewer at the wrap). 0 = full, counted once.
  u64 try_reserve_n(u64 n, u8*& first) {
    const u64 w = producer_.next;
    u64 held = w - producer_.cached_read;
    if (capacity() - held < n) {
      producer_.cached_read = load_acquire(layout_->read_seq);
      held = w - producer_.cached_read;
      PRG_ASSERT(held <= capacity());                   // the consumer never passes us
      PRG_ASSERT(load_relaxed(layout_->write_seq) == w);  // no other handle has produced
    }
    const u64 free_slots = capacity() - held;
    const u64 to_wrap = capacity() - (w & mask_);
    u64 got = n < free_slots ? n : free_slots;
    if (got > to_wrap) got = to_wrap;
    producer_.reserved = got;
    if (got == 0) {
      if (n > 0) add_by_owner(layout_->refused, 1);
      return 0;
    }
    first = slot(w);
    return got;
  }
  // Publishes the first `n` reserved slots.
  void commit(u64 n = 1) {
    PRG_ASSERT(n <= producer_.reserved);
    if (n == 0) return;
    producer_.reserved -= n;
    producer_.next += n;
    store_release(layout_->write_seq, producer_.next);
  }
  // Copies `bytes` bytes (at most slot_bytes) into the next slot, the rest of which becomes zero.
  bool try_push(const void* data, u64 bytes) {
    PRG_ASSERT(bytes <= slot_bytes_);
    u8* s = try_reserve();
    if (s == nullptr) return false;
    std::memcpy(s, data, bytes);
    if (bytes < slot_bytes_) std::memset(s + bytes, 0, slot_bytes_ - bytes);
    commit();
    return true;
  }

  // ---- consumer ----

  // The oldest slot, or nullptr when empty. It stays ours until consume().
  const u8* peek() {
    const u8* first = nullptr;
    return peek_n(1, first) == 1 ? first : nullptr;
  }
  // Up to `n` held slots that lie one after the other from `first` (fewer at the wrap). 0 = empty.
  u64 peek_n(u64 n, const u8*& first) {
    const u64 r = consumer_.next;
    u64 held = consumer_.cached_write - r;
    if (held < n) {
      const u64 w = load_acquire(layout_->write_seq);
      if (w == r) return 0;
      consumer_.cached_write = w;
      held = w - r;
      PRG_ASSERT(held <= capacity());  // the producer never laps us
    }
    const u64 to_wrap = capacity() - (r & mask_);
    u64 got = n < held ? n : held;
    if (got > to_wrap) got = to_wrap;
    consumer_.peeked = got;
    if (got > 0) first = slot(r);
    // A slot that is known to be written begins its way here while the ones before it are read.
    if (held > kPrefetchSlots) __builtin_prefetch(slot(r + kPrefetchSlots));
    return got;
  }
  // Gives the first `n` peeked slots back to the producer.
  void consume(u64 n = 1) {
    PRG_ASSERT(n <= consumer_.peeked);
    if (n == 0) return;
    consumer_.peeked -= n;
    consumer_.next += n;
    store_release(layout_->read_seq, consumer_.next);
  }
  // Copies the oldest slot out and consumes it.
  bool try_pop(void* out) {
    const u8* s = peek();
    if (s == nullptr) return false;
    std::memcpy(out, s, slot_bytes_);
    consume();
    return true;
  }
  // peek() for a producer that is not trusted (another process): the counter is read once and checked, never
  // asserted. `broken` is set when it says what cannot be; the ring is then out of use.
  const u8* peek_untrusted(bool& broken) {
    const u64 r = consumer_.next;
    const u64 w = load_acquire(layout_->write_seq);
    broken = w - r > capacity();
    if (broken || w == r) return nullptr;
    consumer_.cached_write = w;
    consumer_.peeked = 1;
    return slot(r);
  }

 private:
  static constexpr u64 kPrefetchSlots = 16;  // of 64 bytes: 17 -> 12 ns a slot on average between two Xeon cores
  static unsigned long long ull(u64 v) { return v; }
  static Error check_shape(u64 bytes, u32 slot_bytes, u64 slot_count) {
    if (slot_bytes == 0 || slot_bytes % kCacheLine != 0)
      return Error::make("slot_bytes is %u, expected a multiple of %zu", slot_bytes, kCacheLine);
    if (slot_count == 0 || (slot_count & (slot_count - 1)) != 0 || slot_count > (u64{1} << 40) / slot_bytes)
      return Error::make("slot_count is %llu, expected a power of two (the ring at most 1 TiB)", ull(slot_count));
    if (bytes < bytes_needed(slot_bytes, slot_count))
      return Error::make("%llu bytes given, a ring of %llu slots of %u bytes needs %llu", ull(bytes),
                         ull(slot_count), slot_bytes, ull(bytes_needed(slot_bytes, slot_count)));
    return Error::none();
  }
  void bind(SpscLayout* l) {
    layout_ = l;
    slots_ = reinterpret_cast<u8*>(l) + sizeof(SpscLayout);
    mask_ = l->slot_count - 1;
    slot_bytes_ = l->slot_bytes;
    const u64 r = load_acquire(l->read_seq);
    producer_ = {load_acquire(l->write_seq), r, 0};
    consumer_ = {r, r, 0};
  }
  u8* slot(u64 seq) const { return slots_ + (seq & mask_) * slot_bytes_; }

  SpscLayout* layout_ = nullptr;
  u8* slots_ = nullptr;
  u64 mask_ = 0;
  u32 slot_bytes_ = 0;
  struct alignas(128) Producer {
    u64 next = 0;  // = write_seq
    u64 cached_read = 0;
    u64 reserved = 0;
  };
  struct alignas(128) Consumer {
    u64 next = 0;  // = read_seq
    u64 cached_write = 0;
    u64 peeked = 0;
  };
  Producer producer_;
  Consumer consumer_;
};

// The same ring for one type of slot.
template <class T>
class SpscRingOf {
 public:
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % kCacheLine == 0);
  static constexpr u64 bytes_needed(u64 slot_count) { return SpscRing::bytes_needed(sizeof(T), slot_count); }
  static Error create(void* memory, u64 bytes, u64 slot_count, SpscRingOf& out) {
    return SpscRing::create(memory, bytes, sizeof(T), slot_count, out.ring_);
  }
  static Error attach(void* memory, u64 bytes, SpscRingOf& out) {
    if (Error e = SpscRing::attach(memory, bytes, out.ring_); e.failed()) return e;
    if (out.ring_.slot_bytes() != sizeof(T))
      return Error::make("ring has slots of %u bytes, expected %zu", out.ring_.slot_bytes(), sizeof(T));
    return Error::none();
  }
  T* try_reserve() { return reinterpret_cast<T*>(ring_.try_reserve()); }
  void commit() { ring_.commit(); }
  bool try_push(const T& value) {
    T* s = try_reserve();
    if (s == nullptr) return false;
    std::memcpy(static_cast<void*>(s), &value, sizeof(T));
    commit();
    return true;
  }
  const T* peek() { return reinterpret_cast<const T*>(ring_.peek()); }
  void consume() { ring_.consume(); }
  SpscRing& raw() { return ring_; }
  u64 size() const { return ring_.size(); }
  u64 capacity() const { return ring_.capacity(); }
  u64 refused() const { return ring_.refused(); }

 private:
  SpscRing ring_;
};

}  // namespace peregrine
