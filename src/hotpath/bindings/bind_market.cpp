// Python view of market/.
#include <pybind11/pybind11.h>

void bind_market(pybind11::module_& m) {
  (void)m;
}
