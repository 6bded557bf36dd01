// Python view of engine/: the live run, replay of a journal, single steps, the tactic, watched replays. A file of its own class each.
#include <pybind11/pybind11.h>

namespace py = pybind11;

void bind_live(py::module_& m);
void bind_replay(py::module_& m);
void bind_step(py::module_& m);
void bind_tactic(py::module_& m);
void bind_watch(py::module_& m);

void bind_engine(py::module_& m) {
  bind_live(m);
  bind_replay(m);
  bind_step(m);
  bind_tactic(m);
  bind_watch(m);
}
