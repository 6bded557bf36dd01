// Walks the records a ring holds, also while the engine appends to it and the writer releases it.
#pragma once

#include <memory>
#include <vector>

#include "journal/ring.h"

namespace peregrine::journal {

class RingCursor {
 public:
  enum class Find : u8 {
    kFound,   // header()/raw() hold the record
    kNone,    // everything committed comes before the record asked for
    kMissing, // the ring starts after it: released, so it must be on disk
    kBad,     // error()
  };

  explicit RingCursor(std::shared_ptr<const Ring> ring) : ring_(std::move(ring)) {}
  // The record numbered `seq`; asks for rising numbers are answered without searching again.
  Find find(u64 seq);

  const Ring& ring() const { return *ring_; }
  const RecordHeader& header() const { return header_; }
  Bytes raw() const { return {copy_.data(), header_.length}; }
  u64 position() const { return position_; }
  // Next number the appender had promised before the last find() looked: all below are committed.
  u64 promised_seq() const { return promised_seq_; }
  const JournalError& error() const { return error_; }

 private:
  Find bad(Fault fault, std::string expected, std::string found);

  std::shared_ptr<const Ring> ring_;
  u64 at_ = 0;        // stream position to look at next
  u64 position_ = 0;  // of the record found
  u64 promised_seq_ = 0;
  RecordHeader header_{};
  std::vector<u8> copy_;
  JournalError error_;
};

}  // namespace peregrine::journal
