// Shared memory between the engine and the control plane: one segment an engine, with named regions.
//
//   0       8                12             16            24       32    36     40             48
//   +-------+----------------+--------------+-------------+--------+-----+------+--------------+------------+
//   | magic | layout_version | header_bytes | total_bytes | epoch  | pid | zero | start_ticks  | created_ns |
//   +-------+----------------+--------------+-------------+--------+-----+------+--------------+------------+
//   56 n_regions (u32), 60 zero
//   64   heartbeat_ns, heartbeat_count, state                  written by the engine
//   128  kill_level, kill_stamp, kill_ns, kill_pid             written by whoever kills
//   192  lease_owner, lease_takeovers                          of the command ring (core/command_ring.h)
//   208  supervisor_beats                                      raised by the supervisor, its sign of life
//   256  directory: 60 entries of 64 bytes
//          0          32       40      48     52        56     60
//          +----------+--------+-------+------+---------+------+---------+
//          | name[32] | offset | bytes | kind | version | lock | zero    |
//          +----------+--------+-------+------+---------+------+---------+
//   4096 regions, each beginning on a page of its own
//
// magic     "PRGSHM01", stored last: a segment without it is still being made
// epoch     rises by one with every restart over the same name: a reader that sees another epoch than the one
//           it attached to attaches again. Whoever maps the old memory keeps it, marked by its dead owner.
// pid, start_ticks   the engine that owns the segment (core/process.h)
// heartbeat_ns       the owner's last sign of life, its TscClock; heartbeat_count tells a stopped clock apart
// kill_level         a level, not an index: whoever reads it late or twice still sees it. 0 = run.
// kill_stamp         another one with each setting; level (low half) and stamp are one word, stored in one piece, so
//                    that a kill is lifted only by who has seen that very one (lift_kill)
// lock      how locking the region into memory went: 0 locked, 1 not asked for, else 1000 + errno
//
// A segment's name becomes the file /dev/shm/peregrine.<name>. The owner holds a flock on it for its life, so
// that two engines of one name cannot take it over from a dead third at the same moment.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/atomic.h"
#include "core/error.h"
#include "core/process.h"
#include "core/types.h"

namespace peregrine {

inline constexpr u64 kShmMagic = 0x31304D4853475250ull;  // "PRGSHM01"
inline constexpr u32 kShmLayoutVersion = 1;
inline constexpr u32 kShmMaxRegions = 60;
inline constexpr u64 kShmPage = 4096;

enum class KillLevel : u32 { kRun = 0, kCancelAll = 1, kFlatten = 2 };

enum class EngineState : u64 { kStarting = 0, kReady = 1, kTrading = 2, kPaused = 3, kKilled = 4, kEnded = 5 };

// What a region holds; the number is for tools that look from outside.
enum class RegionKind : u32 {
  kRaw = 0,
  kCounters = 1,    // u64 words, names in a kText region
  kHistogram = 2,   // Histogram, one or more after each other
  kSpscRing = 3,
  kBroadcast = 4,
  kCommandRing = 5,
  kSeqlock = 6,
  kText = 7,        // UTF-8, zero padded
  kRecordRing = 8,
};

struct ShmRegion {
  char name[32];  // zero-terminated
  u64 offset;
  u64 bytes;
  u32 kind;     // RegionKind
  u32 version;  // of the content, the owner's business
  u32 lock;
  u32 zero;
};
static_assert(sizeof(ShmRegion) == 64 && offsetof(ShmRegion, offset) == 32 && offsetof(ShmRegion, lock) == 56);

struct alignas(kCacheLine) ShmHeader {
  u64 magic;
  u32 layout_version;
  u32 header_bytes;
  u64 total_bytes;
  u64 epoch;
  i32 pid;
  u32 zero0;
  u64 start_ticks;
  i64 created_ns;
  u32 n_regions;
  u32 zero1;
  alignas(kCacheLine) i64 heartbeat_ns;
  u64 heartbeat_count;
  u64 state;  // EngineState
  alignas(kCacheLine) u64 kill_word;  // KillLevel, and above it the stamp
  i64 kill_ns;
  i32 kill_pid;
  u32 zero3;
  alignas(kCacheLine) u64 lease_owner;  // pid << 32 | low half of start_ticks; 0 = free
  u64 lease_takeovers;
  u64 supervisor_beats;
  alignas(kCacheLine) ShmRegion regions[kShmMaxRegions];
};
static_assert(sizeof(ShmHeader) == kShmPage && std::is_trivially_copyable_v<ShmHeader>);
static_assert(offsetof(ShmHeader, layout_version) == 8 && offsetof(ShmHeader, total_bytes) == 16);
static_assert(offsetof(ShmHeader, epoch) == 24 && offsetof(ShmHeader, pid) == 32);
static_assert(offsetof(ShmHeader, start_ticks) == 40 && offsetof(ShmHeader, created_ns) == 48);
static_assert(offsetof(ShmHeader, n_regions) == 56 && offsetof(ShmHeader, heartbeat_ns) == 64);
static_assert(offsetof(ShmHeader, kill_word) == 128 && offsetof(ShmHeader, kill_ns) == 136);
static_assert(offsetof(ShmHeader, kill_pid) == 144 && offsetof(ShmHeader, lease_owner) == 192);
static_assert(offsetof(ShmHeader, supervisor_beats) == 208);
static_assert(offsetof(ShmHeader, regions) == 256);

struct RegionSpec {
  std::string name;  // 1 to 31 characters
  u64 bytes = 0;     // rounded up to whole pages
  RegionKind kind = RegionKind::kRaw;
  u32 version = 0;
  bool lock = false;  // mlock2 it; the result is reported, not enforced
};

struct SegmentOptions {
  u64 epoch = 0;       // 0: one more than the epoch found under the name, or 1
  bool prefault = true;  // touch every page now, so that the hot path meets no page fault
};

// Owns a mapping. Cold except for header() and region pointers, which stay put for its life.
class Segment {
 public:
  enum class Access : u8 { kRead, kReadWrite };

  Segment() = default;
  ~Segment();
  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&& other) noexcept;
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // Makes /dev/shm/peregrine.<name>. Takes over from an owner that is dead; refuses while it lives. Space is
  // allocated at once, so a full /dev/shm is an error here and not a SIGBUS later.
  static Error create(std::string_view name, const std::vector<RegionSpec>& regions, const SegmentOptions& options,
                      Segment& out);
  // The same without a name: shared with forked children only.
  static Error create_anonymous(const std::vector<RegionSpec>& regions, const SegmentOptions& options, Segment& out);
  // Attaches to another process's segment; refuses another layout version, a half-made or a truncated segment.
  static Error attach(std::string_view name, Access access, Segment& out);
  // Removes the name. With `only_if_dead`, refuses while the owner lives. A name that is not there is no error.
  static Error unlink(std::string_view name, bool only_if_dead = false);
  // Names under /dev/shm, without "peregrine.".
  static std::vector<std::string> list_names();
  static std::string path_of(std::string_view name);

  bool mapped() const { return base_ != nullptr; }
  bool writable() const { return writable_; }
  bool owner() const { return owner_; }
  const std::string& name() const { return name_; }
  u64 bytes() const { return bytes_; }
  u8* base() const { return base_; }
  ShmHeader& header() const { return *reinterpret_cast<ShmHeader*>(base_); }

  u32 region_count() const { return header().n_regions; }
  const ShmRegion& region_at(u32 i) const { return header().regions[i]; }
  // Start of the region, or nullptr; `bytes` (when given) takes its size.
  u8* region(std::string_view name, u64* bytes = nullptr) const;
  const ShmRegion* find(std::string_view name) const;

  // Hot: two stores on a line of the owner's.
  void heartbeat(TimeNs now) {
    ShmHeader& h = header();
    store_relaxed(h.heartbeat_ns, now);
    store_release(h.heartbeat_count, load_relaxed(h.heartbeat_count) + 1);
  }
  // Hot: one load, the line is shared until somebody kills.
  KillLevel kill_level() const { return static_cast<KillLevel>(static_cast<u32>(kill_word())); }
  u64 kill_word() const { return load_acquire(header().kill_word); }
  u64 supervisor_beats() const { return load_relaxed(header().supervisor_beats); }
  // Sets the level as given (also back to kRun); `now` and our pid are stored with it.
  void set_kill_level(KillLevel level, TimeNs now);
  // Back to kRun, if the word is still `seen`: a kill that came since stands, and the answer is false.
  bool lift_kill(u64 seen, TimeNs now);
  void set_state(EngineState s) { store_release(header().state, static_cast<u64>(s)); }
  // Is the engine that made this segment still there?
  Liveness owner_liveness() const;
  // True when the name now leads to another segment than the one mapped here (the engine restarted), or to none.
  bool superseded() const;

  // Unmaps; the owner also removes the name when `remove_name`.
  void close(bool remove_name = false);

 private:
  static Error layout(const std::vector<RegionSpec>& regions, u64& total);
  void fill(const std::vector<RegionSpec>& regions, const SegmentOptions& options, u64 epoch);

  u8* base_ = nullptr;
  u64 bytes_ = 0;
  int fd_ = -1;
  bool writable_ = false;
  bool owner_ = false;
  std::string name_;
};

}  // namespace peregrine
