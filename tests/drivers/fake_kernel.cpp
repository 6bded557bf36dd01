#include "fake_kernel.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace fake {
namespace {

constexpr const char* kAddress = "0000:65:00.0";
constexpr std::uint64_t kRegionShift = 40;  // the kernel's own offsets: region index in the high bits
constexpr pgd_iova_range kAllowed[] = {{0, 0xFEDFFFFF}, {0xFEF00000, 0x7FFFFFFFFFull}};

std::string name_of(unsigned long request) {
  static const std::map<unsigned long, std::string> names = {
      {PGD_VFIO_GET_API_VERSION, "get_api_version"}, {PGD_VFIO_CHECK_EXTENSION, "check_extension"},
      {PGD_VFIO_SET_IOMMU, "set_iommu"}, {PGD_VFIO_GROUP_GET_STATUS, "group_get_status"},
      {PGD_VFIO_GROUP_SET_CONTAINER, "group_set_container"}, {PGD_VFIO_GROUP_UNSET_CONTAINER, "group_unset_container"},
      {PGD_VFIO_GROUP_GET_DEVICE_FD, "group_get_device_fd"}, {PGD_VFIO_DEVICE_GET_INFO, "device_get_info"},
      {PGD_VFIO_DEVICE_GET_REGION_INFO, "get_region_info"}, {PGD_VFIO_DEVICE_GET_IRQ_INFO, "get_irq_info"},
      {PGD_VFIO_DEVICE_SET_IRQS, "set_irqs"}, {PGD_VFIO_DEVICE_RESET, "device_reset"},
      {PGD_VFIO_IOMMU_GET_INFO, "iommu_get_info"}, {PGD_VFIO_IOMMU_MAP_DMA, "map_dma"},
      {PGD_VFIO_IOMMU_UNMAP_DMA, "unmap_dma"}, {PGD_VFIO_DEVICE_BIND_IOMMUFD, "bind_iommufd"},
      {PGD_VFIO_DEVICE_ATTACH_IOMMUFD_PT, "attach_pt"}, {PGD_IOMMU_IOAS_ALLOC, "ioas_alloc"},
      {PGD_IOMMU_IOAS_IOVA_RANGES, "ioas_iova_ranges"}, {PGD_IOMMU_IOAS_MAP, "map_dma"},
      {PGD_IOMMU_IOAS_UNMAP, "unmap_dma"}};
  const auto found = names.find(request);
  return found == names.end() ? "unknown" : found->second;
}

bool page(std::uint64_t v) { return v % 4096 == 0; }

int put_name(const char* name, char* out, std::size_t bytes) {
  if (std::strlen(name) >= bytes) return -ENAMETOOLONG;
  std::memcpy(out, name, std::strlen(name) + 1);
  return 0;
}

}  // namespace

FakeKernel::FakeKernel(bool iommufd, bool line_store) : iommufd_(iommufd), line_store_(line_store) {
  model.memory = [this](u64 address, u64 bytes, bool write) { return host_memory(address, bytes, write); };
  model.violation = [this](const std::string& what) { breach("device: " + what); };
  model.interrupt = [this] {
    const std::uint64_t one = 1;
    if (irq_fd_ >= 0 && ::write(irq_fd_, &one, sizeof one) != sizeof one) breach("interrupt lost");
  };
  sys_.context = this;
  sys_.open = [](void* c, const char* path, int flags) { return self(c).do_open(path, flags); };
  sys_.close = [](void* c, int fd) { return self(c).do_close(fd); };
  sys_.ioctl = [](void* c, int fd, unsigned long request, void* a) { return self(c).do_ioctl(fd, request, a); };
  sys_.mmap = [](void* c, std::size_t bytes, int protection, int flags, int fd, std::uint64_t offset, void** out) {
    return self(c).do_mmap({bytes, protection, flags, offset}, fd, out);
  };
  sys_.munmap = [](void* c, void* at, std::size_t bytes) { return self(c).do_munmap(at, bytes); };
  sys_.mlock = [](void* c, void* at, std::size_t bytes) {
    FakeKernel& k = self(c);
    RangeArguments a{at, bytes};
    if (k.planted("mlock", &a)) return 0;
    if (k.is_missing("memlock")) return -ENOMEM;
    const auto m = k.mappings_.find(static_cast<u8*>(a.at));
    if (m == k.mappings_.end() || m->second.bar != -1 || m->second.bytes != a.bytes) {
      k.breach("mlock of what was not mapped");
    } else {
      m->second.locked = true;
    }
    return 0;
  };
  sys_.pread = [](void* c, int fd, void* out, std::size_t bytes, std::uint64_t offset) -> std::int64_t {
    FakeKernel& k = self(c);
    TransferArguments a{0, offset, bytes};
    if (k.planted("pread", &a)) return static_cast<std::int64_t>(bytes);
    if (k.files_.count(fd) == 0 || k.files_[fd] != File::kDevice || a.offset != (7ull << kRegionShift) + 4 || a.bytes != 2) {
      k.breach("pread not of the command register");
      return -EINVAL;
    }
    std::memcpy(out, &k.command_, 2);
    return 2;
  };
  sys_.pwrite = [](void* c, int fd, const void* from, std::size_t bytes, std::uint64_t offset) -> std::int64_t {
    FakeKernel& k = self(c);
    TransferArguments a{0, offset, bytes};
    std::memcpy(&a.value, from, bytes < 8 ? bytes : 8);
    if (k.planted("pwrite", &a)) return static_cast<std::int64_t>(bytes);
    if (k.files_.count(fd) == 0 || k.files_[fd] != File::kDevice || a.offset != (7ull << kRegionShift) + 4 || a.bytes != 2) {
      k.breach("pwrite not to the command register");
      return -EINVAL;
    }
    if ((a.value & PGD_PCI_COMMAND_MASTER) != 0 && k.done_.count("device_reset") == 0) k.breach("bus master before the reset");
    if ((a.value & PGD_PCI_COMMAND_MASTER) == 0 && k.model.running() && !k.model.gone) k.breach("bus master off under a running device");
    k.command_ = static_cast<std::uint16_t>(a.value & 0x507);
    return 2;
  };
  sys_.eventfd = [](void* c, unsigned initial, int flags) {
    FakeKernel& k = self(c);
    OpenArguments a{"", flags};
    k.planted("eventfd", &a);
    if (initial != 0 || a.flags != (EFD_CLOEXEC | EFD_NONBLOCK)) k.breach("eventfd: not empty, or its flags");
    const int fd = ::eventfd(initial, a.flags);
    k.files_[fd] = File::kEvent;
    return fd;
  };
  sys_.link_name = [](void* c, const char* path, char* out, std::size_t bytes) { return self(c).link_name(path, out, bytes); };
  sys_.first_entry = [](void* c, const char* folder, const char*, char* out, std::size_t bytes) {
    return self(c).first_entry(folder, out, bytes);
  };
  sys_.now_ns = [](void* c) { return self(c).now_ += 50'000; };
  sys_.read32 = [](void* c, const volatile void* at) -> std::uint32_t {
    return self(c).model.read32(self(c).window(at, 0, 4, "read32"));
  };
  sys_.write32 = [](void* c, volatile void* at, std::uint32_t value) {
    FakeKernel& k = self(c);
    TransferArguments a{value, k.window(at, 0, 4, "write32"), 4};
    const std::string call = "write32 " + std::to_string(a.offset);
    if (k.planted(call.c_str(), &a)) return;
    k.model.write32(static_cast<u32>(a.offset), static_cast<u32>(a.value));
  };
  sys_.write64 = [](void* c, volatile void* at, std::uint64_t value) {
    FakeKernel& k = self(c);
    TransferArguments a{value, k.window(at, 2, 8, "write64"), 8};
    if (k.planted("write64", &a)) return;
    k.model.push(static_cast<u32>(a.offset), reinterpret_cast<const u8*>(&a.value), 8);
  };
  sys_.write_line = [](void* c, volatile void* at, const void* line) {
    FakeKernel& k = self(c);
    if (!k.line_store_) k.breach("a 64-byte store on a processor without it");
    TransferArguments a{0, k.window(at, 2, 64, "write_line"), 64};
    if (k.planted("write_line", &a)) return;
    k.model.push(static_cast<u32>(a.offset), static_cast<const u8*>(line), 64);
  };
  sys_.line_store = [](void* c) { return self(c).line_store_ ? 1 : 0; };
}

FakeKernel::~FakeKernel() {
  for (const auto& [at, m] : mappings_) ::munmap(at, m.bytes);
  for (const auto& [fd, file] : files_) ::close(fd);
}

bool FakeKernel::planted(const char* call, void* arguments) {
  const int number = calls_[call]++;
  if (mutant == nullptr || std::strcmp(mutant->call, call) != 0 || (mutant->nth >= 0 && mutant->nth != number)) return false;
  if (mutant->change != nullptr) mutant->change(arguments);
  return mutant->drop;
}

int FakeKernel::new_fd(File file) {
  const int fd = ::memfd_create("fake", MFD_CLOEXEC);  // of a device: its windows lie in it
  if (file == File::kDevice && ::ftruncate(fd, 2 * 4096) != 0) return -EIO;
  files_[fd] = file;
  return fd;
}

int FakeKernel::do_open(const char* path, int flags) {
  OpenArguments a{path, flags};
  if (planted("open", &a)) return -EIO;
  const std::string p = a.path;
  const File file = p == "/dev/vfio/vfio" ? File::kContainer : p == "/dev/vfio/12" ? File::kGroup
                    : p == "/dev/iommu"   ? File::kIommu     : File::kDevice;
  if (is_missing(p.c_str()) || (file == File::kIommu && !iommufd_)) return -ENOENT;
  if (file == File::kDevice && p != "/dev/vfio/devices/vfio3") return -ENOENT;
  if (is_missing(("permission " + p).c_str())) return -EACCES;
  if (a.flags != (O_RDWR | O_CLOEXEC)) breach("open " + p + ": flags");
  for (const auto& [fd, other] : files_) {
    if (other == file && (file == File::kGroup || file == File::kDevice)) return -EBUSY;
  }
  by_device_file_ = by_device_file_ || file == File::kDevice;
  return new_fd(file);
}

int FakeKernel::do_close(int fd) {
  if (planted("close", nullptr)) return 0;
  if (files_.count(fd) == 0) {
    breach("close of what is not open");
    return -EBADF;
  }
  const File file = files_[fd];
  if (file == File::kDevice) {
    if (model.running()) breach("device closed while it runs");
    if ((command_ & PGD_PCI_COMMAND_MASTER) != 0) breach("device closed with bus mastering on");
    if (irq_fd_ >= 0) breach("device closed with its interrupt bound");
    for (const auto& [at, m] : mappings_) {
      if (m.bar >= 0) breach("device closed with a window mapped");
    }
    for (const char* step : {"bind", "attach", "info", "device_reset"}) done_.erase(step);
  }
  if (file == File::kEvent && fd == irq_fd_) breach("eventfd closed while the interrupt is bound to it");
  if (file == File::kGroup && done_.count("group_set_container") != 0) breach("group closed while in a container");
  if (fd == owner_) {
    if (!dma_.empty()) breach("container closed with memory mapped");
    owner_ = -1;
    done_.clear();
  }
  files_.erase(fd);
  return ::close(fd);
}

int FakeKernel::do_ioctl(int fd, unsigned long request, void* argument) {
  const std::string name = name_of(request);
  if (planted(name.c_str(), argument)) return 0;
  if (files_.count(fd) == 0) {
    breach(name + ": on what is not open");
    return -EBADF;
  }
  switch (files_[fd]) {
    case File::kContainer: return container_call(request, argument);
    case File::kGroup: return group_call(fd, request, argument);
    case File::kIommu: return iommu_call(request, argument);
    case File::kDevice: return device_call(request, argument);
    default: break;
  }
  breach(name + ": on the wrong file");
  return -ENOTTY;
}

int FakeKernel::map_dma(std::uint64_t vaddr, std::uint64_t iova, std::uint64_t bytes, bool read, bool write) {
  if (!page(vaddr) || !page(iova) || !page(bytes) || bytes == 0) {
    breach("map_dma: not whole pages");
    return -EINVAL;
  }
  if (!read || !write) breach("map_dma: the rings are read and written");
  bool inside = false;
  for (const pgd_iova_range& r : kAllowed) inside = inside || (iova >= r.start && iova + bytes - 1 <= r.last);
  if (!inside) return -EINVAL;
  for (const auto& [at, d] : dma_) {
    if (iova < at + d.bytes && at < iova + bytes) return -EEXIST;
  }
  u8* host = reinterpret_cast<u8*>(vaddr);
  const auto m = mappings_.find(host);
  if (m == mappings_.end() || m->second.bytes != bytes || m->second.bar != -1) {
    breach("map_dma: of memory that is not the driver's");
    return -EFAULT;
  }
  if (!m->second.locked) breach("map_dma: of memory that is not locked");
  if (is_missing("pinned")) return -ENOMEM;
  dma_[iova] = {bytes, host};
  return 0;
}

int FakeKernel::unmap_dma(std::uint64_t iova, std::uint64_t bytes) {
  const auto d = dma_.find(iova);
  if (d == dma_.end() || d->second.bytes != bytes) {
    breach("unmap_dma: of what is not mapped");
    return -ENOENT;
  }
  if (model.running()) breach("memory taken from a running device");
  if ((command_ & PGD_PCI_COMMAND_MASTER) != 0) breach("memory taken while the device may master the bus");
  dma_.erase(d);
  return 0;
}

int FakeKernel::do_mmap(MmapArguments a, int fd, void** out) {
  if (planted("mmap", &a)) return -ENOMEM;
  int bar = -1;
  if (fd >= 0) {
    const std::uint64_t index = a.offset >> kRegionShift;
    if (files_.count(fd) == 0 || files_[fd] != File::kDevice || (index != 0 && index != 2) || a.offset % (1ull << kRegionShift) != 0 || a.bytes != 4096) {
      breach("mmap: not of a whole window");
      return -EINVAL;
    }
    if (a.protection != (PROT_READ | PROT_WRITE) || a.flags != MAP_SHARED) breach("mmap: a window wants read, write, shared");
    bar = static_cast<int>(index);
    a.offset = static_cast<std::uint64_t>(bar / 2) * 4096;
  } else if ((a.flags & (MAP_PRIVATE | MAP_ANONYMOUS)) != (MAP_PRIVATE | MAP_ANONYMOUS) || a.protection != (PROT_READ | PROT_WRITE)) {
    breach("mmap: memory wants private, anonymous, read, write");
  }
  void* at = ::mmap(nullptr, a.bytes, PROT_READ | PROT_WRITE, a.flags, fd, static_cast<off_t>(a.offset));
  if (at == MAP_FAILED) return -errno;
  mappings_[static_cast<u8*>(at)] = {a.bytes, bar, false};
  *out = at;
  return 0;
}

int FakeKernel::do_munmap(void* at, std::size_t bytes) {
  RangeArguments a{at, bytes};
  if (planted("munmap", &a)) return 0;
  const auto m = mappings_.find(static_cast<u8*>(a.at));
  if (m == mappings_.end() || m->second.bytes != a.bytes) {
    breach("munmap of what is not mapped so");
    return -EINVAL;
  }
  for (const auto& [iova, d] : dma_) {
    if (d.host == m->first) breach("memory given back while the device can reach it");
  }
  mappings_.erase(m);
  return ::munmap(a.at, a.bytes);
}

int FakeKernel::link_name(const std::string& path, char* out, std::size_t bytes) {
  const std::string folder = std::string("/sys/bus/pci/devices/") + kAddress + "/";
  if (path == folder + "iommu_group" && !is_missing("group")) return put_name("12", out, bytes);
  if (path == folder + "driver" && !is_missing("driver")) return put_name(is_missing("vfio-pci") ? "xdma" : "vfio-pci", out, bytes);
  if (path == folder + "subsystem") return put_name("pci", out, bytes);
  return -ENOENT;
}

int FakeKernel::first_entry(const std::string& folder, char* out, std::size_t bytes) {
  if (folder == "/sys/kernel/iommu_groups" && !is_missing("iommu")) return put_name("0", out, bytes);
  if (folder == std::string("/sys/bus/pci/devices/") + kAddress + "/vfio-dev" && iommufd_) return put_name("vfio3", out, bytes);
  return -ENOENT;
}

u32 FakeKernel::window(const volatile void* at, int bar, u32 bytes, const char* what) {
  u8* p = const_cast<u8*>(static_cast<const volatile u8*>(at));
  for (const auto& [start, m] : mappings_) {
    if (m.bar != bar || p < start || p + bytes > start + m.bytes) continue;
    if ((command_ & PGD_PCI_COMMAND_MEMORY) == 0) breach(std::string(what) + ": memory space is off");
    if ((p - start) % bytes != 0) breach(std::string(what) + ": not aligned");
    return static_cast<u32>(p - start);
  }
  breach(std::string(what) + ": outside the window");
  return 0;
}

u8* FakeKernel::host_memory(u64 address, u64 bytes, bool) {
  if ((command_ & PGD_PCI_COMMAND_MASTER) == 0) {
    breach("the device wants memory and is no bus master");
    return nullptr;
  }
  for (const auto& [iova, d] : dma_) {
    if (address >= iova && address + bytes <= iova + d.bytes) return d.host + (address - iova);
  }
  return nullptr;
}

std::uint64_t FakeKernel::kernel_calls() const {
  std::uint64_t n = 0;
  for (const auto& [name, count] : calls_) n += name.rfind("write", 0) == 0 ? 0 : static_cast<std::uint64_t>(count);
  return n;
}

void FakeKernel::check_closed() {
  if (!files_.empty()) breach("left open: " + std::to_string(files_.size()) + " files");
  if (!mappings_.empty()) breach("left mapped: " + std::to_string(mappings_.size()) + " pieces");
  if (!dma_.empty()) breach("left reachable: " + std::to_string(dma_.size()) + " pieces");
  if (model.running()) breach("left running");
}

}  // namespace fake
