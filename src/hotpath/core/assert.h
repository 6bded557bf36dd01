// Assertions that stay on in release: a broken invariant must stop the engine, not trade on.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace peregrine {

[[noreturn]] inline void assert_failed(const char* expr, const char* file, int line) {
  std::fprintf(stderr, "peregrine: assertion failed: %s at %s:%d\n", expr, file, line);
  std::abort();
}

}  // namespace peregrine

#define PRG_ASSERT(expr) \
  (__builtin_expect(!!(expr), 1) ? static_cast<void>(0) : ::peregrine::assert_failed(#expr, __FILE__, __LINE__))
