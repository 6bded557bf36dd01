// The vfio backend: the gateware on a PCIe card, driven from user space.
#ifndef PEREGRINE_DRIVERS_VFIO_H
#define PEREGRINE_DRIVERS_VFIO_H

#include "device.h"

extern const struct pgd_backend pgd_vfio_backend;

#endif
