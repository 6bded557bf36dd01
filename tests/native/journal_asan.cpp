// Random damage and random bytes for the reader, the recovery and the snapshot reader: any answer but a crash is good.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/rng.h"
#include "journal/recover.h"
#include "journal/snapshot.h"

using namespace peregrine;
using namespace peregrine::journal;

namespace {

using Buffer = std::vector<u8>;

Buffer slurp(const std::string& path) {
  Buffer b;
  std::FILE* f = std::fopen(path.c_str(), "rb");
  if (f == nullptr) return b;
  u8 chunk[4096];
  for (std::size_t n; (n = std::fread(chunk, 1, sizeof chunk, f)) > 0;) b.insert(b.end(), chunk, chunk + n);
  std::fclose(f);
  return b;
}

void spill(const std::string& path, const Buffer& b) {
  std::FILE* f = std::fopen(path.c_str(), "wb");
  if (f == nullptr || (!b.empty() && std::fwrite(b.data(), 1, b.size(), f) != b.size())) std::abort();
  std::fclose(f);
}

// Flips, overwrites, cuts, repeats; sometimes gives a record or the header a right CRC again, to get past it.
void damage(Buffer& b, Rng& rng, std::size_t header_bytes) {
  for (u64 times = 1 + rng.below(4); times > 0 && !b.empty(); --times) {
    const std::size_t at = rng.below(b.size());
    switch (rng.below(6)) {
      case 0: b[at] ^= static_cast<u8>(1u << rng.below(8)); break;
      case 1: b[at] = static_cast<u8>(rng.next()); break;
      case 2: b.resize(at); break;
      case 3: {
        const std::size_t n = std::min<std::size_t>(rng.below(64), b.size() - at);
        b.insert(b.end(), b.begin() + static_cast<std::ptrdiff_t>(at), b.begin() + static_cast<std::ptrdiff_t>(at + n));
        break;
      }
      case 4: {
        const std::size_t word = at & ~std::size_t{7};
        if (word + 8 <= b.size()) store_le<u64>(b.data() + word, rng.below(2) ? rng.next() : rng.below(256));
        break;
      }
      default: {
        const std::size_t start = header_bytes + ((at & ~std::size_t{7}) % 2048);
        if (start + sizeof(RecordHeader) > b.size()) break;
        const u32 length = load_le<u32>(b.data() + start);
        if (length < sizeof(RecordHeader) || length > b.size() - start) break;
        store_le(b.data() + start + offsetof(RecordHeader, crc32c), record_crc(b.data() + start, length));
        break;
      }
    }
  }
  if (header_bytes == sizeof(SegmentHeader) && b.size() >= header_bytes && rng.below(2)) {
    store_le(b.data() + 124, crc32c(0, b.data(), 124));
  }
}

bool make_journal(const std::string& dir, JournalError& error) {
  RecoverOptions options;
  options.dir = dir;
  options.ring_name = "r";
  options.ring_dir = dir;
  WriterOptions writing;
  writing.segment_bytes = 1000;
  writing.sync = SyncPolicy::kNever;
  writing.allocate_ahead = false;
  OpenJournal j;
  if (!open_journal(options, {.ring_bytes = 65536}, 0, writing, j, error)) return false;
  u8 payload[200] = {};
  for (u64 i = 0; i < 40; ++i) {
    j.appender->append(i % 5 == 0 ? RecordType::kIntent : RecordType::kFeed, 0, Bytes(payload, i * 5));
    if (i < 30) j.writer->drain_once(0);
  }
  return true;
}

void read_all(const std::string& dir) {
  JournalSummary s;
  JournalError e;
  summarize(dir, {}, s, e);
  if (!e.good() && e.text().empty()) std::abort();
}

}  // namespace

int main() {
  std::string base = std::string(P_tmpdir) + "/prg-fuzz-XXXXXX";
  if (::mkdtemp(base.data()) == nullptr) return 1;
  const std::string dir = base + "/j";
  JournalError error;
  if (!make_journal(dir, error)) {
    std::fprintf(stderr, "journal_asan: %s\n", error.text().c_str());
    return 1;
  }
  const std::string ring = dir + "/r.pgr";
  std::vector<std::pair<std::string, Buffer>> files = {{ring, slurp(ring)}, {dir + "/ring.path", slurp(dir + "/ring.path")}};
  std::vector<u32> numbers;
  list_segments(dir, numbers, error);
  for (u32 n : numbers) files.emplace_back(segment_path(dir, n), slurp(segment_path(dir, n)));
  if (numbers.size() < 3) return 1;
  u64 recovered = 0, refused = 0;
  constexpr u64 kRounds = 400;
  for (u64 seed = 0; seed < kRounds; ++seed) {
    Rng rng(seed);
    const std::size_t victim = seed % 4 == 0 ? 0 : 2 + rng.below(files.size() - 2);
    for (std::size_t i = 0; i < files.size(); ++i) {
      Buffer b = files[i].second;
      if (i == victim) damage(b, rng, i == 0 ? kRingHeaderBytes : sizeof(SegmentHeader));
      spill(files[i].first, b);
    }
    read_all(dir);
    RecoverOptions options;
    options.dir = dir;
    options.ring_name = "r";
    options.ring_dir = dir;
    options.cut_damaged_tail = rng.below(3) == 0;
    RecoverResult result;
    if (recover(options, result, error)) {
      ++recovered;
      JournalSummary s;
      if (!summarize(dir, {}, s, error)) {
        std::fprintf(stderr, "journal_asan: seed %llu: recovered, then refused: %s\n",
                     static_cast<unsigned long long>(seed), error.text().c_str());
        return 1;
      }
    } else {
      ++refused;
    }
    if (std::system(("rm -rf " + dir + "/*").c_str()) != 0) return 1;
  }
  const std::string snapshot = dir + "/snapshot-00000000000000000007.pgs";
  Snapshot s;
  s.after_seq = 7;
  s.payload.assign(100, 3);
  if (!write_snapshot(dir, s, nullptr, error)) return 1;
  const Buffer good = slurp(snapshot);
  for (u64 seed = 0; seed < 500; ++seed) {
    Rng rng(seed);
    Buffer b = good;
    damage(b, rng, 0);
    spill(snapshot, b);
    Snapshot out;
    if (read_snapshot(snapshot, out, error) && b != good) {
      std::fprintf(stderr, "journal_asan: a damaged snapshot was taken\n");
      return 1;
    }
  }
  if (std::system(("rm -rf " + base).c_str()) != 0) return 1;
  std::printf("journal_asan: %llu recovered, %llu refused\n", static_cast<unsigned long long>(recovered),
              static_cast<unsigned long long>(refused));
  return recovered > 0 && refused > 0 ? 0 : 1;
}
