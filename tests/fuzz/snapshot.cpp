// Snapshot files of any bytes: what is read is written again to the same bytes; what is refused says where. The first
// byte says which header fields to make right, so that each check is reached.
#include "core/crc32c.h"
#include "journal/snapshot.h"
#include "journal/version.h"
#include "scratch.h"

using namespace peregrine;
using namespace peregrine::journal;

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  fuzz::Input in(data, size);
  const u8 fix = in.byte();
  const Bytes rest = in.rest();
  std::vector<u8> file(rest.begin(), rest.end());
  if (fix != 0 && file.size() >= sizeof(SnapshotHeader)) {
    if (fix & 1) std::memcpy(file.data(), kSnapshotMagic, 8);
    if (fix & 2) store_le(&file[offsetof(SnapshotHeader, version)], kSnapshotVersion);
    if (fix & 4) store_le(&file[offsetof(SnapshotHeader, semantics_version)], kSemanticsVersion);
    if (fix & 8) store_le<u64>(&file[offsetof(SnapshotHeader, payload_bytes)], file.size() - sizeof(SnapshotHeader));
    if (fix & 16) {
      store_le<u32>(&file[offsetof(SnapshotHeader, crc32c)], 0);
      store_le(&file[offsetof(SnapshotHeader, crc32c)], crc32c(0, file.data(), file.size()));
    }
  }
  const std::string& dir = fuzz::scratch();
  fuzz::empty_folder(dir);
  const u64 named = file.size() >= 24 ? load_le<u64>(&file[16]) : 7;
  char name[48];
  std::snprintf(name, sizeof name, "/snapshot-%020llu.pgs", static_cast<unsigned long long>(named));
  const std::string path = dir + name;
  fuzz::spill(path, file);
  Snapshot out;
  JournalError error;
  const bool good = read_snapshot(path, out, error);
  FUZZ_CHECK(good == error.good());
  std::vector<SkippedSnapshot> skipped;
  Snapshot newest;
  const bool taken = newest_snapshot(dir, out.journal_id, UINT64_MAX, newest, skipped);
  FUZZ_CHECK(taken == good && skipped.size() == (good ? 0u : 1u));
  if (!good) {
    FUZZ_CHECK(!error.text().empty() && !error.expected.empty() && !error.found.empty() && error.file == path);
    return 0;
  }
  FUZZ_CHECK(newest.payload == out.payload && newest.after_seq == out.after_seq);
  FUZZ_CHECK(out.payload.size() == file.size() - sizeof(SnapshotHeader));
  if (load_le<u64>(&file[56]) != 0) return 0;  // reserved: read whatever it holds, written as zero
  FUZZ_CHECK(write_snapshot(dir, out, nullptr, error));
  FUZZ_CHECK(fuzz::slurp(path) == file);
  return 0;
}
