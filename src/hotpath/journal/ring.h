// The ring between the hot thread and the writer: a named file under /dev/shm that outlives the process.
//
//   0      8        12       16          24           28      32          40           48          64
//   +------+--------+--------+-----------+------------+-------+-----------+------------+-----------+
//   | magic| version| zero   | ring_bytes| generation | pid   | start_time| journal_id | first_seq | line 0: fixed at
//   +------+--------+--------+-----------+------------+-------+-----------+------------+-----------+ creation
//   64     head (committed bytes, only grows) | next_seq                         line 1: the hot thread writes
//   128    tail (bytes released to the hot thread, only grows) | written | synced_ns   line 2: the writer writes
//   192    status | status_code | status_count                                    line 3: the writer writes, rarely
//   256    journal directory, zero-terminated (768 bytes)
//   65536  ring_bytes bytes of records; the file's data is mapped twice in a row, so that every record is contiguous
//
// A record is there when head says so: bytes beyond head are nobody's, so a process killed in the middle of an append
// leaves no half record. Record at stream position p lies at data + p % ring_bytes.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "journal/error.h"
#include "journal/record.h"

namespace peregrine::journal {

inline constexpr u64 kRingMagic = 0x31474E4952524750ull;  // "PGRRING1"
inline constexpr u32 kRingVersion = 1;
inline constexpr u64 kRingHeaderBytes = 65536;  // a multiple of every page size in use
inline constexpr u64 kMinRingBytes = 65536;

// Anything above kRunning makes append() refuse.
enum class WriterStatus : u32 { kNone = 0, kRunning = 1, kNoSpace = 2, kIoError = 3, kCorrupt = 4, kClosed = 5 };
const char* status_name(WriterStatus s);

struct RingHeader {
  u64 magic;
  u32 version;
  u32 zero;
  u64 ring_bytes;  // a power of two, at least kMinRingBytes
  u32 generation;  // run that created the ring
  u32 pid;
  u64 start_time;  // of that process, in clock ticks since boot: a pid alone may be reused
  u64 journal_id;
  u64 first_seq;   // sequence number of the record at stream position 0
  u64 zero1;
  alignas(kCacheLine) std::atomic<u64> head;
  std::atomic<u64> next_seq;
  alignas(kCacheLine) std::atomic<u64> tail;
  std::atomic<u64> written;  // bytes handed to the file system; tail <= written <= head
  alignas(kCacheLine) std::atomic<u32> status;  // WriterStatus
  std::atomic<u32> status_code;                 // errno of the failure
  std::atomic<u64> status_count;                // failures so far
  alignas(kCacheLine) char directory[768];
};
static_assert(sizeof(RingHeader) == 1024 && sizeof(RingHeader) <= kRingHeaderBytes);
static_assert(offsetof(RingHeader, head) == 64 && offsetof(RingHeader, tail) == 128);
static_assert(offsetof(RingHeader, status) == 192 && offsetof(RingHeader, directory) == 256);
static_assert(std::atomic<u64>::is_always_lock_free && sizeof(std::atomic<u64>) == 8);

struct RingOptions {
  std::string name = "peregrine";     // file <ring_dir>/<name>.pgr
  std::string ring_dir = "/dev/shm";  // absent or not writable: journal_dir is used instead, with a note
  std::string journal_dir;
  u64 ring_bytes = 16u << 20;         // rounded up to a power of two
  u32 generation = 1;
  u64 next_seq = 1;
  u64 journal_id = 0;
};

// A mapping of one ring file. The creator holds a file lock on it until destruction; the file stays (see remove()).
class Ring {
 public:
  // Fails cleanly with the errno: ENOSPC when the memory is not there, kInUse when a live process owns the ring,
  // kNeedsRecovery when it holds records of a dead one that no segment has.
  static std::shared_ptr<Ring> create(const RingOptions& options, JournalError& error);
  // Opens an existing ring; `writable` false maps it read-only (observers of a live engine).
  static std::shared_ptr<Ring> open(const std::string& path, bool writable, JournalError& error);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  RingHeader& header() { return *header_; }
  const RingHeader& header() const { return *header_; }
  u8* at(u64 position) { return data_ + (position & mask_); }
  const u8* at(u64 position) const { return data_ + (position & mask_); }
  u64 bytes() const { return mask_ + 1; }
  const std::string& path() const { return path_; }
  // Things a person should know: fallback to the journal directory, memory not locked.
  const std::vector<std::string>& notes() const { return notes_; }
  bool try_lock();       // takes the owner's lock; false = somebody holds it
  bool owned() const;    // somebody else holds the owner's lock: the engine lives
  bool replaced() const; // the path now names another file (a later run's ring) or none
  void remove();         // unlinks the file and ring.path, once all records are in segments

 private:
  Ring() = default;
  bool map(u64 ring_bytes, bool writable, JournalError& error);
  RingHeader* header_ = nullptr;
  u8* data_ = nullptr;
  u64 mask_ = 0;
  int fd_ = -1;
  u64 inode_ = 0;
  std::string path_;
  std::string directory_;
  std::vector<std::string> notes_;
};

// Where the ring of `journal_dir` is, as written there at creation; empty when no run left one.
std::string ring_path_of(const std::string& journal_dir);
// Default id of a new journal: a hash of the directory's absolute path.
u64 journal_id_for(const std::string& journal_dir);

}  // namespace peregrine::journal
