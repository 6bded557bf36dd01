#include "journal/error.h"

#include <cstring>

namespace peregrine::journal {

const char* fault_name(Fault f) {
  switch (f) {
    case Fault::kNone: return "none";
    case Fault::kSystem: return "system";
    case Fault::kInUse: return "in-use";
    case Fault::kBadArgument: return "bad-argument";
    case Fault::kNeedsRecovery: return "needs-recovery";
    case Fault::kBadSegmentHeader: return "bad-segment-header";
    case Fault::kUnsupportedVersion: return "unsupported-version";
    case Fault::kMissingSegment: return "missing-segment";
    case Fault::kBadLength: return "bad-length";
    case Fault::kBadCrc: return "bad-crc";
    case Fault::kBadSeq: return "bad-seq";
    case Fault::kBadType: return "bad-type";
    case Fault::kBadGeneration: return "bad-generation";
    case Fault::kBadChain: return "bad-chain";
    case Fault::kBadTrailer: return "bad-trailer";
    case Fault::kTorn: return "torn";
    case Fault::kRingMismatch: return "ring-mismatch";
    case Fault::kBadSnapshot: return "bad-snapshot";
  }
  return "unknown";
}

std::string JournalError::text() const {
  std::string s = file;
  if (is_corruption(fault)) s += " at offset " + std::to_string(offset);
  s += ": ";
  s += fault_name(fault);
  if (!expected.empty()) s += ": expected " + expected;
  if (!found.empty()) s += (expected.empty() ? ": " : ", found ") + found;
  if (!hint.empty()) s += " (hint: " + hint + ")";
  return s;
}

JournalError system_error(int code, const std::string& file, const std::string& doing, const std::string& hint) {
  JournalError e;
  e.fault = Fault::kSystem;
  e.code = code;
  e.file = file;
  e.found = doing + " failed: " + strerrordesc_np(code);
  e.hint = hint;
  return e;
}

}  // namespace peregrine::journal
