// One thread appends, the writer's thread drains through a small ring into small segments with syncs, a third reads
// the segments as they grow; then everything is read again and checked. Faults come and go on the way.
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "core/rng.h"
#include "journal/recover.h"

using namespace peregrine;
using namespace peregrine::journal;

namespace {

constexpr u64 kRecords = 60'000;

int complain(const char* what, const std::string& detail) {
  std::fprintf(stderr, "journal_both: %s: %s\n", what, detail.c_str());
  return 1;
}

std::size_t make_payload(u64 seq, u8* out) {
  u64 state = seq;
  const std::size_t n = splitmix64(state) % 300;
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<u8>(seq + i);
  return n;
}

bool right(const RecordView& r, u64 seq) {
  u8 expected[300];
  const std::size_t n = make_payload(seq, expected);
  return r.header.seq == seq && r.payload.size() == n && (n == 0 || std::memcmp(r.payload.data(), expected, n) == 0);
}

int run(const std::string& dir, u64 salt) {
  RecoverOptions options;
  options.dir = dir + "/journal";
  options.ring_name = "stress";
  options.ring_dir = dir;
  RingOptions ring;
  ring.ring_bytes = 65536;
  WriterOptions writing;
  writing.segment_bytes = 1u << 20;
  writing.batch_bytes = 8192;
  writing.sync = salt % 2 == 0 ? SyncPolicy::kInterval : SyncPolicy::kNever;
  writing.sync_interval_ns = 2'000'000;
  writing.idle_ns = 1000;
  OpenJournal j;
  JournalError error;
  if (!open_journal(options, ring, 0, writing, j, error)) return complain("open", error.text());
  j.writer->start();

  std::atomic<u64> seen{0};
  std::atomic<bool> reader_failed{false};
  std::thread reader([&] {
    ReaderOptions ro;
    ro.ring = false;  // the ring is read under a sequence check that the thread sanitizer cannot follow
    JournalError e;
    auto r = Reader::open(options.dir, ro, e);
    RecordView view;
    while (r != nullptr && seen.load() < kRecords) {
      const ReadResult result = r->next(view);
      if (result == ReadResult::kCorrupt || (result == ReadResult::kRecord && !right(view, seen.load() + 1))) {
        complain("live reader", r->error().text());
        reader_failed.store(true);
        return;
      }
      if (result == ReadResult::kRecord) seen.fetch_add(1);
      else std::this_thread::yield();
    }
  });
  u8 payload[300];
  for (u64 seq = 1; seq <= kRecords && !reader_failed.load(); ++seq) {
    const std::size_t n = make_payload(seq, payload);
    while (j.appender->append(RecordType::kFeed, 0, Bytes(payload, n / 2), Bytes(payload + n / 2, n - n / 2)) == 0) {
      if (!j.appender->healthy()) return complain("writer", j.writer->last_error().text());
      std::this_thread::yield();
    }
  }
  reader.join();
  if (reader_failed.load()) return 1;
  if (!j.writer->close(error)) return complain("close", error.text());
  auto r = Reader::open(options.dir, {}, error);
  if (r == nullptr) return complain("reopen", error.text());
  RecordView view;
  for (u64 seq = 1; seq <= kRecords; ++seq) {
    if (r->next(view) != ReadResult::kRecord || !right(view, seq)) return complain("read back", r->error().text());
  }
  return r->next(view) == ReadResult::kEnd ? 0 : complain("read back", "more records than were written");
}

}  // namespace

int main() {
  for (u64 salt = 0; salt < 2; ++salt) {
    std::string dir = std::string(P_tmpdir) + "/prg-journal-XXXXXX";
    if (::mkdtemp(dir.data()) == nullptr) return complain("mkdtemp", dir);
    const int rc = run(dir, salt);
    const int removed = std::system(("rm -rf " + dir).c_str());
    if (rc != 0 || removed != 0) return 1;
  }
  std::printf("journal_both: %llu records twice\n", static_cast<unsigned long long>(kRecords));
  return 0;
}
