// From a PCI address to an open device whose memory mappings go through an IOMMU: by the device's own file and IOMMUFD
// where the kernel has them, else by group and container.
#ifndef PEREGRINE_DRIVERS_ATTACH_H
#define PEREGRINE_DRIVERS_ATTACH_H

#include <stdbool.h>

#include "core/common.h"
#include "vfio/iova.h"
#include "vfio/sys.h"

struct pgd_attach {
  const struct pgd_sys* sys;
  int device, group, container;  // container: of the group way, or the IOMMUFD; -1 = not open
  bool by_iommufd, container_set;
  uint32_t ioas;
  struct pgd_iova iova;
};

// Looks at what can be seen without opening anything: address, driver, IOMMU group.
int pgd_attach_look(const struct pgd_sys* sys, const char* address, struct pgd_reason* reason);
// Opens; on an error everything is closed again.
int pgd_attach_open(struct pgd_attach* attach, const struct pgd_sys* sys, const char* address, struct pgd_reason* reason);
void pgd_attach_close(struct pgd_attach* attach);

// Lets the device read and write `bytes` (whole pages) at `host`; *address is where it sees them.
int pgd_attach_map(struct pgd_attach* attach, void* host, uint64_t bytes, uint64_t* address, struct pgd_reason* reason);
void pgd_attach_unmap(struct pgd_attach* attach, uint64_t address, uint64_t bytes);

// A refusal for an errno: permission, busy or io, with a hint where one fits.
int pgd_refuse_errno(int error, struct pgd_reason* reason, const char* what, const char* path);

#endif
