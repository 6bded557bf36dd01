// The kernel's calls that the vfio backend makes, faked: it knows the order in which VFIO wants them, the sizes, flags and
// alignments, and writes down each breach. Behind its BARs sits a DeviceModel.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "device_model.h"

extern "C" {
#include "vfio/sys.h"
#include "vfio/uapi.h"
}

namespace fake {

// One wrong call, planted between the driver and the fake: the `nth` call of a kind is dropped or changed.
struct Mutant {
  const char* name;
  const char* call;  // "open", "mmap", ...; an ioctl by its name
  int nth;           // 0 = the first; -1 = each
  // drop: answered with success and not done. Else changes the arguments; what they are depends on the call.
  bool drop;
  void (*change)(void* arguments);
};
const std::vector<Mutant>& mutants();

struct MmapArguments { std::size_t bytes; int protection, flags; std::uint64_t offset; };
struct RangeArguments { void* at; std::size_t bytes; };
struct TransferArguments { std::uint64_t value, offset; std::size_t bytes; };
struct OpenArguments { const char* path; int flags; };

class FakeKernel {
 public:
  FakeKernel(bool iommufd, bool line_store);
  ~FakeKernel();
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;

  const pgd_sys* sys() const { return &sys_; }
  DeviceModel model;
  std::set<std::string> missing;       // what this machine lacks: see is_missing's callers
  const Mutant* mutant = nullptr;
  std::vector<std::string> breaches;

  // What is still open, mapped or pinned, and whether the device may still write memory: breaches when all is closed.
  void check_closed();
  // Calls of the kernel so far; the device's windows are none.
  std::uint64_t kernel_calls() const;

 private:
  enum class File { kContainer, kGroup, kDevice, kIommu, kEvent };
  struct Mapping { std::size_t bytes; int bar; bool locked; };  // bar -1: anonymous memory
  struct Dma { std::uint64_t bytes; u8* host; };

  static FakeKernel& self(void* context) { return *static_cast<FakeKernel*>(context); }
  void breach(const std::string& what) { breaches.push_back(what); }
  bool is_missing(const char* what) const { return missing.count(what) != 0; }
  // Applies the planted fault to this call; true = drop it.
  bool planted(const char* call, void* arguments);

  int do_open(const char* path, int flags);
  int do_close(int fd);
  int do_ioctl(int fd, unsigned long request, void* argument);
  int container_call(unsigned long request, void* argument);
  int group_call(int fd, unsigned long request, void* argument);
  int iommu_call(unsigned long request, void* argument);
  int device_call(unsigned long request, void* argument);
  int set_irqs(const pgd_irq_set& set);
  int give_info(pgd_iommu_info* info);
  int map_dma(std::uint64_t vaddr, std::uint64_t iova, std::uint64_t bytes, bool read, bool write);
  int unmap_dma(std::uint64_t iova, std::uint64_t bytes);
  int do_mmap(MmapArguments a, int fd, void** out);
  int do_munmap(void* at, std::size_t bytes);
  int link_name(const std::string& path, char* out, std::size_t bytes);
  int first_entry(const std::string& folder, char* out, std::size_t bytes);
  u32 window(const volatile void* at, int bar, u32 bytes, const char* what);
  u8* host_memory(u64 address, u64 bytes, bool write);
  int new_fd(File file);

  pgd_sys sys_{};
  bool iommufd_, line_store_, by_device_file_ = false;
  std::map<int, File> files_;
  std::map<std::string, int> calls_;
  std::map<u8*, Mapping> mappings_;
  std::map<std::uint64_t, Dma> dma_;
  std::set<std::string> done_;  // steps taken, by name
  std::uint16_t command_ = 0;
  int irq_fd_ = -1;
  int owner_ = -1;  // the container or IOMMUFD that the device is in; another may be open beside it
  std::uint64_t now_ = 0;
};

}  // namespace fake
