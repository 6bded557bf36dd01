// A disk that fails as told: for tests, the simulator, and `--fault` options.
#pragma once

#include <vector>

#include "core/rng.h"
#include "journal/file_ops.h"

namespace peregrine::journal {

struct DiskFaults {
  i64 space_bytes = -1;      // pwrite and fallocate fail with ENOSPC after so many more bytes written; -1 = never
  i64 pwrites_until_eio = -1;  // so many pwrites succeed, then EIO until cleared; -1 = never
  i64 syncs_until_eio = -1;
  u64 short_write_bytes = 0;   // a pwrite takes at most so many bytes; 0 = no limit
  bool fallocate_unsupported = false;
};

// Passes everything to the system's files, failing as `faults` says, and remembers what was not synced (only when
// asked: it keeps the old bytes). One thread at a time.
class FaultyDisk {
 public:
  explicit FaultyDisk(const DiskFaults& faults = {}, bool remember_unsynced = false);
  ~FaultyDisk();
  const FileOps& ops() const { return ops_; }
  void set(const DiskFaults& faults);  // not while a writer thread runs on it
  const DiskFaults& faults() const { return faults_; }
  // What a power cut does: each 512-byte sector written since its file's last sync keeps its old bytes with
  // probability 1/2 (all of them when keep_none). Deterministic in `seed`. Returns the sectors lost.
  u64 lose_unsynced(u64 seed, bool keep_none);
  u64 unsynced_bytes() const;

 private:
  friend struct FaultyCalls;
  struct Undo {
    int fd;  // own duplicate: valid after the journal closed its descriptor
    u64 device, inode, offset, size_before;
    std::vector<u8> old_bytes;
  };
  DiskFaults faults_;
  bool remember_;
  std::vector<Undo> undo_;
  FileOps ops_{};
};

}  // namespace peregrine::journal
