// Placement of threads: pin, name, verify, and find what shares a core with a hot thread.
#pragma once

#include <bitset>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/types.h"

namespace peregrine {

inline constexpr int kMaxCpus = 1024;
using CpuSet = std::bitset<kMaxCpus>;

// "0-3,8" as the kernel writes it; parse_cpu_list stops at the first thing it does not understand.
std::string cpu_list_text(const CpuSet& set);
CpuSet parse_cpu_list(const std::string& text);

struct ThreadPlacement {
  i32 tid = 0;
  char name[16] = {};
  CpuSet allowed;
  i32 last_cpu = -1;  // where it ran last
  char state = '?';   // R running, S sleeping …
  i32 policy = 0;     // SCHED_OTHER 0, SCHED_FIFO 1, SCHED_RR 2, SCHED_BATCH 3, SCHED_IDLE 5
  u64 voluntary_switches = 0;
  u64 involuntary_switches = 0;
};

i32 this_thread_id();
// At most 15 characters; a longer name is cut.
void name_this_thread(const char* name);
// Pins the calling thread to one CPU and moves it there.
Error pin_this_thread(int cpu);
// Pins the calling thread to a set: for helpers that must keep off the hot CPUs.
Error pin_this_thread_to(const CpuSet& cpus);
// Fails unless the calling thread may run on `cpu` only and does.
Error verify_pinned(int cpu);
CpuSet allowed_cpus();

// All threads of this process, by thread id.
std::vector<ThreadPlacement> list_threads();

struct CpuPlace {
  int cpu = -1;
  int core = -1;       // lowest CPU of the physical core it belongs to
  int numa_node = -1;  // -1 unknown
  bool isolated = false;   // isolcpus=
  bool nohz_full = false;  // nohz_full=
  CpuSet siblings;         // hardware threads of the same core, itself included
};
// CPUs that are online.
std::vector<CpuPlace> cpu_topology();

struct HotThread {
  i32 tid = 0;
  int cpu = -1;  // where it is meant to be
};
// One text for each fault found: a hot thread not pinned where it is meant to be, two hot threads on one CPU or
// one physical core, another thread of the process that may run on a hot CPU. Empty = the placement holds.
std::vector<std::string> placement_conflicts(const std::vector<HotThread>& hot,
                                             const std::vector<ThreadPlacement>& threads,
                                             const std::vector<CpuPlace>& topology);

}  // namespace peregrine
