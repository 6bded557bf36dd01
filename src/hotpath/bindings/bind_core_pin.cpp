// Python view of core/pin.h and core/process.h.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/pin.h"
#include "core/process.h"

namespace py = pybind11;
using namespace peregrine;

namespace {

void raise_if(const Error& e) {
  if (e.failed()) throw std::runtime_error(e.text);
}

std::vector<int> to_list(const CpuSet& set) {
  std::vector<int> out;
  for (std::size_t c = 0; c < set.size(); ++c)
    if (set.test(c)) out.push_back(static_cast<int>(c));
  return out;
}

CpuSet to_set(const std::vector<int>& cpus) {
  CpuSet set;
  for (int c : cpus) {
    if (c < 0 || c >= kMaxCpus) throw py::value_error("no CPU " + std::to_string(c));
    set.set(static_cast<std::size_t>(c));
  }
  return set;
}

py::list threads() {
  py::list out;
  for (const ThreadPlacement& t : list_threads()) {
    py::dict d;
    d["tid"] = t.tid;
    d["name"] = t.name;
    d["cpus"] = to_list(t.allowed);
    d["last_cpu"] = t.last_cpu;
    d["state"] = std::string(1, t.state);
    d["policy"] = t.policy;
    d["voluntary_switches"] = t.voluntary_switches;
    d["involuntary_switches"] = t.involuntary_switches;
    out.append(d);
  }
  return out;
}

py::list topology() {
  py::list out;
  for (const CpuPlace& p : cpu_topology()) {
    py::dict d;
    d["cpu"] = p.cpu;
    d["core"] = p.core;
    d["numa_node"] = p.numa_node;
    d["isolated"] = p.isolated;
    d["nohz_full"] = p.nohz_full;
    d["siblings"] = to_list(p.siblings);
    out.append(d);
  }
  return out;
}

// Takes what thread_placements() and cpu_topology() give, so that a test can make machines up.
std::vector<std::string> conflicts(const std::vector<std::pair<int, int>>& hot, const py::object& thread_list,
                                   const py::object& cpu_list) {
  std::vector<HotThread> wanted;
  for (const auto& [tid, cpu] : hot) wanted.push_back({tid, cpu});
  std::vector<ThreadPlacement> placed;
  if (thread_list.is_none()) {
    placed = list_threads();
  } else {
    for (const py::handle& item : thread_list) {
      ThreadPlacement t;
      t.tid = item["tid"].cast<int>();
      const std::string name = item["name"].cast<std::string>();
      name.copy(t.name, sizeof(t.name) - 1);
      t.allowed = to_set(item["cpus"].cast<std::vector<int>>());
      placed.push_back(t);
    }
  }
  std::vector<CpuPlace> cpus;
  if (cpu_list.is_none()) {
    cpus = cpu_topology();
  } else {
    for (const py::handle& item : cpu_list) {
      CpuPlace p;
      p.cpu = item["cpu"].cast<int>();
      p.core = item["core"].cast<int>();
      cpus.push_back(p);
    }
  }
  return placement_conflicts(wanted, placed, cpus);
}

}  // namespace

void bind_core_pin(py::module_& m) {
  m.def("pin_this_thread", [](int cpu) { raise_if(pin_this_thread(cpu)); }, py::arg("cpu"),
        "Pin the calling thread to one CPU and verify it. RuntimeError says what the kernel gave instead.");
  m.def("pin_this_thread_to", [](const std::vector<int>& cpus) { raise_if(pin_this_thread_to(to_set(cpus))); },
        py::arg("cpus"), "Pin the calling thread to a set of CPUs.");
  m.def("verify_pinned", [](int cpu) { raise_if(verify_pinned(cpu)); }, py::arg("cpu"));
  m.def("name_this_thread", [](const std::string& name) { name_this_thread(name.c_str()); }, py::arg("name"),
        "Name the calling thread; cut after 15 characters.");
  m.def("this_thread_id", &this_thread_id);
  m.def("allowed_cpus", [] { return to_list(allowed_cpus()); }, "CPUs that the calling thread may use.");
  m.def("thread_placements", &threads, "All threads of this process: tid, name, cpus, last_cpu, state, policy …");
  m.def("cpu_topology", &topology, "CPUs online: cpu, core, numa_node, isolated, nohz_full, siblings.");
  m.def("placement_conflicts", &conflicts, py::arg("hot"), py::arg("threads") = py::none(),
        py::arg("topology") = py::none(),
        "What is wrong with the placement of the hot threads, given as (tid, cpu) pairs; empty when it holds.");
  m.def("cpu_list_text", [](const std::vector<int>& cpus) { return cpu_list_text(to_set(cpus)); }, py::arg("cpus"));
  m.def("parse_cpu_list", [](const std::string& text) { return to_list(parse_cpu_list(text)); }, py::arg("text"));
  m.def("process_start_ticks", &process_start_ticks, py::arg("pid"), "Start time of a process, 0 when there is none.");
  m.def("process_liveness",
        [](int pid, u64 start_ticks) { return std::string(liveness_name(liveness({pid, start_ticks}))); },
        py::arg("pid"), py::arg("start_ticks"), "\"alive\", \"dead\", \"reused\" or \"unknown\".");
}
