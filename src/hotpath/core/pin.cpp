// Threads and CPUs by /proc/self/task and /sys/devices/system/cpu. Cold.
#include "core/pin.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace peregrine {

namespace {

std::string read_text(const std::string& path) {
  std::string text;
  std::FILE* f = std::fopen(path.c_str(), "re");
  if (f == nullptr) return text;
  char buffer[4096];
  std::size_t n;
  while ((n = std::fread(buffer, 1, sizeof(buffer), f)) > 0) text.append(buffer, n);
  std::fclose(f);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// Value of "key:<blanks>value" in a /proc status file, empty when absent.
std::string field_of(const std::string& text, const char* key) {
  const std::string wanted = std::string("\n") + key + ":";
  const std::size_t at = ("\n" + text).find(wanted);
  if (at == std::string::npos) return {};
  std::size_t from = at + wanted.size() - 1;
  while (from < text.size() && (text[from] == ' ' || text[from] == '\t')) ++from;
  const std::size_t to = text.find('\n', from);
  return text.substr(from, to == std::string::npos ? std::string::npos : to - from);
}

CpuSet from_kernel_set(const cpu_set_t& set) {
  CpuSet out;
  for (int c = 0; c < kMaxCpus && c < CPU_SETSIZE; ++c)
    if (CPU_ISSET(c, &set)) out.set(static_cast<std::size_t>(c));
  return out;
}

CpuSet allowed_of(i32 tid) {
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(tid, sizeof(set), &set) == 0 ? from_kernel_set(set) : CpuSet{};
}

}  // namespace

std::string cpu_list_text(const CpuSet& set) {
  std::string text;
  for (std::size_t c = 0; c < set.size(); ++c) {
    if (!set.test(c)) continue;
    std::size_t last = c;
    while (last + 1 < set.size() && set.test(last + 1)) ++last;
    if (!text.empty()) text += ',';
    text += std::to_string(c);
    if (last > c) text += '-' + std::to_string(last);
    c = last;
  }
  return text;
}

CpuSet parse_cpu_list(const std::string& text) {
  CpuSet set;
  const char* p = text.c_str();
  while (*p >= '0' && *p <= '9') {
    char* end = nullptr;
    const unsigned long first = std::strtoul(p, &end, 10);
    unsigned long last = first;
    if (*end == '-' && end[1] >= '0' && end[1] <= '9') last = std::strtoul(end + 1, &end, 10);
    for (unsigned long c = first; c <= last && c < set.size(); ++c) set.set(c);
    p = end;
    if (*p != ',') break;
    ++p;
  }
  return set;
}

i32 this_thread_id() { return static_cast<i32>(::syscall(SYS_gettid)); }

void name_this_thread(const char* name) {
  char cut[16] = {};
  std::strncpy(cut, name, sizeof(cut) - 1);
  ::pthread_setname_np(::pthread_self(), cut);
}

Error pin_this_thread(int cpu) {
  if (cpu < 0 || cpu >= kMaxCpus) return Error::make("CPU %d does not exist, expected 0 to %d", cpu, kMaxCpus - 1);
  CpuSet one;
  one.set(static_cast<std::size_t>(cpu));
  if (Error e = pin_this_thread_to(one); e.failed()) return e;
  return verify_pinned(cpu);
}

Error pin_this_thread_to(const CpuSet& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int c = 0; c < kMaxCpus && c < CPU_SETSIZE; ++c)
    if (cpus.test(static_cast<std::size_t>(c))) CPU_SET(c, &set);
  if (::sched_setaffinity(0, sizeof(set), &set) != 0)
    return Error::make("cannot pin the thread to CPU %s: %s; hint: this process may use %s",
                       cpu_list_text(cpus).c_str(), std::strerror(errno), cpu_list_text(allowed_cpus()).c_str());
  // The kernel silently drops CPUs that are offline or outside the cpuset.
  const CpuSet got = allowed_cpus();
  if (got != cpus)
    return Error::make("asked for CPU %s, the kernel gave %s", cpu_list_text(cpus).c_str(), cpu_list_text(got).c_str());
  return Error::none();
}

Error verify_pinned(int cpu) {
  const CpuSet allowed = allowed_cpus();
  if (cpu < 0 || cpu >= kMaxCpus || allowed.count() != 1 || !allowed.test(static_cast<std::size_t>(cpu)))
    return Error::make("thread %d may run on CPU %s, expected %d only", this_thread_id(),
                       cpu_list_text(allowed).c_str(), cpu);
  const int now = ::sched_getcpu();
  if (now != cpu) return Error::make("thread %d runs on CPU %d, expected %d", this_thread_id(), now, cpu);
  return Error::none();
}

CpuSet allowed_cpus() { return allowed_of(0); }

std::vector<ThreadPlacement> list_threads() {
  std::vector<ThreadPlacement> threads;
  DIR* d = ::opendir("/proc/self/task");
  if (d == nullptr) return threads;
  while (const dirent* e = ::readdir(d)) {
    if (e->d_name[0] < '0' || e->d_name[0] > '9') continue;
    const std::string folder = std::string("/proc/self/task/") + e->d_name;
    const std::string stat = read_text(folder + "/stat");
    const std::size_t close_at = stat.rfind(')');
    if (close_at == std::string::npos || close_at + 2 >= stat.size()) continue;  // ended meanwhile
    ThreadPlacement t;
    t.tid = static_cast<i32>(std::strtol(e->d_name, nullptr, 10));
    std::strncpy(t.name, read_text(folder + "/comm").c_str(), sizeof(t.name) - 1);
    t.state = stat[close_at + 2];
    // proc_pid_stat(5): field 3 is the state, 39 the CPU it ran on last, 41 the policy.
    const char* p = stat.c_str() + close_at + 2;
    for (int field = 3; p != nullptr && field < 41; ++field) {
      p = std::strchr(p, ' ');
      if (p == nullptr) break;
      ++p;
      if (field + 1 == 39) t.last_cpu = static_cast<i32>(std::strtol(p, nullptr, 10));
      if (field + 1 == 41) t.policy = static_cast<i32>(std::strtol(p, nullptr, 10));
    }
    const std::string status = read_text(folder + "/status");
    t.voluntary_switches = std::strtoull(field_of(status, "voluntary_ctxt_switches").c_str(), nullptr, 10);
    t.involuntary_switches = std::strtoull(field_of(status, "nonvoluntary_ctxt_switches").c_str(), nullptr, 10);
    t.allowed = allowed_of(t.tid);
    threads.push_back(t);
  }
  ::closedir(d);
  std::sort(threads.begin(), threads.end(), [](const auto& a, const auto& b) { return a.tid < b.tid; });
  return threads;
}

std::vector<CpuPlace> cpu_topology() {
  const std::string root = "/sys/devices/system/cpu/";
  CpuSet online = parse_cpu_list(read_text(root + "online"));
  if (online.none()) online = allowed_cpus();
  const CpuSet isolated = parse_cpu_list(read_text(root + "isolated"));
  const CpuSet nohz = parse_cpu_list(read_text(root + "nohz_full"));
  CpuSet nodes[64];
  int n_nodes = 0;
  for (; n_nodes < 64; ++n_nodes) {
    const std::string list = read_text("/sys/devices/system/node/node" + std::to_string(n_nodes) + "/cpulist");
    if (list.empty()) break;
    nodes[n_nodes] = parse_cpu_list(list);
  }
  std::vector<CpuPlace> places;
  for (std::size_t c = 0; c < online.size(); ++c) {
    if (!online.test(c)) continue;
    CpuPlace p;
    p.cpu = static_cast<int>(c);
    p.siblings = parse_cpu_list(read_text(root + "cpu" + std::to_string(c) + "/topology/thread_siblings_list"));
    p.siblings.set(c);
    for (std::size_t s = 0; s < p.siblings.size(); ++s)
      if (p.siblings.test(s)) {
        p.core = static_cast<int>(s);
        break;
      }
    for (int n = 0; n < n_nodes; ++n)
      if (nodes[n].test(c)) p.numa_node = n;
    p.isolated = isolated.test(c);
    p.nohz_full = nohz.test(c);
    places.push_back(p);
  }
  return places;
}

std::vector<std::string> placement_conflicts(const std::vector<HotThread>& hot,
                                             const std::vector<ThreadPlacement>& threads,
                                             const std::vector<CpuPlace>& topology) {
  std::vector<std::string> faults;
  const auto placement = [&](i32 tid) -> const ThreadPlacement* {
    for (const ThreadPlacement& t : threads)
      if (t.tid == tid) return &t;
    return nullptr;
  };
  const auto core_of = [&](int cpu) {
    for (const CpuPlace& p : topology)
      if (p.cpu == cpu) return p.core;
    return cpu;
  };
  const auto named = [](const ThreadPlacement& t) {
    return "thread " + std::to_string(t.tid) + " '" + t.name + "'";
  };
  for (std::size_t i = 0; i < hot.size(); ++i) {
    const HotThread& h = hot[i];
    const ThreadPlacement* mine = placement(h.tid);
    if (mine == nullptr) {
      faults.push_back("hot thread " + std::to_string(h.tid) + " does not run");
      continue;
    }
    if (h.cpu < 0 || h.cpu >= kMaxCpus || mine->allowed.count() != 1 ||
        !mine->allowed.test(static_cast<std::size_t>(h.cpu)))
      faults.push_back("hot " + named(*mine) + " may run on CPU " + cpu_list_text(mine->allowed) + ", expected " +
                       std::to_string(h.cpu) + " only");
    for (std::size_t k = 0; k < i; ++k) {
      const ThreadPlacement* other = placement(hot[k].tid);
      if (other == nullptr) continue;
      if (hot[k].cpu == h.cpu)
        faults.push_back("hot " + named(*other) + " and hot " + named(*mine) + " share CPU " + std::to_string(h.cpu));
      else if (core_of(hot[k].cpu) == core_of(h.cpu))
        faults.push_back("hot " + named(*other) + " on CPU " + std::to_string(hot[k].cpu) + " and hot " + named(*mine) +
                         " on CPU " + std::to_string(h.cpu) + " share one physical core");
    }
    for (const ThreadPlacement& t : threads) {
      const bool is_hot = std::any_of(hot.begin(), hot.end(), [&](const HotThread& x) { return x.tid == t.tid; });
      if (!is_hot && h.cpu >= 0 && h.cpu < kMaxCpus && t.allowed.test(static_cast<std::size_t>(h.cpu)))
        faults.push_back(named(t) + " may run on CPU " + std::to_string(h.cpu) + ", which belongs to hot " +
                         named(*mine));
    }
  }
  return faults;
}

}  // namespace peregrine
