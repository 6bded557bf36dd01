// Lease and slots of the command ring.
#include "core/command_ring.h"

#include <cstring>

namespace peregrine {

namespace {

Error find_region(const Segment& segment, const char* name, u8*& at, u64& bytes) {
  const ShmRegion* r = segment.find(name);
  if (r == nullptr || r->kind != static_cast<u32>(RegionKind::kCommandRing))
    return Error::make("segment '%s' has no command ring '%s'", segment.name().c_str(), name);
  at = segment.region(name, &bytes);
  return Error::none();
}

// A lease names a process by its pid and the low half of its start time.
bool lease_holder_lives(u64 lease) {
  const i32 pid = static_cast<i32>(lease >> 32);
  const u64 start = process_start_ticks(pid);
  if ((start & 0xFFFFFFFFu) != (lease & 0xFFFFFFFFu)) return false;
  return liveness({pid, start}) != Liveness::kDead;
}

}  // namespace

RegionSpec command_region(u64 slot_count, const char* name) {
  RegionSpec r;
  r.name = name;
  r.bytes = SpscRing::bytes_needed(kCommandSlotBytes, slot_count);
  r.kind = RegionKind::kCommandRing;
  r.version = kSpscVersion;
  r.lock = true;
  return r;
}

Error CommandReader::create(Segment& segment, CommandReader& out, const char* name) {
  u8* at = nullptr;
  u64 bytes = 0;
  if (Error e = find_region(segment, name, at, bytes); e.failed()) return e;
  if (!segment.owner()) return Error::make("only the engine that made segment '%s' reads its commands",
                                           segment.name().c_str());
  u64 slots = 1;
  while (SpscRing::bytes_needed(kCommandSlotBytes, slots * 2) <= bytes) slots *= 2;
  out.broken_ = false;
  return SpscRing::create(at, bytes, kCommandSlotBytes, slots, out.ring_);
}

CommandReader::Poll CommandReader::poll(u8* out, u32& bytes) {
  bytes = 0;
  if (broken_) return Poll::kBroken;
  const u8* slot = ring_.peek_untrusted(broken_);
  if (broken_) return Poll::kBroken;
  if (slot == nullptr) return Poll::kNone;
  // The whole slot is copied first: what is checked is what is used, whatever the other side still writes.
  u8 copy[kCommandSlotBytes];
  std::memcpy(copy, slot, sizeof(copy));
  ring_.consume();
  u32 n, zero;
  std::memcpy(&n, copy, 4);
  std::memcpy(&zero, copy + 4, 4);
  if (n > kCommandMaxBytes || zero != 0) return Poll::kMalformed;
  std::memcpy(out, copy + 8, n);
  bytes = n;
  return Poll::kCommand;
}

Error CommandWriter::claim(Segment& segment, CommandWriter& out) {
  u8* at = nullptr;
  u64 bytes = 0;
  if (Error e = find_region(segment, kCommandRegion, at, bytes); e.failed()) return e;
  if (!segment.writable()) return Error::make("segment '%s' is attached read-only", segment.name().c_str());
  out.release();
  if (Error e = SpscRing::attach(at, bytes, out.ring_); e.failed()) return e;
  if (out.ring_.slot_bytes() != kCommandSlotBytes)
    return Error::make("command ring has slots of %u bytes, expected %u", out.ring_.slot_bytes(), kCommandSlotBytes);
  const u64 mine = lease_word(this_process());
  ShmHeader& h = segment.header();
  u64 seen = load_acquire(h.lease_owner);
  for (;;) {
    if (seen == mine)
      return Error::make("this process already holds the command ring of segment '%s'", segment.name().c_str());
    if (seen != 0 && lease_holder_lives(seen))
      return Error::make("the command ring of segment '%s' is held by pid %d; hint: one control process at a time",
                         segment.name().c_str(), static_cast<i32>(seen >> 32));
    const bool takeover = seen != 0;
    if (compare_exchange(h.lease_owner, seen, mine)) {
      if (takeover) __atomic_fetch_add(&h.lease_takeovers, 1, __ATOMIC_RELAXED);
      break;
    }
  }
  out.segment_ = &segment;
  out.lease_ = mine;
  return Error::none();
}

Error CommandWriter::claim_beside(const CommandWriter& holder, const char* name, CommandWriter& out) {
  if (!holder.holds_lease()) return Error::make("the lease of the command ring was lost to another process");
  u8* at = nullptr;
  u64 bytes = 0;
  if (Error e = find_region(*holder.segment_, name, at, bytes); e.failed()) return e;
  out.release();
  if (Error e = SpscRing::attach(at, bytes, out.ring_); e.failed()) return e;
  if (out.ring_.slot_bytes() != kCommandSlotBytes)
    return Error::make("command ring has slots of %u bytes, expected %u", out.ring_.slot_bytes(), kCommandSlotBytes);
  out.segment_ = holder.segment_;
  out.lease_ = holder.lease_;
  out.shared_ = true;
  return Error::none();
}

bool CommandWriter::holds_lease() const {
  return segment_ != nullptr && load_acquire(segment_->header().lease_owner) == lease_;
}

Error CommandWriter::try_push(const void* command, u32 bytes, bool& pushed) {
  pushed = false;
  if (bytes > kCommandMaxBytes)
    return Error::make("command of %u bytes, at most %u fit into a slot", bytes, kCommandMaxBytes);
  if (!holds_lease()) return Error::make("the lease of the command ring was lost to another process");
  u8* slot = ring_.try_reserve();
  if (slot == nullptr) return Error::none();
  const u32 zero = 0;
  std::memcpy(slot, &bytes, 4);
  std::memcpy(slot + 4, &zero, 4);
  std::memcpy(slot + 8, command, bytes);
  std::memset(slot + 8 + bytes, 0, kCommandMaxBytes - bytes);
  ring_.commit();
  pushed = true;
  return Error::none();
}

void CommandWriter::release() {
  if (segment_ == nullptr) return;
  u64 expected = lease_;
  if (!shared_) compare_exchange(segment_->header().lease_owner, expected, u64{0});
  shared_ = false;
  segment_ = nullptr;
  lease_ = 0;
}

}  // namespace peregrine
