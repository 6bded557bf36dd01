// Choices without a branch, for conditions nobody can foretell: a wrong guess costs some 30 cycles, a mask three
// instructions. gcc makes branches of `?:` and of `a | b` in an `if` as it sees fit; it cannot through the empty asm.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace peregrine {

// The same value, of which the compiler knows nothing any more.
template <class T>
[[gnu::always_inline]] inline T opaque(T v) {
  asm("" : "+r"(v));
  return v;
}

template <class T>
[[gnu::always_inline]] inline T* choose(bool first, T* a, T* b) {
  const auto mask = opaque(-static_cast<std::uintptr_t>(first));
  return reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(a) & mask) |
                              (reinterpret_cast<std::uintptr_t>(b) & ~mask));
}
[[gnu::always_inline]] inline u32 choose(bool first, u32 a, u32 b) {
  const u32 mask = opaque(-static_cast<u32>(first));
  return (a & mask) | (b & ~mask);
}

}  // namespace peregrine
