// The build this library came from.
#include "core/build.h"

namespace peregrine {

const char* build_version() { return PEREGRINE_VERSION; }

const char* build_compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

}  // namespace peregrine
