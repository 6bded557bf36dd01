// What this binary is: package version and compiler, for reports and journals.
#pragma once

namespace peregrine {

const char* build_version();
const char* build_compiler();

}  // namespace peregrine
