// The cpu backend of device.h with a switch in a file: it answers, falls silent, or lies. For alerts that need a device
// gone wrong in an engine that trades.
//
//   byte 0 of the file named by PEREGRINE_WAYWARD:  '0' answers   '1' no answer ever comes   '2' one logit is too large
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cpu/cpu.h"

static const volatile char* mode;

static int wayward_poll(struct pgd_device* device, struct pgd_completion* c) {
  if (*mode == '1') return 0;
  const int result = pgd_cpu_backend.poll(device, c);
  if (result != 1 || *mode != '2' || c->status != PGD_STATUS_OK) return result;
  c->logits[0] += 1 << 20;
  c->action = 0;  // as a device would that believes it
  return result;
}

__attribute__((visibility("default"))) const struct pgd_backend* pgd_library_backend(void) {
  static struct pgd_backend table;
  const char* path = getenv("PEREGRINE_WAYWARD");
  const int file = path != NULL ? open(path, O_RDONLY) : -1;
  if (file < 0) return NULL;
  mode = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
  if (mode == MAP_FAILED) return NULL;
  table = pgd_cpu_backend;
  table.name = "wayward";
  table.poll = wayward_poll;
  return &table;
}
