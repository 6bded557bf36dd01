// The cpu backend: device.h answered by a kernel of the host.
#ifndef PEREGRINE_DRIVERS_CPU_H
#define PEREGRINE_DRIVERS_CPU_H

#include "device.h"

extern const struct pgd_backend pgd_cpu_backend;

#endif
