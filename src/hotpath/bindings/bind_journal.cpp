// Python view of journal/.
#include <pybind11/pybind11.h>

void bind_journal(pybind11::module_& m) {
  (void)m;
}
