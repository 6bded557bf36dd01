// The way from the control plane into the engine: an SPSC ring in a region of the segment, whose producing
// side has one owner at a time, named by pid and start time in the segment's header.
//
//   slot (1024 bytes):  0       4             8
//                      +-------+-------------+-----------------------+
//                      | bytes | zero        | command: `bytes` long |
//                      +-------+-------------+-----------------------+
//
// The engine trusts nothing that comes out of it: counters and lengths are checked, never asserted, and a
// command is copied out before it is looked at. What a command means is the engine's room.
#pragma once

#include "core/ring_spsc.h"
#include "core/shm.h"

namespace peregrine {

inline constexpr u32 kCommandSlotBytes = 1024;  // holds the longest command: head, RiskLimits and its origin
inline constexpr u32 kCommandMaxBytes = kCommandSlotBytes - 8;
inline constexpr const char* kCommandRegion = "commands";

// Region to ask for when creating the segment; an engine of several shards has one a shard.
RegionSpec command_region(u64 slot_count, const char* name = kCommandRegion);

// Engine side.
class CommandReader {
 public:
  enum class Poll : u8 {
    kNone,       // nothing there
    kCommand,    // copied to `out`
    kMalformed,  // a slot with an impossible length was dropped
    kBroken,     // the counters are impossible: the ring is out of use until the next epoch
  };
  // Formats the region; the segment must be ours.
  static Error create(Segment& segment, CommandReader& out, const char* name = kCommandRegion);
  // Hot. `out` must hold kCommandMaxBytes.
  Poll poll(u8* out, u32& bytes);
  u64 consumed() const { return ring_.consumed(); }

 private:
  SpscRing ring_;
  bool broken_ = false;
};

// Control-plane side. Claims the lease when attached and gives it back when destroyed or by release().
class CommandWriter {
 public:
  CommandWriter() = default;
  ~CommandWriter() { release(); }
  CommandWriter(const CommandWriter&) = delete;
  CommandWriter& operator=(const CommandWriter&) = delete;

  // Fails while another living process holds the lease (its pid is in the text). A dead one's is taken over.
  // The segment must outlive the writer and be attached with kReadWrite.
  static Error claim(Segment& segment, CommandWriter& out);
  // Another ring of the segment, under the lease `holder` has; it must outlive this writer.
  static Error claim_beside(const CommandWriter& holder, const char* name, CommandWriter& out);
  // False and nothing written when the ring is full. Error when the lease was lost or the command is too long.
  Error try_push(const void* command, u32 bytes, bool& pushed);
  bool holds_lease() const;
  void release();
  u64 written() const { return ring_.written(); }
  u64 consumed() const { return ring_.consumed(); }

  static u64 lease_word(const ProcessId& id) {
    return (static_cast<u64>(static_cast<u32>(id.pid)) << 32) | (id.start_ticks & 0xFFFFFFFFu);
  }

 private:
  Segment* segment_ = nullptr;
  u64 lease_ = 0;
  bool shared_ = false;  // the lease is another writer's to give back
  SpscRing ring_;
};

}  // namespace peregrine
