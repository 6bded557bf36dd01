// Python view of policy/.
#include <pybind11/pybind11.h>

void bind_policy(pybind11::module_& m) {
  (void)m;
}
