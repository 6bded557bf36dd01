// hotpath._venue: the simulated exchange and the virtual-time harness.
#include <pybind11/pybind11.h>

void bind_venue(pybind11::module_& m);
void bind_virtual(pybind11::module_& m);
void bind_day(pybind11::module_& m);
void bind_simulation(pybind11::module_& m);

PYBIND11_MODULE(_venue, m) {
  m.doc() = "Peregrine's simulated exchange";
  bind_venue(m);
  bind_virtual(m);
  bind_day(m);
  bind_simulation(m);
}
