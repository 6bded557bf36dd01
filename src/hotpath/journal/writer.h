// From the ring to disk: a thread of its own, or step by step under virtual time.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "journal/file_ops.h"
#include "journal/ring.h"
#include "journal/segment_file.h"

namespace peregrine::journal {

// kNever    the page cache decides: survives kill -9, not a power cut
// kOnClose  each segment when it is full, and the last at close
// kInterval also every sync_interval_ns; the ring keeps its bytes until they are synced, so that a failed sync can be
//           written again (after one the page cache may have dropped what it could not write)
enum class SyncPolicy : u8 { kNever = 0, kOnClose = 1, kInterval = 2 };

struct WriterOptions {
  std::string dir;
  u64 segment_bytes = 256u << 20;  // a segment is closed when the next record would pass this
  u64 batch_bytes = 1u << 20;      // most bytes handed to one pwrite
  SyncPolicy sync = SyncPolicy::kInterval;
  i64 sync_interval_ns = 50'000'000;
  i64 idle_ns = 200'000;           // the thread sleeps so long when the ring is empty
  bool allocate_ahead = true;
  bool remove_ring_on_close = true;
  const FileOps* ops = nullptr;    // nullptr = the system's
};

struct WriterCounters {
  u64 records, bytes, pwrites, syncs, segments_closed, failures, retries, max_backlog_bytes;
};

class Writer {
  struct Private {};

 public:
  explicit Writer(Private);  // use open()
  // Continues the directory's open segment or starts the next one. The directory must be clean (recover() done):
  // kNeedsRecovery otherwise. Creates the directory when absent.
  static std::unique_ptr<Writer> open(std::shared_ptr<Ring> ring, const WriterOptions& options, JournalError& error);
  ~Writer();  // stops the thread; does not drain: that is close()

  // Moves up to one batch from the ring to the open segment and syncs when due at `now_ns` (any clock that never goes
  // back). Returns bytes moved; 0 = nothing to do or failed, see status(). Not while the thread runs.
  u64 drain_once(i64 now_ns);
  void start();  // own thread, named "journal"
  void stop();   // joins it; what is still in the ring stays there
  // Stops the thread, drains all, syncs (unless kNever), closes the segment with its trailer. append() refuses from
  // then on. False with the reason when the disk refuses; the records are still in the ring.
  bool close(JournalError& error);

  WriterStatus status() const;
  JournalError last_error() const;
  // After a failure nothing is tried again until this is called. Returns false when there was no failure.
  bool retry();
  WriterCounters counters() const;
  u64 last_seq_on_disk() const { return last_seq_.load(std::memory_order_acquire); }
  u32 segment_number() const { return segment_number_.load(std::memory_order_acquire); }
  std::thread::native_handle_type native_handle() { return thread_.native_handle(); }

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::thread thread_;
  std::atomic<u64> last_seq_{0};
  std::atomic<u32> segment_number_{0};
};

}  // namespace peregrine::journal
