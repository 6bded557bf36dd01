// The ioctls of the fake kernel: what each wants of its argument, and which must have come before it.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fake_kernel.h"

namespace fake {
namespace {

constexpr std::uint64_t kRegionShift = 40;
constexpr pgd_iova_range kAllowed[] = {{0, 0xFEDFFFFF}, {0xFEF00000, 0x7FFFFFFFFFull}};
constexpr u32 kIoas = 5;

template <class T>
bool sized(const T& v) {
  u32 bytes = 0;
  std::memcpy(&bytes, &v, 4);  // argsz or size: the first word of each
  return bytes == sizeof(T);
}

}  // namespace

int FakeKernel::container_call(unsigned long request, void* argument) {
  switch (request) {
    case PGD_VFIO_GET_API_VERSION: done_.insert("version"); return PGD_VFIO_API_VERSION;
    case PGD_VFIO_CHECK_EXTENSION:
      if (done_.count("version") == 0) breach("check_extension before get_api_version");
      done_.insert("extension");
      return reinterpret_cast<std::uintptr_t>(argument) == PGD_VFIO_TYPE1V2_IOMMU && !is_missing("type1") ? 1 : 0;
    case PGD_VFIO_SET_IOMMU:
      if (done_.count("extension") == 0) breach("set_iommu before check_extension");
      if (done_.count("group_set_container") == 0 || reinterpret_cast<std::uintptr_t>(argument) != PGD_VFIO_TYPE1V2_IOMMU) return -EINVAL;
      done_.insert("set_iommu");
      return 0;
    case PGD_VFIO_IOMMU_GET_INFO:
      if (done_.count("set_iommu") == 0) return -EINVAL;
      return give_info(static_cast<pgd_iommu_info*>(argument));
    case PGD_VFIO_IOMMU_MAP_DMA: {
      const auto& map = *static_cast<const pgd_dma_map*>(argument);
      if (!sized(map) || (map.flags & ~3u) != 0 || done_.count("set_iommu") == 0) return -EINVAL;
      return map_dma(map.vaddr, map.iova, map.size, (map.flags & PGD_DMA_READ) != 0, (map.flags & PGD_DMA_WRITE) != 0);
    }
    case PGD_VFIO_IOMMU_UNMAP_DMA: {
      const auto& unmap = *static_cast<const pgd_dma_unmap*>(argument);
      if (!sized(unmap) || unmap.flags != 0) {
        breach("unmap_dma: size or flags");
        return -EINVAL;
      }
      return unmap_dma(unmap.iova, unmap.size);
    }
    default: breach("a call that a container does not have"); return -ENOTTY;
  }
}

int FakeKernel::give_info(pgd_iommu_info* info) {
  constexpr u32 kWhole = sizeof(pgd_iommu_info) + sizeof(pgd_cap_ranges) + sizeof kAllowed;
  if (info->argsz < sizeof(pgd_iommu_info)) return -EINVAL;
  const u32 room = info->argsz;
  *info = {kWhole, room >= kWhole ? PGD_IOMMU_INFO_CAPS | 1u : 1u, 4096, room >= kWhole ? static_cast<u32>(sizeof *info) : 0u, 0};
  if (room < kWhole) return 0;
  const pgd_cap_header header{PGD_IOMMU_CAP_RANGES, 1, 0};
  const u32 count[2] = {2, 0};
  u8* at = reinterpret_cast<u8*>(info + 1);
  std::memcpy(at, &header, sizeof header);
  std::memcpy(at + 8, count, sizeof count);
  std::memcpy(at + 16, kAllowed, sizeof kAllowed);
  return 0;
}

int FakeKernel::group_call(int fd, unsigned long request, void* argument) {
  switch (request) {
    case PGD_VFIO_GROUP_GET_STATUS: {
      auto& status = *static_cast<pgd_group_status*>(argument);
      if (!sized(status)) return -EINVAL;
      status.flags = is_missing("viable") ? 0 : PGD_GROUP_VIABLE;
      done_.insert("status");
      return 0;
    }
    case PGD_VFIO_GROUP_SET_CONTAINER: {
      if (done_.count("status") == 0) breach("group_set_container before group_get_status");
      const int container = *static_cast<const int*>(argument);
      if (files_.count(container) == 0 || files_[container] != File::kContainer) return -EINVAL;
      done_.insert("group_set_container");
      owner_ = container;
      return 0;
    }
    case PGD_VFIO_GROUP_UNSET_CONTAINER:
      if (done_.erase("group_set_container") == 0) breach("group_unset_container without one");
      return 0;
    case PGD_VFIO_GROUP_GET_DEVICE_FD: {
      if (done_.count("set_iommu") == 0) return -EINVAL;
      if (std::strcmp(static_cast<const char*>(argument), "0000:65:00.0") != 0) return -ENODEV;
      const std::set<std::string> kept = done_;
      const int device = new_fd(File::kDevice);
      done_ = kept;
      return device;
    }
    default: breach("a call that a group does not have"); return -ENOTTY;
  }
}

int FakeKernel::iommu_call(unsigned long request, void* argument) {
  switch (request) {
    case PGD_IOMMU_IOAS_ALLOC: {
      auto& alloc = *static_cast<pgd_ioas_alloc*>(argument);
      if (!sized(alloc) || alloc.flags != 0) return -EINVAL;
      alloc.out_ioas_id = kIoas;
      done_.insert("ioas");
      return 0;
    }
    case PGD_IOMMU_IOAS_IOVA_RANGES: {
      auto& ranges = *static_cast<pgd_ioas_ranges*>(argument);
      if (!sized(ranges) || ranges.reserved != 0 || ranges.ioas_id != kIoas) return -EINVAL;
      if (done_.count("attach") == 0) breach("ioas_iova_ranges before the device narrows them");
      const u32 room = ranges.num_iovas;
      ranges.num_iovas = 2;
      ranges.out_iova_alignment = 4096;
      if (room < 2) return -EMSGSIZE;
      std::memcpy(reinterpret_cast<void*>(ranges.allowed_iovas), kAllowed, sizeof kAllowed);
      return 0;
    }
    case PGD_IOMMU_IOAS_MAP: {
      const auto& map = *static_cast<const pgd_ioas_map*>(argument);
      if (!sized(map) || map.reserved != 0 || map.ioas_id != kIoas) return -EINVAL;
      if ((map.flags & PGD_IOAS_FIXED) == 0) breach("ioas_map: the address is the driver's to choose, and must be fixed");
      if (done_.count("attach") == 0) breach("ioas_map before attach");
      return map_dma(map.user_va, map.iova, map.length, (map.flags & PGD_IOAS_READ) != 0, (map.flags & PGD_IOAS_WRITE) != 0);
    }
    case PGD_IOMMU_IOAS_UNMAP: {
      const auto& unmap = *static_cast<const pgd_ioas_unmap*>(argument);
      if (!sized(unmap) || unmap.ioas_id != kIoas) {
        breach("ioas_unmap: size or address space");
        return -EINVAL;
      }
      return unmap_dma(unmap.iova, unmap.length);
    }
    default: breach("a call that an IOMMUFD does not have"); return -ENOTTY;
  }
}

int FakeKernel::device_call(unsigned long request, void* argument) {
  if (by_device_file_ && request != PGD_VFIO_DEVICE_BIND_IOMMUFD && done_.count("bind") == 0) return -EINVAL;
  switch (request) {
    case PGD_VFIO_DEVICE_BIND_IOMMUFD: {
      auto& bind = *static_cast<pgd_bind_iommufd*>(argument);
      if (!sized(bind) || bind.flags != 0 || files_.count(bind.iommufd) == 0 || files_[bind.iommufd] != File::kIommu) return -EINVAL;
      bind.out_devid = 1;
      owner_ = bind.iommufd;
      done_.insert("bind");
      return 0;
    }
    case PGD_VFIO_DEVICE_ATTACH_IOMMUFD_PT: {
      const auto& attach = *static_cast<const pgd_attach_pt*>(argument);
      if (!sized(attach) || attach.flags != 0 || attach.pt_id != kIoas || done_.count("ioas") == 0) return -EINVAL;
      done_.insert("attach");
      return 0;
    }
    case PGD_VFIO_DEVICE_GET_INFO: {
      auto& info = *static_cast<pgd_device_info*>(argument);
      if (info.argsz < 16) return -EINVAL;
      info.flags = PGD_DEVICE_PCI | PGD_DEVICE_RESETS;
      info.num_regions = 9;
      info.num_irqs = 5;
      done_.insert("info");
      return 0;
    }
    case PGD_VFIO_DEVICE_RESET:
      if (done_.count("info") == 0) breach("device_reset before it is known to have one");
      model.power_on();
      command_ = 0;
      done_.insert("device_reset");
      return 0;
    case PGD_VFIO_DEVICE_GET_REGION_INFO: {
      auto& info = *static_cast<pgd_region_info*>(argument);
      if (!sized(info) || (info.index != 0 && info.index != 2 && info.index != 7)) return -EINVAL;
      info.flags = PGD_REGION_READ | PGD_REGION_WRITE | (info.index == 7 || is_missing("mmap") ? 0 : PGD_REGION_MMAP);
      info.size = info.index == 7 ? 4096 : is_missing("small bar") ? 2048 : 65536;
      info.offset = static_cast<std::uint64_t>(info.index) << kRegionShift;
      return 0;
    }
    case PGD_VFIO_DEVICE_GET_IRQ_INFO: {
      auto& info = *static_cast<pgd_irq_info*>(argument);
      if (!sized(info) || info.index != PGD_IRQ_MSIX) return -EINVAL;
      info.flags = PGD_IRQ_EVENTFD | 8u;
      info.count = is_missing("msix") ? 0 : 1;
      return 0;
    }
    case PGD_VFIO_DEVICE_SET_IRQS: return set_irqs(*static_cast<const pgd_irq_set*>(argument));
    default: breach("a call that a device does not have"); return -ENOTTY;
  }
}

int FakeKernel::set_irqs(const pgd_irq_set& set) {
  const bool off = set.count == 0;
  const u32 bytes = sizeof(pgd_irq_set) - (off ? 4 : 0), flags = (off ? PGD_IRQ_SET_NONE : PGD_IRQ_SET_EVENTFD) | PGD_IRQ_SET_TRIGGER;
  if (set.argsz != bytes || set.flags != flags || set.index != PGD_IRQ_MSIX || set.start != 0 || set.count > 1 ||
      (!off && (files_.count(set.fd) == 0 || files_[set.fd] != File::kEvent))) {
    breach("set_irqs: what it was given");
    return -EINVAL;
  }
  irq_fd_ = off ? -1 : set.fd;
  return 0;
}

}  // namespace fake
