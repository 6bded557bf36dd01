// Seqlock: one writer publishes a small value, any number of readers copy it and never make the writer wait.
//
// Discipline, without fences (gcc's ThreadSanitizer does not understand them): the payload is atomic words.
//   writer: version ← odd (relaxed); words (release); version ← even (release)
//   reader: version (acquire); words (acquire); version again (relaxed); equal and even = whole
// A reader that took a word of a newer write has synchronised with that word's release store and so sees
// the odd version that preceded it. Release on the words costs nothing on x86 (plain stores) and makes the
// argument hold on aarch64 too.
#pragma once

#include <cstring>
#include <type_traits>

#include "core/assert.h"
#include "core/atomic.h"
#include "core/types.h"

namespace peregrine {

// Copies between a plain object and atomic words, `n` words of 8 bytes.
inline void words_store(u64* words, const void* from, std::size_t n) {
  const u8* p = static_cast<const u8*>(from);
  for (std::size_t i = 0; i < n; ++i) {
    u64 w;
    std::memcpy(&w, p + 8 * i, 8);
    store_release(words[i], w);
  }
}
inline void words_load(void* to, const u64* words, std::size_t n) {
  u8* p = static_cast<u8*>(to);
  for (std::size_t i = 0; i < n; ++i) {
    const u64 w = load_acquire(words[i]);
    std::memcpy(p + 8 * i, &w, 8);
  }
}

// POD: may lie in shared memory, all zero = never written (version 0).
//
//   0         8
//   +---------+----------------------------+
//   | version | words of T, 8 bytes each … |
//   +---------+----------------------------+
template <class T>
struct alignas(kCacheLine) Seqlock {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 8 == 0);
  static constexpr std::size_t kWords = sizeof(T) / 8;

  u64 version = 0;
  u64 words[kWords] = {};

  void store(const T& value) {
    const u64 v = load_relaxed(version);
    PRG_ASSERT((v & 1) == 0);  // a second writer, or one that died half-way
    store_relaxed(version, v + 1);
    words_store(words, &value, kWords);
    store_release(version, v + 2);
  }
  // False when a write was in progress: try again. Never returns a torn value.
  bool try_load(T& out) const {
    const u64 before = load_acquire(version);
    if (before & 1) return false;
    words_load(&out, words, kWords);
    return load_relaxed(version) == before;
  }
  // Number of whole writes so far.
  u64 writes() const { return load_acquire(version) / 2; }
};

}  // namespace peregrine
