// Python view of core/.
#include <pybind11/pybind11.h>

void bind_core(pybind11::module_& m) {
  (void)m;
}
