#include "journal/writer.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include <cstring>
#include <vector>

#include "core/assert.h"
#include "core/clock.h"
#include "journal/files.h"

namespace peregrine::journal {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

void bump(std::atomic<u64>& counter, u64 by = 1) { counter.store(counter.load(kRelaxed) + by, kRelaxed); }

JournalError writer_error(Fault fault, const std::string& file, std::string expected, std::string found,
                          std::string hint) {
  JournalError e;
  e.fault = fault;
  e.file = file;
  e.expected = std::move(expected);
  e.found = std::move(found);
  e.hint = std::move(hint);
  return e;
}

}  // namespace

struct Writer::State {
  State(std::shared_ptr<Ring> r, const WriterOptions& o)
      : ring(std::move(r)), header(ring->header()), options(o), ops(o.ops != nullptr ? *o.ops : posix_file_ops()),
        file(ops) {}

  std::shared_ptr<Ring> ring;
  RingHeader& header;
  WriterOptions options;
  const FileOps& ops;
  SegmentFile file;
  DirectoryLock lock;

  u64 tail = 0, written = 0;  // stream positions, as in the ring's header
  u64 next_seq = 1;
  i64 last_sync_ns = 0;
  bool synced_once = false;
  bool must_rewrite = false;  // a sync failed: what is not synced must be written again
  bool closed = false;
  u32 next_number = 1;         // segment to create when none is open
  u8 previous_sha256[32] = {};

  std::atomic<bool> stop{false}, retry{false};
  std::atomic<u64> records{0}, bytes{0}, pwrites{0}, syncs{0}, segments_closed{0}, failures{0}, retries{0}, backlog{0};

  WriterStatus status() const { return static_cast<WriterStatus>(header.status.load(std::memory_order_acquire)); }
  bool failed() const {
    const WriterStatus now = status();
    return now > WriterStatus::kRunning && now != WriterStatus::kClosed;
  }

  bool fail(WriterStatus s, int code) {
    header.status_code.store(static_cast<u32>(code), kRelaxed);
    header.status.store(static_cast<u32>(s), std::memory_order_release);
    bump(failures);
    header.status_count.store(failures.load(kRelaxed), kRelaxed);
    return false;
  }
  bool fail(int rc) {
    const bool space = rc == -ENOSPC || rc == -EDQUOT;
    return fail(space ? WriterStatus::kNoSpace : WriterStatus::kIoError, -rc);
  }

  void release(u64 position) {
    tail = position;
    header.tail.store(tail, std::memory_order_release);
  }

  bool ensure_segment(std::atomic<u32>& segment_number) {
    if (file.is_open()) return true;
    const SegmentHeader h =
        make_segment_header(next_number, header.generation, next_seq, previous_sha256, header.journal_id);
    const int rc = file.create(options.dir, h, options.allocate_ahead ? options.segment_bytes : 0);
    if (rc != 0) return fail(rc);
    segment_number.store(next_number, std::memory_order_release);
    if (options.allocate_ahead) file.allocate_next(options.segment_bytes);
    return true;
  }

  bool close_segment() {
    const int rc = file.close_with_trailer(header.generation, options.sync != SyncPolicy::kNever, previous_sha256);
    if (rc != 0) {
      if (options.sync == SyncPolicy::kInterval) must_rewrite = true;
      return fail(rc);
    }
    ++next_number;
    bump(segments_closed);
    release(written);
    return true;
  }

  bool sync(i64 now_ns) {
    const int rc = file.sync();
    if (rc != 0) {
      must_rewrite = true;
      return fail(rc);
    }
    bump(syncs);
    last_sync_ns = now_ns;
    synced_once = true;
    release(written);
    return true;
  }

  bool sync_if_due(i64 now_ns) {
    if (options.sync != SyncPolicy::kInterval || written == tail || !file.is_open()) return true;
    const bool due = !synced_once || now_ns - last_sync_ns >= options.sync_interval_ns;
    // A ring that fills because its bytes wait for the next sync would stop trading for nothing.
    const bool pressed = written - tail > ring->bytes() / 2;
    return due || pressed ? sync(now_ns) : true;
  }

  bool rewrite_unsynced(i64 now_ns) {
    const int rc = file.rewrite(ring->at(tail), written - tail);
    if (rc != 0) return fail(rc);
    if (!sync(now_ns)) return false;
    must_rewrite = false;
    return true;
  }

  enum class Batch { kSome, kNothing, kSegmentFull, kCorrupt };
  struct Span {
    u64 end, records, last_seq;
    i64 last_ts_ns;
  };

  // Whole records from `written` on: what fits a batch and the segment. What the appender promised is checked here
  // again: damaged memory must not reach the disk with a good hash over it.
  Batch collect(u64 head, Span& out) {
    out = {written, 0, next_seq - 1, 0};
    while (out.end < head) {
      RecordHeader h;
      std::memcpy(&h, ring->at(out.end), sizeof h);
      if (check_record_shape(h, head - out.end) != Fault::kNone) return Batch::kCorrupt;
      if (h.seq != out.last_seq + 1 || record_crc(ring->at(out.end), h.length) != h.crc32c) return Batch::kCorrupt;
      const u64 so_far = out.end - written;
      if (file.offset() + so_far + h.length + kTrailerRecordBytes > options.segment_bytes &&
          file.records() + out.records > 0) {
        return out.records > 0 ? Batch::kSome : Batch::kSegmentFull;
      }
      if (so_far + h.length > options.batch_bytes && out.records > 0) break;
      out.end += h.length;
      ++out.records;
      out.last_seq = h.seq;
      out.last_ts_ns = h.ts_ns;
    }
    return out.records > 0 ? Batch::kSome : Batch::kNothing;
  }
};

Writer::Writer(Private) {}
Writer::~Writer() { stop(); }

std::unique_ptr<Writer> Writer::open(std::shared_ptr<Ring> ring, const WriterOptions& options, JournalError& error) {
  error = {};
  if (!make_directories(options.dir, error)) return nullptr;
  auto writer = std::make_unique<Writer>(Private{});
  writer->state_ = std::make_unique<State>(std::move(ring), options);
  State& s = *writer->state_;
  if (options.batch_bytes == 0 || options.segment_bytes < sizeof(SegmentHeader) + kTrailerRecordBytes) {
    error = writer_error(Fault::kBadArgument, options.dir, "room for records in a batch and a segment", "sizes too small",
                         "use segments of a megabyte or more");
    return nullptr;
  }
  if (!s.lock.take(options.dir, error)) return nullptr;
  std::vector<u32> numbers;
  if (!list_segments(options.dir, numbers, error)) return nullptr;
  u64 disk_last = s.header.first_seq - 1;
  if (!numbers.empty()) {
    SegmentTail tail;
    if (!scan_segment(options.dir, numbers.back(), tail, error)) {
      if (!is_corruption(error.fault)) return nullptr;
      error.fault = Fault::kNeedsRecovery;
      error.hint = "recover the journal first";
      return nullptr;
    }
    const std::string path = segment_path(options.dir, numbers.back());
    if (tail.header.journal_id != s.header.journal_id) {
      error = writer_error(Fault::kRingMismatch, path, "journal id " + std::to_string(s.header.journal_id),
                           std::to_string(tail.header.journal_id), "create the ring with the id that recover() returns");
      return nullptr;
    }
    if (!tail.clean) {
      error = writer_error(Fault::kNeedsRecovery, path, "a clean end", "bytes after the last record",
                           "recover the journal first");
      return nullptr;
    }
    disk_last = tail.last_seq;
    s.next_number = numbers.back() + 1;
    std::memcpy(s.previous_sha256, tail.sha256, 32);
    if (!tail.closed) {
      const int rc = s.file.resume(options.dir, tail);
      if (rc != 0) {
        error = system_error(-rc, path, "opening the segment");
        return nullptr;
      }
      s.next_number = numbers.back();
      if (options.allocate_ahead) s.file.allocate(options.segment_bytes);
    }
  }
  // Go on where the disk ends: the ring may still hold records that an earlier writer has already put there.
  s.tail = s.written = s.header.tail.load(std::memory_order_acquire);
  const u64 head = s.header.head.load(std::memory_order_acquire);
  u64 ring_next = s.header.next_seq.load(std::memory_order_acquire);
  while (s.written < head) {
    RecordHeader h;
    std::memcpy(&h, s.ring->at(s.written), sizeof h);
    if (check_record_shape(h, head - s.written) != Fault::kNone) break;
    ring_next = h.seq;
    if (h.seq > disk_last) break;
    ring_next = h.seq + 1;
    s.written += h.length;
  }
  s.next_seq = disk_last + 1;
  if (ring_next != s.next_seq) {
    error = writer_error(Fault::kRingMismatch, s.ring->path(), "seq " + std::to_string(s.next_seq) + " next",
                         std::to_string(ring_next), "create the ring with the next_seq that recover() returns");
    return nullptr;
  }
  s.header.written.store(s.written, std::memory_order_release);
  // An earlier writer of this ring may have left bytes unsynced; from here on `tail` is of this segment.
  const int rc = options.sync == SyncPolicy::kInterval && s.file.is_open() ? s.file.sync() : 0;
  if (rc != 0) {
    error = system_error(-rc, segment_path(options.dir, s.next_number), "syncing the segment");
    return nullptr;
  }
  s.release(s.written);
  writer->last_seq_.store(disk_last, std::memory_order_release);
  writer->segment_number_.store(s.file.is_open() ? s.file.number() : s.next_number - 1, std::memory_order_release);
  s.header.status.store(static_cast<u32>(WriterStatus::kRunning), std::memory_order_release);
  if (!s.ensure_segment(writer->segment_number_)) {
    error = writer->last_error();
    return nullptr;
  }
  return writer;
}

u64 Writer::drain_once(i64 now_ns) {
  State& s = *state_;
  if (s.closed) return 0;
  const bool was_failed = s.failed();
  if (was_failed) {
    if (!s.retry.exchange(false, std::memory_order_acq_rel)) return 0;
    bump(s.retries);
  }
  if (s.must_rewrite && !s.rewrite_unsynced(now_ns)) return 0;
  if (!s.ensure_segment(segment_number_)) return 0;
  const u64 head = s.header.head.load(std::memory_order_acquire);
  PRG_ASSERT(s.tail <= s.written && s.written <= head && head - s.tail <= s.ring->bytes());
  if (head - s.tail > s.backlog.load(kRelaxed)) s.backlog.store(head - s.tail, kRelaxed);
  State::Span span;
  State::Batch batch = s.collect(head, span);
  if (batch == State::Batch::kSegmentFull) {
    if (!s.close_segment() || !s.ensure_segment(segment_number_)) return 0;
    batch = s.collect(head, span);
  }
  if (batch == State::Batch::kCorrupt) {
    s.fail(WriterStatus::kCorrupt, 0);
    return 0;
  }
  u64 moved = 0;
  if (batch == State::Batch::kSome) {
    moved = span.end - s.written;
    const int rc = s.file.write(s.ring->at(s.written), moved, span.records, span.last_seq, span.last_ts_ns);
    if (rc != 0) {
      s.fail(rc);
      return 0;
    }
    s.written = span.end;
    s.next_seq = span.last_seq + 1;
    s.header.written.store(s.written, std::memory_order_release);
    bump(s.pwrites);
    bump(s.records, span.records);
    bump(s.bytes, moved);
    last_seq_.store(span.last_seq, std::memory_order_release);
    if (s.options.sync != SyncPolicy::kInterval) s.release(s.written);
  }
  if (!s.sync_if_due(now_ns)) return moved;
  if (was_failed) s.header.status.store(static_cast<u32>(WriterStatus::kRunning), std::memory_order_release);
  return moved;
}

void Writer::start() {
  if (thread_.joinable()) return;
  state_->stop.store(false, kRelaxed);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "prg-journal");
    const timespec idle = {state_->options.idle_ns / 1'000'000'000, state_->options.idle_ns % 1'000'000'000};
    while (!state_->stop.load(std::memory_order_acquire)) {
      if (drain_once(monotonic_ns()) == 0) ::nanosleep(&idle, nullptr);
    }
  });
}

void Writer::stop() {
  if (!thread_.joinable()) return;
  state_->stop.store(true, std::memory_order_release);
  thread_.join();
}

bool Writer::close(JournalError& error) {
  stop();
  error = {};
  State& s = *state_;
  if (s.closed) return true;
  for (;;) {
    drain_once(s.last_sync_ns);
    if (s.failed()) {
      error = last_error();
      return false;
    }
    if (s.written == s.header.head.load(std::memory_order_acquire)) break;
  }
  // The hot thread must have stopped appending: a record put after this check stays in the ring for recovery.
  if (!s.close_segment()) {
    error = last_error();
    return false;
  }
  s.closed = true;
  s.header.status.store(static_cast<u32>(WriterStatus::kClosed), std::memory_order_release);
  const bool empty = s.header.head.load(std::memory_order_acquire) == s.tail;
  if (s.options.remove_ring_on_close && empty) s.ring->remove();
  s.lock.release();
  return true;
}

WriterStatus Writer::status() const { return state_->status(); }

JournalError Writer::last_error() const {
  const State& s = *state_;
  const WriterStatus status = s.status();
  if (status <= WriterStatus::kRunning || status == WriterStatus::kClosed) return {};
  const std::string path = segment_path(s.options.dir, segment_number_.load(std::memory_order_acquire));
  if (status == WriterStatus::kCorrupt) {
    return writer_error(Fault::kBadCrc, s.ring->path(), "records as they were appended", "a damaged record in memory",
                        "stop the engine; the memory of this machine cannot be trusted");
  }
  const int code = static_cast<int>(s.header.status_code.load(kRelaxed));
  return system_error(code, path, "writing the journal",
                      status == WriterStatus::kNoSpace ? "free space on that disk, then resume the journal"
                                                       : "check that disk, then resume the journal");
}

bool Writer::retry() {
  if (!state_->failed() || status() == WriterStatus::kCorrupt) return false;
  state_->retry.store(true, std::memory_order_release);
  return true;
}

WriterCounters Writer::counters() const {
  const State& s = *state_;
  return {s.records.load(kRelaxed), s.bytes.load(kRelaxed),    s.pwrites.load(kRelaxed), s.syncs.load(kRelaxed),
          s.segments_closed.load(kRelaxed), s.failures.load(kRelaxed), s.retries.load(kRelaxed), s.backlog.load(kRelaxed)};
}

}  // namespace peregrine::journal
