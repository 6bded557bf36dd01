// Python view of signal/.
#include <pybind11/pybind11.h>

void bind_signal(pybind11::module_& m) {
  (void)m;
}
