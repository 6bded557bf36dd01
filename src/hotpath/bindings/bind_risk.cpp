// Python view of risk/.
#include <pybind11/pybind11.h>

void bind_risk(pybind11::module_& m) {
  (void)m;
}
