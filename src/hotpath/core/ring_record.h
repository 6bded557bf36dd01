// Single-producer single-consumer ring of records of different length, over memory the caller gives. The
// sibling of ring_spsc.h for packets: same counters, in bytes, same rule for full.
//
//   0       8         12     16         24     128         136        256        384
//   +-------+---------+------+----------+------+-----------+----------+----------+----------+
//   | magic | version | zero | capacity | zero | write_pos | refused  | read_pos | data …   |
//   +-------+---------+------+----------+------+-----------+----------+----------+----------+
//
//   record (8-byte aligned, never split by the wrap):
//   0       4      8
//   +-------+------+-----------------+
//   | bytes | kind | payload … 0-pad |        bytes = payload size; kind 0xFFFFFFFF = skip to the wrap
//   +-------+------+-----------------+
#pragma once

#include <cstring>
#include <type_traits>

#include "core/assert.h"
#include "core/atomic.h"
#include "core/error.h"
#include "core/types.h"

namespace peregrine {

inline constexpr u64 kRecordRingMagic = 0x31434552'47525050ull;  // "PPRGREC1"
inline constexpr u32 kRecordRingVersion = 1;

struct alignas(128) RecordRingLayout {
  u64 magic;
  u32 version;
  u32 zero0;
  u64 capacity;
  u64 zero[13];
  alignas(128) u64 write_pos;
  u64 refused;
  alignas(128) u64 read_pos;
};
static_assert(sizeof(RecordRingLayout) == 384 && offsetof(RecordRingLayout, capacity) == 16);
static_assert(offsetof(RecordRingLayout, write_pos) == 128 && offsetof(RecordRingLayout, read_pos) == 256);

class RecordRing {
 public:
  static constexpr u32 kSkip = 0xFFFFFFFFu;
  struct Record {
    u32 kind;
    Bytes payload;
  };

  static constexpr u64 bytes_needed(u64 capacity) { return sizeof(RecordRingLayout) + capacity; }
  // `capacity`: bytes of data, a power of two of at least 64.
  static Error create(void* memory, u64 bytes, u64 capacity, RecordRing& out) {
    if (Error e = check_shape(bytes, capacity); e.failed()) return e;
    if (reinterpret_cast<std::uintptr_t>(memory) % kCacheLine != 0)
      return Error::make("ring memory at %p is not aligned to %zu bytes", memory, kCacheLine);
    auto* l = static_cast<RecordRingLayout*>(memory);
    store_relaxed(l->magic, 0);
    l->version = kRecordRingVersion;
    l->zero0 = 0;
    l->capacity = capacity;
    for (u64& z : l->zero) z = 0;
    store_relaxed(l->write_pos, 0);
    store_relaxed(l->refused, 0);
    store_relaxed(l->read_pos, 0);
    store_release(l->magic, kRecordRingMagic);
    out.bind(l);
    return Error::none();
  }
  static Error attach(void* memory, u64 bytes, RecordRing& out) {
    using ull = unsigned long long;
    if (bytes < sizeof(RecordRingLayout))
      return Error::make("%llu bytes cannot hold a ring header of %zu bytes", static_cast<ull>(bytes),
                         sizeof(RecordRingLayout));
    auto* l = static_cast<RecordRingLayout*>(memory);
    if (const u64 magic = load_acquire(l->magic); magic != kRecordRingMagic)
      return Error::make("not a record ring: magic %016llx, expected %016llx", static_cast<ull>(magic),
                         static_cast<ull>(kRecordRingMagic));
    if (l->version != kRecordRingVersion)
      return Error::make("record ring has layout version %u, this build reads %u", l->version, kRecordRingVersion);
    if (Error e = check_shape(bytes, l->capacity); e.failed()) return e;
    out.bind(l);
    return Error::none();
  }

  u64 capacity() const { return mask_ + 1; }
  // The longest payload that always fits into an empty ring, wherever its write position stands.
  u64 max_payload_bytes() const { return capacity() / 2 - 8; }
  u64 refused() const { return load_relaxed(layout_->refused); }
  bool empty() const { return load_acquire(layout_->write_pos) == load_acquire(layout_->read_pos); }

  // Producer. Bytes of records, heads and padding included, that still fit; the wrap may cost up to one record of it.
  u64 free_bytes() {
    cached_read_ = load_acquire(layout_->read_pos);
    return capacity() - (load_relaxed(layout_->write_pos) - cached_read_);
  }
  // Producer. Room for a payload of `bytes`, or nullptr when full (counted in refused). Fill, then commit().
  u8* try_reserve(u64 bytes) {
    PRG_ASSERT(bytes <= max_payload_bytes());
    const u64 need = record_bytes(bytes);
    const u64 w = load_relaxed(layout_->write_pos);
    const u64 to_wrap = capacity() - (w & mask_);
    const u64 skip = to_wrap < need ? to_wrap : 0;
    if (w + skip + need - cached_read_ > capacity()) {
      cached_read_ = load_acquire(layout_->read_pos);
      PRG_ASSERT(w - cached_read_ <= capacity());
      if (w + skip + need - cached_read_ > capacity()) {
        add_by_owner(layout_->refused, 1);
        return nullptr;
      }
    }
    if (skip > 0) store_head(w, 0, kSkip);
    reserved_at_ = w + skip;
    reserved_bytes_ = need;
    return data_ + (reserved_at_ & mask_) + 8;
  }
  // Publishes the reserved record, of which `bytes` payload bytes are used (at most those reserved).
  void commit(u32 kind, u64 bytes) {
    const u64 need = record_bytes(bytes);
    PRG_ASSERT(need <= reserved_bytes_ && kind != kSkip);
    reserved_bytes_ = 0;
    store_head(reserved_at_, static_cast<u32>(bytes), kind);
    std::memset(data_ + (reserved_at_ & mask_) + 8 + bytes, 0, need - 8 - bytes);
    store_release(layout_->write_pos, reserved_at_ + need);
  }
  bool try_push(u32 kind, Bytes payload) {
    u8* p = try_reserve(payload.size());
    if (p == nullptr) return false;
    if (!payload.empty()) std::memcpy(p, payload.data(), payload.size());
    commit(kind, payload.size());
    return true;
  }

  // Consumer. The oldest record; the payload stays valid until consume(). False = empty.
  bool peek(Record& out) {
    for (;;) {
      const u64 r = load_relaxed(layout_->read_pos);
      if (static_cast<i64>(cached_write_ - r) <= 0) {
        cached_write_ = load_acquire(layout_->write_pos);
        if (cached_write_ == r) return false;
        PRG_ASSERT(cached_write_ - r <= capacity());
      }
      const u8* p = data_ + (r & mask_);
      u32 bytes, kind;
      std::memcpy(&bytes, p, 4);
      std::memcpy(&kind, p + 4, 4);
      if (kind == kSkip) {
        store_release(layout_->read_pos, r + capacity() - (r & mask_));
        continue;
      }
      PRG_ASSERT(record_bytes(bytes) <= capacity() - (r & mask_));
      peeked_bytes_ = record_bytes(bytes);
      out = {kind, Bytes(p + 8, bytes)};
      return true;
    }
  }
  void consume() {
    PRG_ASSERT(peeked_bytes_ > 0);
    store_release(layout_->read_pos, load_relaxed(layout_->read_pos) + peeked_bytes_);
    peeked_bytes_ = 0;
  }

 private:
  static constexpr u64 record_bytes(u64 payload) { return 8 + ((payload + 7) & ~u64{7}); }
  static Error check_shape(u64 bytes, u64 capacity) {
    using ull = unsigned long long;
    if (capacity < 64 || (capacity & (capacity - 1)) != 0 || capacity > (u64{1} << 31))
      return Error::make("capacity is %llu, expected a power of two from 64 to 2^31", static_cast<ull>(capacity));
    if (bytes < bytes_needed(capacity))
      return Error::make("%llu bytes given, a record ring of %llu needs %llu", static_cast<ull>(bytes),
                         static_cast<ull>(capacity), static_cast<ull>(bytes_needed(capacity)));
    return Error::none();
  }
  void bind(RecordRingLayout* l) {
    layout_ = l;
    data_ = reinterpret_cast<u8*>(l) + sizeof(RecordRingLayout);
    mask_ = l->capacity - 1;
    cached_read_ = cached_write_ = load_acquire(l->read_pos);
    reserved_at_ = reserved_bytes_ = peeked_bytes_ = 0;
  }
  void store_head(u64 pos, u32 bytes, u32 kind) {
    u8* p = data_ + (pos & mask_);
    std::memcpy(p, &bytes, 4);
    std::memcpy(p + 4, &kind, 4);
  }

  RecordRingLayout* layout_ = nullptr;
  u8* data_ = nullptr;
  u64 mask_ = 0;
  alignas(128) u64 cached_read_ = 0;  // producer's
  u64 reserved_at_ = 0;
  u64 reserved_bytes_ = 0;
  alignas(128) u64 cached_write_ = 0;  // consumer's
  u64 peeked_bytes_ = 0;
};

}  // namespace peregrine
