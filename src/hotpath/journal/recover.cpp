#include "journal/recover.h"

#include <memory>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "core/assert.h"
#include "core/bytes.h"
#include "journal/files.h"
#include "journal/segment_cursor.h"
#include "journal/segment_file.h"

namespace peregrine::journal {
namespace {

// What one pass over everything that is left tells.
struct Survey {
  RecoveredBuilder builder;
  JournalEnd end;
  u64 header_seq = 0;
  Sha256Digest header_hash{};
  std::vector<u8> ring_bytes;  // records only the ring holds, one after the other
  u64 ring_records = 0, ring_last_seq = 0;
  i64 ring_last_ts_ns = 0;
  i64 last_ts_ns = 0;
};

bool survey(const RecoverOptions& o, const std::string& ring_path, Survey& out, JournalError& error) {
  out = {};
  ReaderOptions options;
  options.ring = !ring_path.empty();
  options.ring_path = ring_path;
  options.assume_dead = true;
  std::vector<u32> numbers;
  if (!list_segments(o.dir, numbers, error)) return false;
  if (numbers.empty() && ring_path.empty()) return true;
  std::unique_ptr<Reader> reader = Reader::open(o.dir, options, error);
  if (reader == nullptr) return false;
  RecordView view;
  ReadResult result;
  while ((result = reader->next(view)) == ReadResult::kRecord) {
    out.builder.on_record(view.header, view.payload);
    if (view.header.ts_ns > out.last_ts_ns) out.last_ts_ns = view.header.ts_ns;
    if (view.header.type == static_cast<u16>(RecordType::kHeader)) {
      out.header_seq = view.header.seq;
      out.header_hash = Sha256::of(view.payload.data(), view.payload.size());
    }
    if (view.segment != 0) continue;
    out.ring_bytes.insert(out.ring_bytes.end(), view.raw.begin(), view.raw.end());
    ++out.ring_records;
    out.ring_last_seq = view.header.seq;
    out.ring_last_ts_ns = view.header.ts_ns;
  }
  out.end = reader->end();
  if (result == ReadResult::kCorrupt) {
    error = reader->error();
    return false;
  }
  return true;
}

u64 id_on_disk(const std::string& dir) {
  std::vector<u32> numbers;
  JournalError ignored;
  SegmentCursor cursor(false);
  if (!list_segments(dir, numbers, ignored) || numbers.empty()) return 0;
  return cursor.open(dir, numbers.front()) == SegmentCursor::Open::kGood ? cursor.segment().journal_id : 0;
}

// The ring the last run left, if there is one: ring.path first, then where this run's options point.
std::shared_ptr<Ring> find_ring(const RecoverOptions& o, std::vector<std::string>& notes, JournalError& error) {
  const std::string dir = absolute_path(o.dir);
  for (const std::string& path :
       {ring_path_of(o.dir), o.ring_dir + "/" + o.ring_name + ".pgr", dir + "/" + o.ring_name + ".pgr"}) {
    if (path.empty() || ::access(path.c_str(), F_OK) != 0) continue;
    std::shared_ptr<Ring> ring = Ring::open(path, true, error);
    if (ring == nullptr) return nullptr;
    // By its directory, or, when that was moved, by the id in its segments.
    if (dir != ring->header().directory && ring->header().journal_id != id_on_disk(o.dir)) {
      notes.push_back(path + " belongs to the journal in " + ring->header().directory + ": left alone");
      continue;
    }
    if (!ring->try_lock()) {
      error = {};
      error.fault = Fault::kInUse;
      error.file = path;
      error.expected = "a ring nobody uses";
      error.found = "process " + std::to_string(ring->header().pid) + " appends to it";
      error.hint = "stop that engine first, or give this one another journal directory";
      return nullptr;
    }
    return ring;
  }
  return nullptr;
}

bool save_cut_bytes(const std::string& segment, u64 offset, u64 bytes, std::string& saved, JournalError& error) {
  saved = segment + ".cut-" + std::to_string(offset);
  const int in = ::open(segment.c_str(), O_RDONLY | O_CLOEXEC);
  const int out = ::open(saved.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool good = in >= 0 && out >= 0;
  std::vector<u8> chunk(1u << 20);
  for (u64 at = 0; good && at < bytes;) {
    const u64 want = bytes - at < chunk.size() ? bytes - at : chunk.size();
    const ssize_t n = ::pread(in, chunk.data(), want, static_cast<off_t>(offset + at));
    good = n > 0 && ::write(out, chunk.data(), static_cast<std::size_t>(n)) == n;
    at += good ? static_cast<u64>(n) : 0;
  }
  if (good) good = ::fsync(out) == 0;
  if (!good) error = system_error(errno, saved, "saving the bytes that are cut");
  if (in >= 0) ::close(in);
  if (out >= 0) ::close(out);
  return good;
}

// The operator's cut: damage in the last open segment with valid records behind it.
bool cut_damage(const RecoverOptions& o, const FileOps& ops, RecoverResult& r, JournalError& error) {
  std::vector<u32> numbers;
  JournalError ignored;
  if (!list_segments(o.dir, numbers, ignored) || numbers.empty()) return false;
  const std::string path = segment_path(o.dir, numbers.back());
  SegmentTail tail;
  if (error.file != path || !scan_segment(o.dir, numbers.back(), tail, ignored) || tail.closed || tail.clean) return false;
  SegmentCursor cursor(false);
  if (cursor.open(o.dir, numbers.back()) != SegmentCursor::Open::kGood) return false;
  const u64 nonzero = cursor.nonzero_bytes_after(tail.end_offset);
  const u64 rest = cursor.file_bytes() - tail.end_offset;
  const u64 bytes = ((nonzero + 7) & ~u64{7}) < rest ? ((nonzero + 7) & ~u64{7}) : rest;  // whole words: zeros end records
  if (!save_cut_bytes(path, tail.end_offset, bytes, r.cut_file, error)) return false;
  SegmentFile file(ops);
  int rc = file.resume(o.dir, tail);
  if (rc == 0) rc = file.cut();
  if (rc == 0) rc = file.sync();
  if (rc != 0) {
    error = system_error(-rc, path, "cutting the damaged end");
    return false;
  }
  r.cut_bytes = bytes;
  r.cut_offset = tail.end_offset;
  r.notes.push_back("cut " + std::to_string(bytes) + " bytes at offset " + std::to_string(tail.end_offset) + " of " +
                    segment_name(numbers.back()) + " as told; they are kept in " + base_name(r.cut_file));
  error = {};
  return true;
}

// Segments being written during recovery: the last run's, then this run's first.
class Writing {
 public:
  Writing(const RecoverOptions& o, const FileOps& ops) : options_(o), ops_(ops), file_(ops) {}

  bool finish_last_run(const Survey& s, u64 journal_id, RecoverResult& r, JournalError& error) {
    number_ = s.end.last_segment;
    int rc = 0;
    std::string doing = "opening the segment";
    if (number_ != 0) {
      SegmentTail tail;
      if (!scan_segment(options_.dir, number_, tail, error)) return false;
      PRG_ASSERT(tail.closed || tail.end_offset == s.end.disk_end_offset);
      std::memcpy(previous_, tail.sha256, 32);
      if (tail.closed) {
        // Who closed it may have died before the sync; a later segment may stand only on one that is on the disk.
        doing = "syncing the last run's segment";
        rc = sync_closed(number_);
      } else {
        rc = file_.resume(options_.dir, tail);
        if (rc == 0 && !tail.clean) {
          r.cut_bytes += s.end.torn_bytes;
          r.cut_offset = tail.end_offset;
          r.cut_file = file_.path();
          doing = "cutting the torn end";
          rc = file_.cut();
        }
      }
    }
    if (rc == 0 && !s.ring_bytes.empty()) {
      if (!file_.is_open()) rc = open_next(s.end.generation, s.end.disk_last_seq + 1, journal_id);
      doing = "moving the ring's records to disk";
      if (rc == 0) rc = file_.write(s.ring_bytes.data(), s.ring_bytes.size(), s.ring_records, s.ring_last_seq, s.ring_last_ts_ns);
      if (rc == 0) r.merged_records = s.ring_records;
    }
    if (rc == 0 && file_.is_open()) {
      doing = "closing the last run's segment";
      rc = file_.close_with_trailer(s.end.generation, true, previous_);
    }
    if (rc != 0) error = system_error(-rc, segment_path(options_.dir, number_), doing, "free space, then start again: nothing is lost");
    return rc == 0;
  }

  bool append(RecordType type, u64 seq, i64 ts_ns, u32 generation, u64 journal_id, Bytes payload, JournalError& error) {
    if (record_bytes(payload.size()) > kMaxRecordBytes) {
      error = {};
      error.fault = Fault::kBadArgument;
      error.file = options_.dir;
      error.expected = "a record of at most " + std::to_string(kMaxRecordBytes) + " bytes";
      error.found = std::to_string(payload.size()) + " bytes of payload";
      return false;
    }
    std::vector<u8> bytes(record_bytes(payload.size()));
    write_record(bytes.data(), type, seq, ts_ns, generation, payload);
    int rc = file_.is_open() ? 0 : open_next(generation, seq, journal_id);
    if (rc == 0) rc = file_.write(bytes.data(), bytes.size(), 1, seq, ts_ns);
    if (rc != 0) error = system_error(-rc, file_.path(), "writing the first records of this run");
    return rc == 0;
  }

  int sync_closed(u32 number) {
    const std::string path = segment_path(options_.dir, number);
    const int fd = ops_.open(ops_.context, path.c_str(), O_RDWR, 0);
    if (fd < 0) return fd;
    const int rc = ops_.fdatasync(ops_.context, fd);
    ops_.close(ops_.context, fd);
    return rc;
  }

  bool sync(JournalError& error) {
    const int rc = file_.is_open() ? file_.sync() : 0;
    if (rc != 0) error = system_error(-rc, file_.path(), "syncing the segment");
    return rc == 0;
  }

 private:
  int open_next(u32 generation, u64 first_seq, u64 journal_id) {
    const SegmentHeader h = make_segment_header(number_ + 1, generation, first_seq, previous_, journal_id);
    const int rc = file_.create(options_.dir, h, 0);
    if (rc == 0) ++number_;
    return rc;
  }

  const RecoverOptions& options_;
  const FileOps& ops_;
  SegmentFile file_;
  u32 number_ = 0;
  u8 previous_[32] = {};
};

}  // namespace

void RecoveredBuilder::on_record(const RecordHeader& header, Bytes payload) {
  switch (static_cast<RecordType>(header.type)) {
    case RecordType::kIntent: {
      r_.last_intent_seq = header.seq;
      if (payload.size() < sizeof(IntentHead)) {
        ++malformed_;
        return;
      }
      const u32 urn = load_le<u32>(payload.data() + offsetof(IntentHead, user_ref_num));
      if (urn > r_.last_user_ref_num) r_.last_user_ref_num = urn;
      return;
    }
    case RecordType::kRecovered: {
      // An earlier recovery may have passed numbers over: they stay passed over.
      if (payload.size() < sizeof(Recovered)) break;
      const u32 urn = load_le<u32>(payload.data() + offsetof(Recovered, last_user_ref_num));
      if (urn > r_.last_user_ref_num) r_.last_user_ref_num = urn;
      return;
    }
    case RecordType::kSession: {
      // SoupBinTCP: 'A' login accepted = session[10], number of the next sequenced message[20]; 'S' = one of those.
      if (payload.empty()) {
        ++malformed_;
        return;
      }
      if (payload[0] == 'S') ++r_.venue_seq;
      if (payload[0] != 'A') return;
      u64 next = 0;
      bool good = payload.size() >= 31;
      for (std::size_t i = 11; good && i < 31; ++i) {
        const u8 c = payload[i];
        if (c == ' ') continue;
        good = c >= '0' && c <= '9' && next <= (~u64{0} - 9) / 10;
        if (good) next = next * 10 + (c - '0');
      }
      if (good && next > 0) r_.venue_seq = next - 1;
      else ++malformed_;
      return;
    }
    default:
      return;
  }
}

Recovered RecoveredBuilder::build(u32 epoch) const {
  Recovered r = r_;
  r.epoch = epoch;
  return r;
}

bool recover(const RecoverOptions& o, RecoverResult& r, JournalError& error) {
  // Made anew in place: gcc 12's UBSan takes the move assignment of its empty strings for a null reference.
  std::destroy_at(&r);
  std::construct_at(&r);
  error = {};
  const FileOps& ops = o.ops != nullptr ? *o.ops : posix_file_ops();
  if (!make_directories(o.dir, error)) return false;
  DirectoryLock lock;
  if (!lock.take(o.dir, error)) return false;
  std::shared_ptr<Ring> ring = find_ring(o, r.notes, error);
  if (!error.good()) return false;
  const std::string ring_path = ring != nullptr ? ring->path() : "";

  Survey s;
  if (!survey(o, ring_path, s, error)) {
    if (error.fault == Fault::kRingMismatch && error.hint.empty()) {
      error.hint = "segments are missing from " + o.dir + ": put them back, or, if they were deleted on purpose, delete " +
                   ring_path + " too";
    }
    if (!o.cut_damaged_tail || !is_corruption(error.fault)) return false;
    r.records_lost = true;
    // After the cut the old ring's numbering may lie beyond the hole: it can no longer follow.
    if (!cut_damage(o, ops, r, error)) return false;
    if (!survey(o, ring_path, s, error)) {
      if (ring == nullptr || error.fault != Fault::kRingMismatch || !survey(o, "", s, error)) return false;
      r.notes.push_back("the ring's records follow the cut ones and cannot be kept");
    }
  }
  r.malformed = s.builder.malformed();
  r.last_seq_before = s.end.last_seq;
  r.journal_id = s.end.journal_id != 0 ? s.end.journal_id : journal_id_for(o.dir);
  r.last_ts_ns = s.last_ts_ns;
  r.fresh = s.end.last_seq == 0;
  r.generation = r.fresh ? (s.end.generation > 1 ? s.end.generation : 1) : s.end.generation + 1;
  r.next_seq = s.end.last_seq + 1;
  r.header_seq = s.header_seq;

  const i64 now_ns = o.now_ns > s.last_ts_ns ? o.now_ns : s.last_ts_ns;

  Writing writing(o, ops);
  // A fresh journal may have an empty segment from a run that died before its first record: it is closed and kept.
  if (!writing.finish_last_run(s, r.journal_id, r, error)) return false;
  if (!r.fresh) {
    r.recovered = s.builder.build(r.generation);
    // Whoever empties a ring takes the pointer to it away: a pointer to nothing is a ring that was lost.
    r.records_lost = r.records_lost || (ring == nullptr && !ring_path_of(o.dir).empty());
    if (r.records_lost) {
      u32& number = r.recovered.last_user_ref_num;
      number = number < ~0u - kNumbersPassedOver ? number + kNumbersPassedOver : ~0u;
      r.notes.push_back("records that were only in memory are gone: order numbers up to " + std::to_string(number) +
                        " are passed over");
    }
    r.recovered_seq = r.next_seq++;
    if (!writing.append(RecordType::kRecovered, r.recovered_seq, now_ns, r.generation, r.journal_id,
                        Bytes(reinterpret_cast<const u8*>(&r.recovered), sizeof r.recovered), error)) {
      return false;
    }
  }
  const bool new_header =
      !o.header.empty() && (s.header_seq == 0 || !(Sha256::of(o.header.data(), o.header.size()) == s.header_hash));
  if (new_header) {
    r.header_seq = r.next_seq++;
    if (!writing.append(RecordType::kHeader, r.header_seq, now_ns, r.generation, r.journal_id, o.header, error)) {
      return false;
    }
  }
  if (!writing.sync(error)) return false;
  if (ring != nullptr) {
    ring->remove();
  } else {
    ::unlink((o.dir + "/ring.path").c_str());  // RECOVERED has said what there was to say of it
  }
  return true;
}

bool open_journal(const RecoverOptions& options, RingOptions ring, u64 reserve_bytes, WriterOptions writer,
                  OpenJournal& out, JournalError& error) {
  if (!recover(options, out.recovered, error)) return false;
  ring.name = options.ring_name;
  ring.ring_dir = options.ring_dir;
  ring.journal_dir = writer.dir = options.dir;
  ring.generation = out.recovered.generation;
  ring.next_seq = out.recovered.next_seq;
  ring.journal_id = out.recovered.journal_id;
  if (writer.ops == nullptr) writer.ops = options.ops;
  out.appender = Appender::create(ring, reserve_bytes, error);
  if (out.appender == nullptr) return false;
  out.writer = Writer::open(out.appender->ring(), writer, error);
  return out.writer != nullptr;
}

}  // namespace peregrine::journal
