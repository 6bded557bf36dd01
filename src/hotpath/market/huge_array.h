// A fixed array whose pages are asked to be huge and are touched at construction: no page fault later.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

#include "core/types.h"

namespace peregrine {

template <class T>
class HugeArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // n elements, every byte zero.
  explicit HugeArray(std::size_t n) : size_(n) {
    constexpr std::size_t kHuge = 2u << 20;
    const std::size_t bytes = n * sizeof(T);
    const std::size_t align = bytes >= kHuge ? kHuge : kCacheLine;
    const std::size_t rounded = (bytes + align - 1) / align * align;
    data_ = static_cast<T*>(std::aligned_alloc(align, rounded == 0 ? align : rounded));
    if (data_ == nullptr) throw std::bad_alloc();
    if (align == kHuge) (void)madvise(data_, rounded, MADV_HUGEPAGE);
    std::memset(static_cast<void*>(data_), 0, rounded);
  }
  ~HugeArray() { std::free(data_); }
  HugeArray(const HugeArray&) = delete;
  HugeArray& operator=(const HugeArray&) = delete;

  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  T* data_;
  std::size_t size_;
};

}  // namespace peregrine
