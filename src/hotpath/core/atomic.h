// Atomic access to plain words: shared memory holds PODs, and each side states the order it needs.
#pragma once

#include <type_traits>

#include "core/types.h"

namespace peregrine {

template <class T>
inline T load_relaxed(const T& word) {
  return __atomic_load_n(&word, __ATOMIC_RELAXED);
}
template <class T>
inline T load_acquire(const T& word) {
  return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}
template <class T>
inline void store_relaxed(T& word, std::type_identity_t<T> value) {
  __atomic_store_n(&word, value, __ATOMIC_RELAXED);
}
template <class T>
inline void store_release(T& word, std::type_identity_t<T> value) {
  __atomic_store_n(&word, value, __ATOMIC_RELEASE);
}
// For words with one writer: no lock prefix, readers see the old or the new value.
template <class T>
inline void add_by_owner(T& word, std::type_identity_t<T> n) {
  __atomic_store_n(&word, static_cast<T>(__atomic_load_n(&word, __ATOMIC_RELAXED) + n), __ATOMIC_RELAXED);
}
// For words with several writers. `expected` takes the value found when the exchange fails.
template <class T>
inline bool compare_exchange(T& word, T& expected, std::type_identity_t<T> desired) {
  return __atomic_compare_exchange_n(&word, &expected, desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

// Tells the core that this is a spin loop.
inline void cpu_relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("isb" ::: "memory");
#endif
}

}  // namespace peregrine
