// Python view of engine/.
#include <pybind11/pybind11.h>

void bind_engine(pybind11::module_& m) {
  (void)m;
}
