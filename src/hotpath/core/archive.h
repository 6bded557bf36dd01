// State saved to bytes and loaded again. A class lists its fields once, in `template <class A> void archive(A& a)`; saving,
// checking and loading all walk that list.
//
//   value    its bytes                                            (trivially copyable, this machine's byte order)
//   pool     elements that differ from their blank, in runs:      u32 skipped | u32 n | n elements | … | u32 rest | u32 0
//
// A blank is what construction leaves at index i, so a big pool little used stays small, yet every byte of it comes
// back: free lists and hash tables too. Nothing is interpreted here; the caller guards the bytes with a checksum, and
// layout() with a build whose classes look different.
#pragma once

#include <cstring>
#include <type_traits>
#include <vector>

#include "core/bytes.h"
#include "core/hash.h"
#include "core/types.h"

namespace peregrine {

// Blank of a pool whose elements are all alike at construction.
template <class T>
struct SameBlank {
  void operator()(T& t, std::size_t) const { t = T{}; }
};

class ArchiveBase {
 public:
  bool ok() const { return ok_; }
  // The walk so far: sizes and counts, folded. Two walks with the same layout read the same bytes as the same fields.
  u64 layout() const { return layout_; }
  void fail() { ok_ = false; }

 protected:
  void walked(std::size_t size, std::size_t n) { layout_ = hash_fold(layout_, size << 32 ^ n); }
  bool ok_ = true;
  u64 layout_ = 0;
};

class SaveArchive : public ArchiveBase {
 public:
  static constexpr bool kSaving = true, kLoading = false;
  explicit SaveArchive(std::vector<u8>& out) : out_(out) {}

  template <class... T>
  void operator()(T&... v) {
    (value(v), ...);
  }
  template <class T, class Blank = SameBlank<T>>
  void pool(T* p, std::size_t n, Blank blank = {}) {
    static_assert(std::is_trivially_copyable_v<T>);
    walked(sizeof(T), n);
    alignas(T) u8 like[sizeof(T)] = {};
    const auto is_blank = [&](std::size_t i) {
      blank(*reinterpret_cast<T*>(like), i);
      return std::memcmp(like, &p[i], sizeof(T)) == 0;
    };
    std::size_t i = 0;
    do {
      std::size_t from = i;
      while (from < n && is_blank(from)) ++from;
      std::size_t to = from;
      while (to < n && !is_blank(to)) ++to;
      put_u32(static_cast<u32>(from - i));
      put_u32(static_cast<u32>(to - from));
      put(&p[from], (to - from) * sizeof(T));
      i = to;
      if (to == from) break;  // only blanks were left
    } while (true);
  }

 private:
  template <class T>
  void value(T& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    walked(sizeof(T), 1);
    put(&v, sizeof v);
  }
  void put_u32(u32 v) { put(&v, sizeof v); }
  void put(const void* p, std::size_t n) {
    const u8* b = static_cast<const u8*>(p);
    out_.insert(out_.end(), b, b + n);
  }
  std::vector<u8>& out_;
};

// With `check_only` nothing is written: a first walk that shows whether the bytes fit before anything is touched.
class LoadArchive : public ArchiveBase {
 public:
  static constexpr bool kSaving = false, kLoading = true;
  LoadArchive(Bytes in, bool check_only) : in_(in), check_only_(check_only) {}

  bool check_only() const { return check_only_; }
  // All bytes were read, and each in its place.
  bool complete() const { return ok_ && in_.empty(); }
  template <class... T>
  void operator()(T&... v) {
    (value(v), ...);
  }
  template <class T, class Blank = SameBlank<T>>
  void pool(T* p, std::size_t n, Blank blank = {}) {
    static_assert(std::is_trivially_copyable_v<T>);
    walked(sizeof(T), n);
    for (std::size_t i = 0; ok_;) {
      u32 run[2] = {};  // blanks, then elements
      take(run, sizeof run);
      if (!ok_ || run[0] > n - i || run[1] > n - i - run[0]) return fail();
      if (!check_only_) {
        for (std::size_t k = i; k < i + run[0]; ++k) blank(p[k], k);
      }
      i += run[0];
      const std::size_t bytes = run[1] * sizeof(T);
      if (in_.size() < bytes) return fail();
      if (!check_only_ && bytes != 0) std::memcpy(static_cast<void*>(&p[i]), in_.data(), bytes);
      in_ = in_.subspan(bytes);
      i += run[1];
      if (run[1] != 0) continue;
      if (i != n) fail();
      return;
    }
  }

 private:
  template <class T>
  void value(T& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    walked(sizeof(T), 1);
    if (in_.size() < sizeof v) return fail();
    if (!check_only_) std::memcpy(static_cast<void*>(&v), in_.data(), sizeof v);
    in_ = in_.subspan(sizeof v);
  }
  void take(void* p, std::size_t n) {
    if (in_.size() < n) return fail();
    std::memcpy(p, in_.data(), n);
    in_ = in_.subspan(n);
  }
  Bytes in_;
  bool check_only_;
};

}  // namespace peregrine
