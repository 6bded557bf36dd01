#include "journal/segment.h"

#include <dirent.h>
#include <errno.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "core/assert.h"
#include "core/bytes.h"
#include "core/crc32c.h"
#include "journal/version.h"

namespace peregrine::journal {

std::string segment_name(u32 number) {
  char name[32];
  std::snprintf(name, sizeof name, "journal-%06u.pgj", number);
  return name;
}

std::string segment_path(const std::string& dir, u32 number) { return dir + "/" + segment_name(number); }

bool list_segments(const std::string& dir, std::vector<u32>& numbers, JournalError& error) {
  numbers.clear();
  DIR* d = ::opendir(dir.c_str());
  if (d == nullptr) {
    if (errno == ENOENT) return true;
    error = system_error(errno, dir, "reading the journal directory");
    return false;
  }
  while (const dirent* entry = ::readdir(d)) {
    unsigned number = 0;
    if (std::sscanf(entry->d_name, "journal-%9u", &number) == 1 && number > 0 && segment_name(number) == entry->d_name) {
      numbers.push_back(number);
    }
  }
  ::closedir(d);
  std::sort(numbers.begin(), numbers.end());
  return true;
}

SegmentHeader make_segment_header(u32 number, u32 generation, u64 first_seq, const u8 previous_sha256[32],
                                  u64 journal_id) {
  SegmentHeader h{};
  std::memcpy(h.magic, kSegmentMagic, sizeof h.magic);
  h.format_version = kFormatVersion;
  h.semantics_version = kSemanticsVersion;
  h.number = number;
  h.generation = generation;
  h.first_seq = first_seq;
  if (previous_sha256 != nullptr) std::memcpy(h.previous_sha256, previous_sha256, 32);
  h.journal_id = journal_id;
  h.crc32c = crc32c(0, &h, offsetof(SegmentHeader, crc32c));
  return h;
}

bool check_segment_header(const SegmentHeader& h, u32 number, const std::string& file, JournalError& error) {
  error = {};
  error.file = file;
  error.fault = Fault::kBadSegmentHeader;
  if (std::memcmp(h.magic, kSegmentMagic, sizeof h.magic) != 0) {
    error.expected = "magic PGJSEG01";
    error.found = "other bytes";
    return false;
  }
  const u32 crc = crc32c(0, &h, offsetof(SegmentHeader, crc32c));
  if (crc != h.crc32c) {
    error.expected = "segment header crc32c " + std::to_string(crc);
    error.found = std::to_string(h.crc32c);
    return false;
  }
  if (h.format_version < kOldestReadableFormat || h.format_version > kFormatVersion) {
    error.fault = Fault::kUnsupportedVersion;
    error.offset = offsetof(SegmentHeader, format_version);
    error.expected = "journal format " + std::to_string(kOldestReadableFormat) +
                     (kOldestReadableFormat < kFormatVersion ? " to " + std::to_string(kFormatVersion) : "");
    error.found = std::to_string(h.format_version);
    error.hint = std::string(h.format_version > kFormatVersion ? "a newer" : "an older") +
                 " release wrote it: read it with that one, its version stands in the run's report";
    return false;
  }
  if (h.number != number) {
    error.offset = offsetof(SegmentHeader, number);
    error.expected = "segment number " + std::to_string(number) + " as in the file's name";
    error.found = std::to_string(h.number);
    return false;
  }
  error = {};
  return true;
}

const char* type_name(u16 type) {
  switch (static_cast<RecordType>(type)) {
    case RecordType::kPadding: return "padding";
    case RecordType::kHeader: return "header";
    case RecordType::kTrailer: return "trailer";
    case RecordType::kFeed: return "feed";
    case RecordType::kSnapshot: return "snapshot";
    case RecordType::kFeedState: return "feed-state";
    case RecordType::kSession: return "session";
    case RecordType::kSessionState: return "session-state";
    case RecordType::kCommand: return "command";
    case RecordType::kTimer: return "timer";
    case RecordType::kControl: return "control";
    case RecordType::kDevice: return "device";
    case RecordType::kSignal: return "signal";
    case RecordType::kSendResult: return "send-result";
    case RecordType::kRecovered: return "recovered";
    case RecordType::kFeedRef: return "feed-ref";
    case RecordType::kIntent: return "intent";
    case RecordType::kDecision: return "decision";
    case RecordType::kStateHash: return "state-hash";
  }
  return nullptr;
}

bool known_type(u16 type) { return type_name(type) != nullptr; }

u32 record_crc(const u8* p, u32 length) {
  PRG_ASSERT(length >= sizeof(RecordHeader));
  static constexpr u8 kZero[4] = {};
  u32 crc = crc32c(0, p, offsetof(RecordHeader, crc32c));
  crc = crc32c(crc, kZero, 4);
  return crc32c(crc, p + sizeof(RecordHeader), length - sizeof(RecordHeader));
}

u32 write_record(u8* out, RecordType type, u64 seq, i64 ts_ns, u32 generation, Bytes payload) {
  const u64 length = record_bytes(payload.size());
  PRG_ASSERT(length <= kMaxRecordBytes);
  RecordHeader h{};
  h.length = static_cast<u32>(length);
  h.type = static_cast<u16>(type);
  h.pad = static_cast<u16>(length - sizeof h - payload.size());
  h.seq = seq;
  h.ts_ns = ts_ns;
  h.generation = generation;
  std::memcpy(out, &h, sizeof h);
  if (!payload.empty()) std::memcpy(out + sizeof h, payload.data(), payload.size());
  std::memset(out + sizeof h + payload.size(), 0, h.pad);
  store_le(out + offsetof(RecordHeader, crc32c), record_crc(out, h.length));
  return h.length;
}

Fault check_record_shape(const RecordHeader& h, u64 bytes_available) {
  if (h.length < sizeof(RecordHeader) || h.length % 8 != 0 || h.length > kMaxRecordBytes) return Fault::kBadLength;
  if (h.pad > 7 || h.pad > h.length - sizeof(RecordHeader)) return Fault::kBadLength;
  if (h.length > bytes_available) return Fault::kTorn;
  if (!known_type(h.type)) return Fault::kBadType;
  return Fault::kNone;
}

}  // namespace peregrine::journal
