#include "journal/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "core/crc32c.h"
#include "journal/files.h"
#include "journal/version.h"

namespace peregrine::journal {
namespace {

constexpr u64 kMaxSnapshotBytes = u64{1} << 36;

std::string snapshot_name(u64 after_seq) {
  char name[48];
  std::snprintf(name, sizeof name, "snapshot-%020llu.pgs", static_cast<unsigned long long>(after_seq));
  return name;
}

u32 snapshot_crc(SnapshotHeader h, Bytes payload) {
  h.crc32c = 0;
  return crc32c(crc32c(0, &h, sizeof h), payload.data(), payload.size());
}

// Names of snapshot files, newest first.
std::vector<std::string> snapshot_files(const std::string& dir) {
  std::vector<std::string> names;
  DIR* d = ::opendir(dir.c_str());
  if (d == nullptr) return names;
  while (const dirent* entry = ::readdir(d)) {
    const std::string name = entry->d_name;
    if (name.size() == 33 && name.starts_with("snapshot-") && name.ends_with(".pgs")) names.push_back(name);
  }
  ::closedir(d);
  std::sort(names.rbegin(), names.rend());
  return names;
}

int write_whole(const FileOps& ops, int fd, Bytes bytes, u64 offset) {
  while (!bytes.empty()) {
    const ssize_t n = ops.pwrite(ops.context, fd, bytes.data(), bytes.size(), offset);
    if (n == -EINTR) continue;
    if (n <= 0) return n < 0 ? static_cast<int>(n) : -EIO;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<u64>(n);
  }
  return 0;
}

}  // namespace

bool write_snapshot(const std::string& dir, const Snapshot& s, const FileOps* given, JournalError& error) {
  error = {};
  const FileOps& ops = given != nullptr ? *given : posix_file_ops();
  SnapshotHeader h{};
  std::memcpy(h.magic, kSnapshotMagic, sizeof h.magic);
  h.version = kSnapshotVersion;
  h.semantics_version = kSemanticsVersion;
  h.after_seq = s.after_seq;
  h.state_hash = s.state_hash;
  h.payload_bytes = s.payload.size();
  h.generation = s.generation;
  h.journal_id = s.journal_id;
  h.crc32c = snapshot_crc(h, s.payload);
  const std::string path = dir + "/" + snapshot_name(s.after_seq), temp = path + ".tmp";
  const int fd = ops.open(ops.context, temp.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  int rc = fd < 0 ? fd : 0;
  if (rc == 0) rc = write_whole(ops, fd, Bytes(reinterpret_cast<const u8*>(&h), sizeof h), 0);
  if (rc == 0) rc = write_whole(ops, fd, s.payload, sizeof h);
  if (rc == 0) rc = ops.fdatasync(ops.context, fd);
  if (fd >= 0) ops.close(ops.context, fd);
  if (rc == 0) rc = ops.rename(ops.context, temp.c_str(), path.c_str());
  if (rc == 0) rc = ops.sync_directory(ops.context, dir.c_str());
  if (rc == 0) return true;
  ::unlink(temp.c_str());
  error = system_error(-rc, path, "writing the snapshot");
  return false;
}

bool read_snapshot(const std::string& file, Snapshot& out, JournalError& error) {
  out = {};
  error = {};
  std::vector<u8> bytes;
  int code = 0;
  if (!read_small_file(file, kMaxSnapshotBytes, bytes, code)) {
    error = system_error(code, file, "reading the snapshot");
    return false;
  }
  const auto bad = [&](u64 offset, std::string expected, std::string found) {
    error.fault = Fault::kBadSnapshot;
    error.file = file;
    error.offset = offset;
    error.expected = std::move(expected);
    error.found = std::move(found);
    return false;
  };
  SnapshotHeader h;
  if (bytes.size() < sizeof h) return bad(0, "a header of 64 bytes", std::to_string(bytes.size()) + " bytes");
  std::memcpy(&h, bytes.data(), sizeof h);
  if (std::memcmp(h.magic, kSnapshotMagic, sizeof h.magic) != 0) return bad(0, "magic PGRSNAP1", "other bytes");
  if (h.version != kSnapshotVersion) {
    return bad(8, "snapshot version " + std::to_string(kSnapshotVersion), std::to_string(h.version));
  }
  if (h.semantics_version != kSemanticsVersion) {
    return bad(12, "semantics version " + std::to_string(kSemanticsVersion), std::to_string(h.semantics_version));
  }
  if (h.payload_bytes != bytes.size() - sizeof h) {
    return bad(32, std::to_string(bytes.size() - sizeof h) + " payload bytes, as the file has", std::to_string(h.payload_bytes));
  }
  const Bytes payload = Bytes(bytes).subspan(sizeof h);
  const u32 crc = snapshot_crc(h, payload);
  if (crc != h.crc32c) return bad(44, "crc32c " + std::to_string(crc), std::to_string(h.crc32c));
  out.after_seq = h.after_seq;
  out.state_hash = h.state_hash;
  out.journal_id = h.journal_id;
  out.generation = h.generation;
  out.payload.assign(payload.begin(), payload.end());
  out.file = file;
  return true;
}

bool newest_snapshot(const std::string& dir, u64 journal_id, u64 max_seq, Snapshot& out,
                     std::vector<SkippedSnapshot>& skipped) {
  skipped.clear();
  for (const std::string& name : snapshot_files(dir)) {
    const std::string file = dir + "/" + name;
    JournalError error;
    if (!read_snapshot(file, out, error)) {
      skipped.push_back({name, error.text()});
    } else if (out.journal_id != journal_id) {
      skipped.push_back({name, "made of another journal"});
    } else if (out.after_seq > max_seq) {
      skipped.push_back({name, "after seq " + std::to_string(out.after_seq) + ", but the journal ends at seq " +
                                   std::to_string(max_seq), true});
    } else if (name != snapshot_name(out.after_seq)) {
      skipped.push_back({name, "its name is not that of seq " + std::to_string(out.after_seq)});
    } else {
      return true;
    }
  }
  out = {};
  return false;
}

std::map<u64, Snapshot> all_snapshots(const std::string& dir, std::vector<std::string>& notes) {
  std::map<u64, Snapshot> all;
  for (const std::string& name : snapshot_files(dir)) {
    Snapshot s;
    JournalError error;
    if (!read_snapshot(dir + "/" + name, s, error)) {
      notes.push_back(error.text());
      continue;
    }
    s.payload = {};
    all.emplace(s.after_seq, std::move(s));
  }
  return all;
}

u32 prune_snapshots(const std::string& dir, u32 keep) {
  const std::vector<std::string> names = snapshot_files(dir);
  u32 gone = 0;
  for (std::size_t i = keep; i < names.size(); ++i) gone += ::unlink((dir + "/" + names[i]).c_str()) == 0;
  return gone;
}

Follower::Follower(Private, std::unique_ptr<Reader> reader, std::string dir, u64 every, FollowerSink& sink)
    : reader_(std::move(reader)), dir_(std::move(dir)), every_(every), sink_(sink) {}

std::unique_ptr<Follower> Follower::open(const std::string& dir, u64 every_records, FollowerSink& sink,
                                         JournalError& error, const ReaderOptions& given) {
  ReaderOptions options = given;
  options.verify_chain = false;  // a follower keeps up; `verify` checks the chain
  std::unique_ptr<Reader> reader = Reader::open(dir, options, error);
  if (reader == nullptr) return nullptr;
  return std::make_unique<Follower>(Private{}, std::move(reader), dir, every_records, sink);
}

bool Follower::snapshot_now() {
  if (last_seq_ == 0 || last_seq_ == snapshot_seq_) return last_seq_ != 0;
  Snapshot& s = snapshot_;  // its room is kept: a follower does not grow by the size of what it wrote before
  s.after_seq = last_seq_;
  s.generation = last_generation_;
  s.journal_id = reader_->end().journal_id;
  if (!sink_.on_snapshot_due(last_seq_, s.state_hash, s.payload)) return false;
  since_ = 0;
  snapshot_seq_ = last_seq_;
  // A snapshot is a help, not a duty: a failed one is counted and the following goes on.
  const bool written = write_snapshot(dir_, s, nullptr, error_);
  ++(written ? snapshots_ : failed_);
  return written;
}

i64 Follower::poll(u64 max_records) {
  i64 n = 0;
  RecordView view;
  while (static_cast<u64>(n) < max_records) {
    const ReadResult result = reader_->next(view);
    if (result == ReadResult::kEnd) break;
    if (result == ReadResult::kCorrupt) {
      error_ = reader_->error();
      return -1;
    }
    ++n;
    last_seq_ = view.header.seq;
    last_generation_ = view.header.generation;
    sink_.on_record(view);
    if (every_ != 0 && ++since_ >= every_) snapshot_now();
  }
  return n;
}

}  // namespace peregrine::journal
