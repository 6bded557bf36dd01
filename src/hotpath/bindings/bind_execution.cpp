// Python view of execution/.
#include <pybind11/pybind11.h>

void bind_execution(pybind11::module_& m) {
  (void)m;
}
