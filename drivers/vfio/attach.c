#include "vfio/attach.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define PATH 160

static int call(struct pgd_attach* a, int fd, unsigned long request, void* argument) {
  return a->sys->ioctl(a->sys->context, fd, request, argument);
}

int pgd_refuse_errno(int error, struct pgd_reason* reason, const char* what, const char* path) {
  switch (-error) {
    case EACCES:
    case EPERM:
      return pgd_refuse(PGD_E_PERMISSION, reason, "give this user the file: a udev rule, or chown it", "%s %s: not permitted",
                        what, path);
    case EBUSY: return pgd_refuse(PGD_E_BUSY, reason, "close the program that has it", "%s %s: in use elsewhere", what, path);
    case ENOMEM:
      return pgd_refuse(PGD_E_MEMORY, reason, "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit",
                        "%s %s: no memory, or more than may be locked", what, path);
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return pgd_refuse(PGD_E_UNAVAILABLE, reason, "modprobe vfio-pci", "%s %s: not there", what, path);
    default: return pgd_refuse(PGD_E_IO, reason, "", "%s %s: error %d", what, path, -error);
  }
}

// dddd:bb:dd.f, hexadecimal: nothing else may become part of a path
static bool is_address(const char* a) {
  static const char form[] = "xxxx:xx:xx.x";
  if (a == NULL || strlen(a) != sizeof form - 1) return false;
  for (size_t i = 0; i < sizeof form - 1; ++i) {
    if (form[i] == 'x' ? !isxdigit((unsigned char)a[i]) : a[i] != form[i]) return false;
  }
  return true;
}

int pgd_attach_look(const struct pgd_sys* sys, const char* address, struct pgd_reason* reason) {
  char path[PATH], name[64];
  if (sys->first_entry(sys->context, "/sys/kernel/iommu_groups", "", name, sizeof name) != 0) {
    return pgd_refuse(PGD_E_UNAVAILABLE, reason,
                      "switch on VT-d or AMD-Vi in the firmware and boot with intel_iommu=on or amd_iommu=on",
                      "no IOMMU: /sys/kernel/iommu_groups has no group");
  }
  if (address == NULL) {
    return pgd_refuse(PGD_E_UNAVAILABLE, reason, "give a PCI address, e.g. 0000:65:00.0 (lspci -D)", "no device named");
  }
  if (!is_address(address)) {
    return pgd_refuse(PGD_E_INVALID, reason, "as lspci -D shows it, e.g. 0000:65:00.0", "not a PCI address: %.40s", address);
  }
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", address);
  if (sys->link_name(sys->context, path, name, sizeof name) != 0) {
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/subsystem", address);
    if (sys->link_name(sys->context, path, name, sizeof name) != 0) {
      return pgd_refuse(PGD_E_UNAVAILABLE, reason, "lspci -D lists what is there", "%s: no such PCI device", address);
    }
    return pgd_refuse(PGD_E_UNAVAILABLE, reason, "put it into a slot behind the IOMMU", "%s: in no IOMMU group", address);
  }
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/driver", address);
  const bool bound = sys->link_name(sys->context, path, name, sizeof name) == 0;
  if (!bound || strcmp(name, "vfio-pci") != 0) {
    return pgd_refuse(PGD_E_UNAVAILABLE, reason,
                      "echo vfio-pci > /sys/bus/pci/devices/<address>/driver_override; unbind it; echo <address> > "
                      "/sys/bus/pci/drivers_probe",
                      "%s: bound to %s, not to vfio-pci", address, bound ? name : "no driver");
  }
  return PGD_OK;
}

// kernel 6.6 on: /dev/vfio/devices/vfioN, an IOMMUFD, and an address space in it
static int open_by_iommufd(struct pgd_attach* a, const char* name, struct pgd_reason* reason) {
  char path[PATH];
  snprintf(path, sizeof path, "/dev/vfio/devices/%s", name);
  a->device = a->sys->open(a->sys->context, path, O_RDWR | O_CLOEXEC);
  if (a->device < 0) return pgd_refuse_errno(a->device, reason, "open", path);
  struct pgd_bind_iommufd bind = {sizeof bind, 0, a->container, 0};
  int result = call(a, a->device, PGD_VFIO_DEVICE_BIND_IOMMUFD, &bind);
  if (result < 0) return pgd_refuse_errno(result, reason, "bind to /dev/iommu", path);
  struct pgd_ioas_alloc alloc = {sizeof alloc, 0, 0};
  result = call(a, a->container, PGD_IOMMU_IOAS_ALLOC, &alloc);
  if (result < 0) return pgd_refuse_errno(result, reason, "make an address space in", "/dev/iommu");
  a->ioas = alloc.out_ioas_id;
  struct pgd_attach_pt attach = {sizeof attach, 0, a->ioas};
  result = call(a, a->device, PGD_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
  if (result < 0) return pgd_refuse_errno(result, reason, "attach to the address space", path);
  struct pgd_iova_range ranges[PGD_IOVA_RANGES];
  struct pgd_ioas_ranges ask = {sizeof ask, a->ioas, PGD_IOVA_RANGES, 0, (uintptr_t)ranges, 0};
  result = call(a, a->container, PGD_IOMMU_IOAS_IOVA_RANGES, &ask);
  if (result < 0 && result != -EMSGSIZE) return pgd_refuse_errno(result, reason, "read the ranges of", "/dev/iommu");
  const uint32_t n = result < 0 || ask.num_iovas > PGD_IOVA_RANGES ? 0 : ask.num_iovas;
  for (uint32_t i = 0; i < n; ++i) pgd_iova_allow(&a->iova, ranges[i].start, ranges[i].last);
  if (n == 0) pgd_iova_default(&a->iova);
  return PGD_OK;
}

// The ranges stand in a chain of capabilities behind the answer, for which the kernel first says how long it is.
static int read_ranges(struct pgd_attach* a) {
  _Alignas(8) unsigned char answer[1024];
  struct pgd_iommu_info info = {.argsz = sizeof info};
  int result = call(a, a->container, PGD_VFIO_IOMMU_GET_INFO, &info);
  if (result < 0) return result;
  if (info.argsz <= sizeof info || info.argsz > sizeof answer) return 0;
  const struct pgd_iommu_info again = {.argsz = info.argsz};
  memset(answer, 0, sizeof answer);
  memcpy(answer, &again, sizeof again);
  result = call(a, a->container, PGD_VFIO_IOMMU_GET_INFO, answer);
  if (result < 0) return result;
  memcpy(&info, answer, sizeof info);
  uint32_t at = (info.flags & PGD_IOMMU_INFO_CAPS) != 0 ? info.cap_offset : 0;
  for (uint32_t steps = 0; at != 0 && at + sizeof(struct pgd_cap_ranges) <= sizeof answer && steps < 32; ++steps) {
    struct pgd_cap_ranges cap;
    memcpy(&cap, answer + at, sizeof cap);
    for (uint32_t i = 0; cap.header.id == PGD_IOMMU_CAP_RANGES && i < cap.count && i < PGD_IOVA_RANGES; ++i) {
      struct pgd_iova_range range;
      const size_t from = at + sizeof cap + i * sizeof range;
      if (from + sizeof range > sizeof answer) break;
      memcpy(&range, answer + from, sizeof range);
      pgd_iova_allow(&a->iova, range.start, range.last);
    }
    at = cap.header.next;
  }
  return 0;
}

static int open_by_group(struct pgd_attach* a, const char* address, const char* number, struct pgd_reason* reason) {
  char path[PATH];
  a->container = a->sys->open(a->sys->context, "/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
  if (a->container < 0) return pgd_refuse_errno(a->container, reason, "open", "/dev/vfio/vfio");
  if (call(a, a->container, PGD_VFIO_GET_API_VERSION, NULL) != PGD_VFIO_API_VERSION ||
      call(a, a->container, PGD_VFIO_CHECK_EXTENSION, (void*)(uintptr_t)PGD_VFIO_TYPE1V2_IOMMU) != 1) {
    return pgd_refuse(PGD_E_UNAVAILABLE, reason, "modprobe vfio_iommu_type1", "this kernel's vfio has no type 1 IOMMU");
  }
  snprintf(path, sizeof path, "/dev/vfio/%s", number);
  a->group = a->sys->open(a->sys->context, path, O_RDWR | O_CLOEXEC);
  if (a->group < 0) return pgd_refuse_errno(a->group, reason, "open", path);
  struct pgd_group_status status = {sizeof status, 0};
  int result = call(a, a->group, PGD_VFIO_GROUP_GET_STATUS, &status);
  if (result < 0) return pgd_refuse_errno(result, reason, "status of", path);
  if ((status.flags & PGD_GROUP_VIABLE) == 0) {
    return pgd_refuse(PGD_E_UNAVAILABLE, reason, "bind every device of the group to vfio-pci",
                      "IOMMU group %s has other devices in use", number);
  }
  result = call(a, a->group, PGD_VFIO_GROUP_SET_CONTAINER, &a->container);
  if (result < 0) return pgd_refuse_errno(result, reason, "put into a container", path);
  a->container_set = true;
  result = call(a, a->container, PGD_VFIO_SET_IOMMU, (void*)(uintptr_t)PGD_VFIO_TYPE1V2_IOMMU);
  if (result < 0) return pgd_refuse_errno(result, reason, "set the IOMMU of", path);
  result = read_ranges(a);
  if (result < 0) return pgd_refuse_errno(result, reason, "read the ranges of", path);
  if (a->iova.n_allowed == 0) pgd_iova_default(&a->iova);
  char name[16];
  snprintf(name, sizeof name, "%s", address);
  a->device = call(a, a->group, PGD_VFIO_GROUP_GET_DEVICE_FD, name);
  if (a->device < 0) return pgd_refuse_errno(a->device, reason, "open", address);
  return PGD_OK;
}

int pgd_attach_open(struct pgd_attach* a, const struct pgd_sys* sys, const char* address, struct pgd_reason* reason) {
  *a = (struct pgd_attach){.sys = sys, .device = -1, .group = -1, .container = -1};
  int result = pgd_attach_look(sys, address, reason);
  if (result != PGD_OK) return result;
  char path[PATH], name[64];
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/vfio-dev", address);
  if (sys->first_entry(sys->context, path, "vfio", name, sizeof name) == 0) {
    a->container = sys->open(sys->context, "/dev/iommu", O_RDWR | O_CLOEXEC);
    a->by_iommufd = a->container >= 0;
  }
  if (a->by_iommufd) {
    result = open_by_iommufd(a, name, reason);
  } else {
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", address);
    result = sys->link_name(sys->context, path, name, sizeof name);
    result = result < 0 ? pgd_refuse_errno(result, reason, "read", path) : open_by_group(a, address, name, reason);
  }
  if (result != PGD_OK) pgd_attach_close(a);
  return result;
}

void pgd_attach_close(struct pgd_attach* a) {
  const struct pgd_sys* sys = a->sys;
  if (a->device >= 0) sys->close(sys->context, a->device);
  if (a->container_set) call(a, a->group, PGD_VFIO_GROUP_UNSET_CONTAINER, NULL);
  if (a->group >= 0) sys->close(sys->context, a->group);
  if (a->container >= 0) sys->close(sys->context, a->container);
  a->device = a->group = a->container = -1;
  a->container_set = false;
}

int pgd_attach_map(struct pgd_attach* a, void* host, uint64_t bytes, uint64_t* address, struct pgd_reason* reason) {
  const uint64_t iova = pgd_iova_take(&a->iova, bytes);
  if (iova == 0) return pgd_refuse(PGD_E_MEMORY, reason, "", "no room for %llu bytes of device addresses", (unsigned long long)bytes);
  int result;
  if (a->by_iommufd) {
    struct pgd_ioas_map map = {sizeof map, PGD_IOAS_FIXED | PGD_IOAS_READ | PGD_IOAS_WRITE, a->ioas, 0, (uintptr_t)host, bytes, iova};
    result = call(a, a->container, PGD_IOMMU_IOAS_MAP, &map);
  } else {
    struct pgd_dma_map map = {sizeof map, PGD_DMA_READ | PGD_DMA_WRITE, (uintptr_t)host, iova, bytes};
    result = call(a, a->container, PGD_VFIO_IOMMU_MAP_DMA, &map);
  }
  if (result < 0) {
    pgd_iova_give(&a->iova, iova);
    return pgd_refuse_errno(result, reason, "map memory for", "the device");
  }
  *address = iova;
  return PGD_OK;
}

void pgd_attach_unmap(struct pgd_attach* a, uint64_t address, uint64_t bytes) {
  if (a->by_iommufd) {
    struct pgd_ioas_unmap unmap = {sizeof unmap, a->ioas, address, bytes};
    call(a, a->container, PGD_IOMMU_IOAS_UNMAP, &unmap);
  } else {
    struct pgd_dma_unmap unmap = {sizeof unmap, 0, address, bytes};
    call(a, a->container, PGD_VFIO_IOMMU_UNMAP_DMA, &unmap);
  }
  pgd_iova_give(&a->iova, address);
}
