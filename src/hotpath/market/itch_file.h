// ITCH in files: { u16 big-endian length, message } repeated; a zero length marks the end.
#pragma once

#include "core/bytes.h"
#include "core/types.h"
#include "market/market.h"

namespace peregrine {

enum class StreamEnd : u8 {
  kEnd,        // the buffer's end, or a zero length
  kTruncated,  // the last message is cut: `consumed` is where it starts
  kStopped,    // the limit was reached
};

struct StreamResult {
  u64 messages = 0;
  std::size_t consumed = 0;
  StreamEnd end = StreamEnd::kEnd;
};

// Walks length-prefixed messages without reading past the buffer.
class BlockCursor {
 public:
  explicit BlockCursor(Bytes buffer) : buffer_(buffer) {}

  bool next(Bytes& msg) {
    const std::size_t left = buffer_.size() - at_;
    if (left < 2) {
      end_ = left == 0 ? StreamEnd::kEnd : StreamEnd::kTruncated;
      return false;
    }
    const std::size_t n = load_be16(buffer_.data() + at_);
    if (n == 0) {
      end_ = StreamEnd::kEnd;
      return false;
    }
    if (left - 2 < n) {
      end_ = StreamEnd::kTruncated;
      return false;
    }
    msg = buffer_.subspan(at_ + 2, n);
    at_ += 2 + n;
    return true;
  }
  std::size_t at() const { return at_; }
  StreamEnd end() const { return end_; }

 private:
  Bytes buffer_;
  std::size_t at_ = 0;
  StreamEnd end_ = StreamEnd::kEnd;
};

// Applies up to `limit` messages, numbering them from `first_seq`, and calls on_event(outcome, event, msg) after each.
// The messages ahead are known, so their cache misses are started early.
template <class F>
StreamResult apply_stream(Market& market, Bytes buffer, u64 first_seq, u64 limit, F&& on_event) {
  constexpr u64 kAhead = 32;
  BlockCursor here(buffer), ahead(buffer);
  Bytes msg, coming[kAhead];
  StreamResult r;
  Event event;
  while (r.messages < limit) {
    if (r.messages % kAhead == 0) {
      std::size_t n = 0;
      while (n < kAhead && ahead.next(coming[n])) ++n;
      market.prefetch(std::span<const Bytes>(coming, n));
    }
    if (!here.next(msg)) {
      r.end = here.end();
      r.consumed = here.at();
      return r;
    }
    const Market::Outcome o = market.on_message(msg, first_seq + r.messages, 0, event);
    ++r.messages;
    on_event(o, event, msg);
  }
  r.consumed = here.at();
  r.end = StreamEnd::kStopped;
  return r;
}

}  // namespace peregrine
