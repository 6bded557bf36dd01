// What went wrong, where, and what to do about it. Journal code returns these; it never throws.
#pragma once

#include <string>

#include "core/types.h"

namespace peregrine::journal {

enum class Fault : u8 {
  kNone = 0,
  kSystem = 1,          // a system call failed: `code` is its errno
  kInUse = 2,           // another live process owns the ring or the directory
  kBadArgument = 3,
  kNeedsRecovery = 4,   // leftovers of a dead run: call recover() first
  // Corruption: the stored bytes cannot be what was written.
  kBadSegmentHeader = 16,
  kUnsupportedVersion = 17,
  kMissingSegment = 18,
  kBadLength = 19,
  kBadCrc = 20,
  kBadSeq = 21,
  kBadType = 22,
  kBadGeneration = 23,
  kBadChain = 24,       // SHA-256 of a closed segment, or its link to the one before
  kBadTrailer = 25,     // counts in a trailer, or bytes after it, or no trailer in a segment that is not the last
  kTorn = 26,           // an incomplete record where none may be
  kRingMismatch = 27,   // ring and segments do not belong together, or records between them are missing
  kBadSnapshot = 28,
};

constexpr bool is_corruption(Fault f) { return static_cast<u8>(f) >= 16; }
const char* fault_name(Fault f);

struct JournalError {
  Fault fault = Fault::kNone;
  int code = 0;          // errno, when fault is kSystem
  std::string file;      // where
  u64 offset = 0;        // where in the file: first byte of the record that is wrong
  std::string expected;  // what should have been there
  std::string found;     // what is
  std::string hint;      // what to do

  bool good() const { return fault == Fault::kNone; }
  // One line: "journal-000002.pgj at offset 4096: bad-crc: expected …, found … (hint: …)".
  std::string text() const;
};

JournalError system_error(int code, const std::string& file, const std::string& doing, const std::string& hint = {});

}  // namespace peregrine::journal
