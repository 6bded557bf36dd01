// Broadcast ring for telemetry: one writer that never waits, any number of readers that may be too slow and
// then know exactly how much they lost. Over memory the caller gives, like ring_spsc.h.
//
//   0       8         12           16           24     128         192
//   +-------+---------+------------+------------+------+-----------+-----------------------------+
//   | magic | version | slot_bytes | slot_count | zero | published | slots …                     |
//   +-------+---------+------------+------------+------+-----------+-----------------------------+
//
//   slot:  0       8
//          +-------+-------------------------------+
//          | stamp | payload: slot_bytes - 8 bytes |
//          +-------+-------------------------------+
//
// stamp of message n (n = 0, 1, 2 …): 2n + 1 while it is being written, 2n + 2 when it is whole. The payload
// is atomic words, stored with release and loaded with acquire for the reason given in seqlock.h: no fences,
// correct on x86 and aarch64, and understood by gcc's ThreadSanitizer.
#pragma once

#include <cstring>
#include <type_traits>

#include "core/seqlock.h"
#include "core/error.h"

namespace peregrine {

inline constexpr u64 kBroadcastMagic = 0x31544342'47525050ull;  // "PPRGBCT1"
inline constexpr u32 kBroadcastVersion = 1;

struct alignas(kCacheLine) BroadcastLayout {
  u64 magic;
  u32 version;
  u32 slot_bytes;
  u64 slot_count;
  u64 zero[13];
  u64 published;  // messages whole so far
  u64 zero2[7];
};
static_assert(sizeof(BroadcastLayout) == 192 && std::is_trivially_copyable_v<BroadcastLayout>);
static_assert(offsetof(BroadcastLayout, slot_count) == 16 && offsetof(BroadcastLayout, published) == 128);

struct BroadcastShape {
  static constexpr u64 bytes_needed(u32 slot_bytes, u64 slot_count) {
    return sizeof(BroadcastLayout) + static_cast<u64>(slot_bytes) * slot_count;
  }
  // slot_bytes: a multiple of 64, of which 8 are the stamp; slot_count: a power of two, at least 2.
  static Error check(u64 bytes, u32 slot_bytes, u64 slot_count) {
    using ull = unsigned long long;
    if (slot_bytes == 0 || slot_bytes % kCacheLine != 0)
      return Error::make("slot_bytes is %u, expected a multiple of %zu", slot_bytes, kCacheLine);
    if (slot_count < 2 || (slot_count & (slot_count - 1)) != 0 || slot_count > (u64{1} << 40) / slot_bytes)
      return Error::make("slot_count is %llu, expected a power of two from 2 on (the ring at most 1 TiB)",
                         static_cast<ull>(slot_count));
    if (bytes < bytes_needed(slot_bytes, slot_count))
      return Error::make("%llu bytes given, a broadcast ring of %llu slots of %u bytes needs %llu",
                         static_cast<ull>(bytes), static_cast<ull>(slot_count), slot_bytes,
                         static_cast<ull>(bytes_needed(slot_bytes, slot_count)));
    return Error::none();
  }
};

class BroadcastWriter {
 public:
  // Formats `memory` as an empty ring.
  static Error create(void* memory, u64 bytes, u32 slot_bytes, u64 slot_count, BroadcastWriter& out) {
    if (Error e = BroadcastShape::check(bytes, slot_bytes, slot_count); e.failed()) return e;
    if (reinterpret_cast<std::uintptr_t>(memory) % kCacheLine != 0)
      return Error::make("ring memory at %p is not aligned to %zu bytes", memory, kCacheLine);
    auto* l = static_cast<BroadcastLayout*>(memory);
    store_relaxed(l->magic, 0);
    l->version = kBroadcastVersion;
    l->slot_bytes = slot_bytes;
    l->slot_count = slot_count;
    for (u64& z : l->zero) z = 0;
    for (u64& z : l->zero2) z = 0;
    store_relaxed(l->published, 0);
    out.bind(l);
    for (u64 i = 0; i < slot_count; ++i) store_relaxed(*out.slot(i), 0);
    store_release(l->magic, kBroadcastMagic);
    return Error::none();
  }
  // Takes up an existing ring as its (one) writer, after the message published last.
  static Error attach(void* memory, u64 bytes, BroadcastWriter& out);

  bool bound() const { return layout_ != nullptr; }
  u64 capacity() const { return mask_ + 1; }
  u32 payload_bytes() const { return slot_bytes_ - 8; }
  u64 published() const { return next_; }

  // Publishes `bytes` bytes (at most payload_bytes()), the rest of the payload becomes zero. Never waits.
  void publish(const void* data, u64 bytes) {
    PRG_ASSERT(bytes <= payload_bytes());
    u64* s = slot(next_);
    store_relaxed(s[0], 2 * next_ + 1);
    const u64 whole = bytes / 8;
    words_store(s + 1, data, whole);
    u64 i = whole;
    if (bytes % 8 != 0) {
      u64 w = 0;
      std::memcpy(&w, static_cast<const u8*>(data) + 8 * whole, bytes % 8);
      store_release(s[1 + i++], w);
    }
    for (; i < payload_bytes() / 8; ++i) store_release(s[1 + i], 0);
    store_release(s[0], 2 * next_ + 2);
    ++next_;
    store_release(layout_->published, next_);
  }

 private:
  friend class BroadcastReader;
  void bind(BroadcastLayout* l) {
    layout_ = l;
    mask_ = l->slot_count - 1;
    slot_bytes_ = l->slot_bytes;
    next_ = load_acquire(l->published);
  }
  u64* slot(u64 n) const {
    return reinterpret_cast<u64*>(reinterpret_cast<u8*>(layout_) + sizeof(BroadcastLayout) + (n & mask_) * slot_bytes_);
  }

  BroadcastLayout* layout_ = nullptr;
  u64 mask_ = 0;
  u64 next_ = 0;
  u32 slot_bytes_ = 0;
};

class BroadcastReader {
 public:
  enum class From : u8 { kOldest, kNow };

  // `memory` may be mapped read-only.
  static Error attach(const void* memory, u64 bytes, BroadcastReader& out, From from = From::kOldest) {
    using ull = unsigned long long;
    if (bytes < sizeof(BroadcastLayout))
      return Error::make("%llu bytes cannot hold a ring header of %zu bytes", static_cast<ull>(bytes),
                         sizeof(BroadcastLayout));
    const auto* l = static_cast<const BroadcastLayout*>(memory);
    const u64 magic = load_acquire(l->magic);
    if (magic != kBroadcastMagic)
      return Error::make("not a broadcast ring: magic %016llx, expected %016llx", static_cast<ull>(magic),
                         static_cast<ull>(kBroadcastMagic));
    if (l->version != kBroadcastVersion)
      return Error::make("broadcast ring has layout version %u, this build reads %u; hint: run both sides from one "
                         "build", l->version, kBroadcastVersion);
    if (Error e = BroadcastShape::check(bytes, l->slot_bytes, l->slot_count); e.failed()) return e;
    out.layout_ = l;
    out.mask_ = l->slot_count - 1;
    out.slot_bytes_ = l->slot_bytes;
    out.lost_ = 0;
    const u64 published = load_acquire(l->published);
    out.next_ = from == From::kNow || published <= out.capacity() ? (from == From::kNow ? published : 0)
                                                                    : published - out.capacity();
    return Error::none();
  }

  bool bound() const { return layout_ != nullptr; }
  u64 capacity() const { return mask_ + 1; }
  u32 payload_bytes() const { return slot_bytes_ - 8; }
  u64 position() const { return next_; }  // number of the message that poll() gives next
  u64 lost() const { return lost_; }      // messages overwritten before we read them
  u64 published() const { return load_acquire(layout_->published); }

  // Copies the next message (payload_bytes() bytes) to `out`. False: nothing new. A message that was
  // overwritten meanwhile is never handed out: it and those gone with it are counted in lost(), and reading
  // goes on half a ring behind the writer, so that a slow reader is not lapped again at once. Lapped time and
  // again (or over damaged memory) it gives up with false; the next call goes on.
  bool poll(void* out) {
    for (int tries = 0; tries < kPollTries; ++tries) {
      const u64* s = slot(next_);
      const u64 want = 2 * next_ + 2;
      const u64 before = load_acquire(s[0]);
      if (before < want) return false;
      if (before == want) {
        words_load(out, s + 1, payload_bytes() / 8);
        if (load_relaxed(s[0]) == want) {
          ++next_;
          return true;
        }
      }
      catch_up();
    }
    return false;
  }

 private:
  static constexpr int kPollTries = 64;

  void catch_up() {
    const u64 published = load_acquire(layout_->published);
    const u64 half = capacity() / 2;
    u64 to = published > half ? published - half : 0;
    if (to <= next_) to = next_ + 1;  // only this one was overwritten
    lost_ += to - next_;
    next_ = to;
  }
  const u64* slot(u64 n) const {
    return reinterpret_cast<const u64*>(reinterpret_cast<const u8*>(layout_) + sizeof(BroadcastLayout) +
                                        (n & mask_) * slot_bytes_);
  }

  const BroadcastLayout* layout_ = nullptr;
  u64 mask_ = 0;
  u64 next_ = 0;
  u64 lost_ = 0;
  u32 slot_bytes_ = 0;
};

inline Error BroadcastWriter::attach(void* memory, u64 bytes, BroadcastWriter& out) {
  BroadcastReader shape;
  if (Error e = BroadcastReader::attach(memory, bytes, shape); e.failed()) return e;
  out.bind(static_cast<BroadcastLayout*>(memory));
  return Error::none();
}

}  // namespace peregrine
