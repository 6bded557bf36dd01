// An error as text of fixed size: rooms of the hot path neither throw nor allocate to say what is wrong.
#pragma once

#include <cstdarg>
#include <cstdio>

namespace peregrine {

// Empty text = no error. The text says what was found, what was expected, where, and the fix.
struct [[nodiscard]] Error {
  char text[320] = {};

  bool failed() const { return text[0] != '\0'; }
  bool ok() const { return text[0] == '\0'; }

  static Error none() { return {}; }
  [[gnu::format(printf, 1, 2)]] static Error make(const char* format, ...) {
    Error e;
    va_list args;
    va_start(args, format);
    std::vsnprintf(e.text, sizeof(e.text), format, args);
    va_end(args);
    if (e.text[0] == '\0') std::snprintf(e.text, sizeof(e.text), "unknown error");
    return e;
  }
};

}  // namespace peregrine
