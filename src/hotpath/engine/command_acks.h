// What became of commands, for whoever gave them: a region of the segment, one a shard, written by the shard's thread.
//
//   0        8         16                                    64
//   +--------+---------+------------------------------------+
//   | magic  | written | zero                               |
//   +--------+---------+------------------------------------+
//   then 256 slots of 64 bytes; answer number n (from 1) is in slot (n - 1) mod 256
//   0        8        16       24       32     36       40
//   +--------+--------+--------+--------+------+--------+------+
//   | number | key    | seq    | ts_ns  | kind | status | zero |
//   +--------+--------+--------+--------+------+--------+------+
//
// magic   "PRGACKS1"
// number  n, stored last; 0 while the slot is written: a reader that finds the same number before and after it copied
//         the rest has a whole answer
// key     the command's idempotency key; seq, ts_ns: of its journal record (seq 0 = it is in no journal)
// status  AckStatus
#pragma once

#include <type_traits>

#include "core/atomic.h"
#include "core/shm.h"
#include "core/types.h"

namespace peregrine::engine {

enum class AckStatus : u32 {
  kApplied = 0,
  kDuplicate = 1,    // its key was seen before, and it was applied then: not done again
  kRefused = 2,      // journaled, and without effect: a body that is not valid, now or when its key was first seen
  kMalformed = 3,    // not journaled: no command at all, or one that may not come this way
  kNotJournaled = 4, // the journal has no room: not done
  kKillStands = 5,   // not journaled: a revival while the kill word says kill
  kNoThread = 6,     // not journaled: a move to a thread that does not exist, or in a topology without
  kEnding = 7,       // not journaled: a resume while the engine ends
};

inline constexpr const char* kAcksRegion = "acks";
inline constexpr u64 kAcksMagic = 0x31534B4341475250ull;  // "PRGACKS1"
inline constexpr u32 kAckSlots = 256;

struct Ack {
  u64 number;
  u64 key;
  u64 seq;
  i64 ts_ns;
  u32 kind;
  u32 status;
  u64 zero[3];
};
static_assert(sizeof(Ack) == 64 && std::is_trivially_copyable_v<Ack>);
static_assert(offsetof(Ack, seq) == 16 && offsetof(Ack, kind) == 32 && offsetof(Ack, status) == 36);

struct AckTable {
  u64 magic;
  u64 written;
  u64 zero[6];
  Ack slots[kAckSlots];
};
static_assert(sizeof(AckTable) == 64 + 64 * kAckSlots && offsetof(AckTable, slots) == 64);

class CommandAcks {
 public:
  CommandAcks() = default;
  // `memory` is a zeroed region of the segment that outlives this object.
  explicit CommandAcks(u8* memory) : table_(reinterpret_cast<AckTable*>(memory)) { store_release(table_->magic, kAcksMagic); }

  static RegionSpec region(const std::string& name, bool lock) {
    RegionSpec r;
    r.name = name;
    r.bytes = sizeof(AckTable);
    r.kind = RegionKind::kRaw;
    r.version = 1;
    r.lock = lock;
    return r;
  }

  // Hot, though rare: a few stores.
  void tell(u64 key, u64 seq, TimeNs ts_ns, u32 kind, AckStatus status) {
    if (table_ == nullptr) return;
    const u64 n = load_relaxed(table_->written) + 1;
    Ack& slot = table_->slots[(n - 1) % kAckSlots];
    store_release(slot.number, u64{0});
    store_release(slot.key, key);
    store_release(slot.seq, seq);
    store_release(slot.ts_ns, ts_ns);
    store_release(slot.kind, kind);
    store_release(slot.status, static_cast<u32>(status));
    store_release(slot.number, n);
    store_release(table_->written, n);
  }

 private:
  AckTable* table_ = nullptr;
};

}  // namespace peregrine::engine
