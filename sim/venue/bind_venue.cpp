// Python view of the simulated exchange.
#include <pybind11/pybind11.h>

void bind_venue(pybind11::module_& m) {
  (void)m;
}
