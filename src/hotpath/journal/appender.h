// The hot thread's end of the journal: one record into shared memory, no system call, no wait.
#pragma once

#include <memory>

#include "journal/ring.h"
#include "journal/segment.h"

namespace peregrine::journal {

// One thread appends. Records become visible (to the writer, to followers, to a recovery after kill -9) in the order
// of append(), each whole.
class Appender {
 public:
  // The last `reserve_bytes` of the ring are kept for append_reserved(): cancels and what must be consumed meanwhile.
  explicit Appender(std::shared_ptr<Ring> ring, u64 reserve_bytes = 0);
  // Creates the ring and an appender on it. options.next_seq and .generation come from recover().
  static std::unique_ptr<Appender> create(const RingOptions& options, u64 reserve_bytes, JournalError& error);

  // Writes one record whose payload is a, b and c one after the other. Returns its sequence number, or 0: nothing
  // written, because the ring is full (into its reserve), the writer failed or is closed, or the record is larger
  // than the ring. The written rule then: no new orders, cancel (append_reserved), say so.
  u64 append(RecordType type, i64 ts_ns, Bytes a, Bytes b = {}, Bytes c = {}) {
    if (__builtin_expect(header_->status.load(std::memory_order_relaxed) > kRunningWord, 0)) return 0;
    return put(type, ts_ns, a, b, c, reserve_);
  }
  // The same into the reserve too, and also while the writer is failed: the records are still in shared memory and
  // reach the disk by retry() or recovery.
  u64 append_reserved(RecordType type, i64 ts_ns, Bytes a, Bytes b = {}, Bytes c = {}) {
    return put(type, ts_ns, a, b, c, 0);
  }

  u64 free_bytes() const;  // for append(): reserve not counted
  u64 next_seq() const { return next_seq_; }
  u32 generation() const { return generation_; }
  WriterStatus writer_status() const;
  bool healthy() const { return header_->status.load(std::memory_order_relaxed) <= kRunningWord; }
  const std::shared_ptr<Ring>& ring() const { return ring_; }

 private:
  static constexpr u32 kRunningWord = static_cast<u32>(WriterStatus::kRunning);
  u64 put(RecordType type, i64 ts_ns, Bytes a, Bytes b, Bytes c, u64 reserve);

  RingHeader* header_;
  u8* data_;
  u64 mask_;
  u64 head_;         // own copy: only this thread moves it
  u64 cached_tail_;  // last tail seen; reloaded only when the ring looks full
  u64 next_seq_;
  u64 reserve_;
  u32 generation_;
  std::shared_ptr<Ring> ring_;
};

}  // namespace peregrine::journal
