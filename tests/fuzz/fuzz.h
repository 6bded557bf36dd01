// What every fuzz target has: bytes taken apart piece by piece, and checks that end the process when they fail.
//
// A target is a file <name>.cpp with one LLVMFuzzerTestOneInput. It is linked with libFuzzer (tools/fuzz.py) or with
// replay_main.cpp, which feeds it files (tests/fuzz/test_fuzz_corpus.py). It keeps no state from one input to the next.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "core/bytes.h"
#include "core/types.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

// A property of the parser that the input breaks: a finding, like a fault the sanitizers see.
#define FUZZ_CHECK(expr)                                                              \
  do {                                                                                \
    if (!(expr)) {                                                                    \
      std::fprintf(stderr, "fuzz: %s does not hold at %s:%d\n", #expr, __FILE__, __LINE__); \
      std::abort();                                                                   \
    }                                                                                 \
  } while (false)

namespace peregrine::fuzz {

// Hands out the input's bytes in order; zeros (and empty pieces) when there are no more.
class Input {
 public:
  Input(const u8* data, std::size_t size) : p_(data), left_(size) {}

  bool done() const { return left_ == 0; }
  std::size_t left() const { return left_; }
  u8 byte() { return left_ == 0 ? 0 : (--left_, *p_++); }
  u16 u16be() {
    const u16 high = byte();
    return static_cast<u16>(high << 8 | byte());
  }
  u32 u32be() {
    const u32 high = u16be();
    return high << 16 | u16be();
  }
  u64 u64be() {
    const u64 high = u32be();
    return high << 32 | u32be();
  }
  // The next n bytes, fewer when fewer are left: a view of the input.
  Bytes take(std::size_t n) {
    if (n > left_) n = left_;
    const Bytes piece(p_, n);
    p_ += n;
    left_ -= n;
    return piece;
  }
  Bytes rest() { return take(left_); }

 private:
  const u8* p_;
  std::size_t left_;
};

// A copy on the heap of exactly the given size: one byte too far is seen.
class Exact {
 public:
  explicit Exact(Bytes b) : size_(b.size()), data_(new u8[b.size()]) {
    if (!b.empty()) std::memcpy(data_.get(), b.data(), b.size());
  }
  Bytes view() const { return {data_.get(), size_}; }
  u8* data() { return data_.get(); }

 private:
  std::size_t size_;
  std::unique_ptr<u8[]> data_;
};

// Reads every byte, so that a view beyond its memory is seen.
inline u64 touch(Bytes b) {
  u64 sum = 0;
  for (const u8 c : b) sum += c;
  volatile u64 keep = sum;
  return keep;
}

}  // namespace peregrine::fuzz
