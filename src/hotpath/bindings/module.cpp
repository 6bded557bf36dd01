// hotpath._core: the one extension module that owns engine state; a file a room.
#include <pybind11/pybind11.h>

void bind_core(pybind11::module_& m);
void bind_market(pybind11::module_& m);
void bind_signal(pybind11::module_& m);
void bind_policy(pybind11::module_& m);
void bind_risk(pybind11::module_& m);
void bind_execution(pybind11::module_& m);
void bind_journal(pybind11::module_& m);
void bind_engine(pybind11::module_& m);

PYBIND11_MODULE(_core, m) {
  m.doc() = "Peregrine's compiled engine";
  m.attr("__version__") = PEREGRINE_VERSION;
  bind_core(m);
  bind_market(m);
  bind_signal(m);
  bind_policy(m);
  bind_risk(m);
  bind_execution(m);
  bind_journal(m);
  bind_engine(m);
}
