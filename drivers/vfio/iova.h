// Device addresses (IOVA): which are allowed, which are taken. First fit over the allowed ranges, whole pages.
#ifndef PEREGRINE_DRIVERS_IOVA_H
#define PEREGRINE_DRIVERS_IOVA_H

#include <stdint.h>

#include "vfio/uapi.h"

#define PGD_IOVA_RANGES 16u
#define PGD_IOVA_PIECES 8u
#define PGD_IOVA_LOWEST 0x100000u  // 0 is kept out so that it can mean none; below 1 MiB lie a PC's legacy windows

struct pgd_iova {
  uint32_t n_allowed, n_taken;
  struct pgd_iova_range allowed[PGD_IOVA_RANGES];  // as the kernel gave them; any order
  struct pgd_iova_range taken[PGD_IOVA_PIECES];    // in order of address
};

// What is allowed where the kernel does not say: all of 32 bits but the window of message-signalled interrupts.
void pgd_iova_default(struct pgd_iova* iova);
// Adds an allowed range; ones that do not fit into the list are left out.
void pgd_iova_allow(struct pgd_iova* iova, uint64_t start, uint64_t last);
// `bytes` (a multiple of 4096) from an address that is a multiple of 4096; 0 = no room.
uint64_t pgd_iova_take(struct pgd_iova* iova, uint64_t bytes);
// Gives back what take gave. Nothing happens for an address that it did not.
void pgd_iova_give(struct pgd_iova* iova, uint64_t start);

#endif
