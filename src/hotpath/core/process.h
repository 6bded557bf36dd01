// Who a process is: a pid alone is reused, a pid with its start time is not (until the next boot).
#pragma once

#include "core/types.h"

namespace peregrine {

struct ProcessId {
  i32 pid = 0;
  u64 start_ticks = 0;  // field 22 of /proc/<pid>/stat: clock ticks between boot and the start of the process
  bool operator==(const ProcessId&) const = default;
};

enum class Liveness : u8 {
  kAlive = 0,    // this very process runs
  kDead = 1,     // no such process, or a zombie
  kReused = 2,   // the pid now belongs to another process
  kUnknown = 3,  // /proc cannot be read
};
const char* liveness_name(Liveness l);

ProcessId this_process();
// 0 when there is no such process or it cannot be read.
u64 process_start_ticks(i32 pid);
Liveness liveness(const ProcessId& id);
// Only pids of our own pid namespace can be judged: engine and tools must share it (one container).

}  // namespace peregrine
