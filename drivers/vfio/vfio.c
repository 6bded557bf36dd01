// A PCIe function under vfio-pci: its windows mapped, memory it may reach, one MSI-X vector, and the core driver on top.
//
//   attach  ->  reset  ->  bus master on  ->  map BAR0, BAR2  ->  identify  ->  memory, locked and mapped  ->  MSI-X
//   ->  start          close goes the same way back; the device is stopped before its memory is taken from it
#include "vfio/vfio.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "core/core.h"
#include "vfio/attach.h"

#define PATIENCE_NS 1000000000u

struct pgd_device {
  struct pgd_core core;
  struct pgd_attach attach;
  const struct pgd_sys* sys;
  unsigned char *csr, *push;  // the mapped windows
  uint64_t csr_bytes, push_bytes, config_offset, memory_bytes;
  int event;       // eventfd; -1 = none
  bool irq_set;    // the vector is bound to it
  bool mastering;  // bus mastering is on
  bool started, line_store;
};

static int call(struct pgd_device* d, unsigned long request, void* argument) {
  return d->sys->ioctl(d->sys->context, d->attach.device, request, argument);
}

static uint32_t io_read32(void* context, uint32_t offset) {
  struct pgd_device* d = context;
  return d->sys->read32(d->sys->context, d->csr + offset);
}
static void io_write32(void* context, uint32_t offset, uint32_t value) {
  struct pgd_device* d = context;
  d->sys->write32(d->sys->context, d->csr + offset, value);
}
static void io_push_line(void* context, uint32_t offset, const void* line) {
  struct pgd_device* d = context;
  if (d->line_store) {
    d->sys->write_line(d->sys->context, d->push + offset, line);
    return;
  }
  for (uint32_t i = 0; i < PGD_LINE_BYTES; i += 8) {  // the commit word is in the last
    uint64_t word;
    memcpy(&word, (const unsigned char*)line + i, sizeof word);
    d->sys->write64(d->sys->context, d->push + offset + i, word);
  }
}
static uint64_t io_now(void* context) {
  struct pgd_device* d = context;
  return d->sys->now_ns(d->sys->context);
}

static int set_command(struct pgd_device* d, uint16_t set, uint16_t clear, struct pgd_reason* reason) {
  uint16_t command = 0;
  const uint64_t at = d->config_offset + PGD_PCI_COMMAND;
  int64_t n = d->sys->pread(d->sys->context, d->attach.device, &command, sizeof command, at);
  command = (uint16_t)((command | set) & ~clear);
  if (n == sizeof command) n = d->sys->pwrite(d->sys->context, d->attach.device, &command, sizeof command, at);
  uint16_t found = 0;
  if (n == sizeof command) n = d->sys->pread(d->sys->context, d->attach.device, &found, sizeof found, at);
  if (n != sizeof command || (found & set) != set) {
    return pgd_refuse(PGD_E_IO, reason, "", "the PCI command register does not take memory space and bus master");
  }
  return PGD_OK;
}

static int region(struct pgd_device* d, uint32_t index, uint32_t flags, uint64_t bytes, struct pgd_region_info* info,
                  struct pgd_reason* reason) {
  *info = (struct pgd_region_info){.argsz = sizeof *info, .index = index};
  const int result = call(d, PGD_VFIO_DEVICE_GET_REGION_INFO, info);
  if (result < 0) return pgd_refuse_errno(result, reason, "read a region of", "the device");
  if ((info->flags & flags) != flags || info->size < bytes) {
    return pgd_refuse(PGD_E_MISMATCH, reason, "this is another card, or a window smaller than a page",
                      "region %u: %llu bytes, flags %u; expected %llu, flags %u", index, (unsigned long long)info->size,
                      info->flags, (unsigned long long)bytes, flags);
  }
  return PGD_OK;
}

static int map_window(struct pgd_device* d, uint32_t index, uint64_t bytes, unsigned char** at, uint64_t* mapped,
                      struct pgd_reason* reason) {
  struct pgd_region_info info;
  int result = region(d, index, PGD_REGION_READ | PGD_REGION_WRITE | PGD_REGION_MMAP, bytes, &info, reason);
  if (result != PGD_OK) return result;
  void* out = NULL;
  result = d->sys->mmap(d->sys->context, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d->attach.device, info.offset, &out);
  if (result < 0) return pgd_refuse_errno(result, reason, "map a window of", "the device");
  *at = out;
  *mapped = bytes;
  return PGD_OK;
}

static int take_memory(struct pgd_device* d, struct pgd_reason* reason) {
  const uint64_t bytes = pgd_core_memory_bytes(&d->core);
  void* out = NULL;
  int result = d->sys->mmap(d->sys->context, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0, &out);
  if (result < 0) return pgd_refuse_errno(result, reason, "map memory for", "the rings");
  d->core.memory = out;
  d->memory_bytes = bytes;
  result = d->sys->mlock(d->sys->context, out, bytes);
  if (result < 0) {
    return pgd_refuse(PGD_E_MEMORY, reason, "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit",
                      "%llu bytes for the rings may not be locked", (unsigned long long)bytes);
  }
  return pgd_attach_map(&d->attach, out, bytes, &d->core.address, reason);
}

static int set_irq(struct pgd_device* d, int fd) {
  struct pgd_irq_set set = {sizeof set, PGD_IRQ_SET_EVENTFD | PGD_IRQ_SET_TRIGGER, PGD_IRQ_MSIX, 0, 1, fd};
  if (fd < 0) {  // off: no vector, no data
    set.argsz = sizeof set - sizeof set.fd;
    set.flags = PGD_IRQ_SET_NONE | PGD_IRQ_SET_TRIGGER;
    set.count = 0;
  }
  return call(d, PGD_VFIO_DEVICE_SET_IRQS, &set);
}

static int take_interrupt(struct pgd_device* d, struct pgd_reason* reason) {
  struct pgd_irq_info info = {.argsz = sizeof info, .index = PGD_IRQ_MSIX};
  int result = call(d, PGD_VFIO_DEVICE_GET_IRQ_INFO, &info);
  if (result < 0) return pgd_refuse_errno(result, reason, "read the interrupts of", "the device");
  if (info.count < 1 || (info.flags & PGD_IRQ_EVENTFD) == 0) return PGD_OK;  // it works without; arm says so
  d->event = d->sys->eventfd(d->sys->context, 0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (d->event < 0) return pgd_refuse_errno(d->event, reason, "make", "an eventfd");
  result = set_irq(d, d->event);
  if (result < 0) return pgd_refuse_errno(result, reason, "bind the interrupt of", "the device");
  d->irq_set = true;
  d->core.caps.flags |= PGD_CAP_INTERRUPTS;
  return PGD_OK;
}

static void vfio_close(struct pgd_device* d) {
  if (d == NULL) return;
  const struct pgd_sys* sys = d->sys;
  if (d->started) pgd_core_stop(&d->core);
  if (d->irq_set) set_irq(d, -1);
  if (d->mastering) set_command(d, 0, PGD_PCI_COMMAND_MASTER, NULL);  // no more writes into memory, whatever it thinks
  if (d->core.address != 0) pgd_attach_unmap(&d->attach, d->core.address, d->memory_bytes);
  if (d->core.memory != NULL) sys->munmap(sys->context, d->core.memory, d->memory_bytes);
  if (d->event >= 0) sys->close(sys->context, d->event);
  if (d->push != NULL) sys->munmap(sys->context, d->push, d->push_bytes);
  if (d->csr != NULL) sys->munmap(sys->context, d->csr, d->csr_bytes);
  if (d->attach.device >= 0) pgd_attach_close(&d->attach);
  free(d->core.image);
  free(d);
}

static int bring_up(struct pgd_device* d, const struct pgd_options* options, struct pgd_reason* reason) {
  int result = pgd_attach_open(&d->attach, d->sys, options->address, reason);
  if (result != PGD_OK) return result;
  struct pgd_device_info info = {.argsz = sizeof info};
  result = call(d, PGD_VFIO_DEVICE_GET_INFO, &info);
  if (result < 0) return pgd_refuse_errno(result, reason, "ask", options->address);
  if ((info.flags & PGD_DEVICE_PCI) == 0 || info.num_regions <= PGD_REGION_CONFIG || info.num_irqs <= PGD_IRQ_MSIX) {
    return pgd_refuse(PGD_E_MISMATCH, reason, "", "%s: not a PCI function", options->address);
  }
  if ((info.flags & PGD_DEVICE_RESETS) != 0) {
    result = call(d, PGD_VFIO_DEVICE_RESET, NULL);
    if (result < 0) return pgd_refuse_errno(result, reason, "reset", options->address);
  }
  struct pgd_region_info config;
  result = region(d, PGD_REGION_CONFIG, PGD_REGION_READ | PGD_REGION_WRITE, 64, &config, reason);
  if (result != PGD_OK) return result;
  d->config_offset = config.offset;
  result = set_command(d, PGD_PCI_COMMAND_MEMORY | PGD_PCI_COMMAND_MASTER, 0, reason);
  if (result != PGD_OK) return result;
  d->mastering = true;
  if ((result = map_window(d, PGD_REGION_BAR0, PGD_CSR_BYTES, &d->csr, &d->csr_bytes, reason)) != PGD_OK) return result;
  if ((result = pgd_core_identify(&d->core, options, reason)) != PGD_OK) return result;
  if (d->core.caps.transport == PGD_TRANSPORT_PUSH &&
      (result = map_window(d, PGD_REGION_BAR2, PGD_PUSH_BYTES, &d->push, &d->push_bytes, reason)) != PGD_OK) {
    return result;
  }
  const uint32_t words = d->core.caps.bank_words;
  d->core.image = words != 0 ? malloc((size_t)words * 4u) : NULL;
  if (words != 0 && d->core.image == NULL) return pgd_refuse(PGD_E_MEMORY, reason, "", "no memory for %u words", words);
  if ((result = take_memory(d, reason)) != PGD_OK) return result;
  if ((result = take_interrupt(d, reason)) != PGD_OK) return result;
  d->started = true;
  return pgd_core_start(&d->core, reason);
}

static int vfio_open(const struct pgd_options* options, struct pgd_device** device, struct pgd_reason* reason) {
  if (device == NULL || options == NULL) return PGD_E_INVALID;
  *device = NULL;
  struct pgd_device* d = calloc(1, sizeof *d);
  if (d == NULL) return pgd_refuse(PGD_E_MEMORY, reason, "", "no memory");
  d->sys = options->sys != NULL ? options->sys : &pgd_linux;
  d->event = d->attach.device = -1;
  d->line_store = d->sys->line_store(d->sys->context) != 0;
  d->core.context = d;
  d->core.io = (struct pgd_io){io_read32, io_write32, io_push_line, NULL, io_now, PATIENCE_NS};
  d->core.caps.flags = PGD_CAP_EXCLUSIVE | PGD_CAP_REGISTERS;
  d->core.caps.time_unit = PGD_TIME_NS;
  snprintf(d->core.caps.backend, sizeof d->core.caps.backend, "vfio");
  const int result = bring_up(d, options, reason);
  if (result != PGD_OK) {
    vfio_close(d);
    return result;
  }
  snprintf(d->core.caps.detail, sizeof d->core.caps.detail, "%s by %s, %s", options->address,
           d->attach.by_iommufd ? "iommufd" : "group", d->line_store ? "64-byte stores" : "8-byte stores");
  *device = d;
  return PGD_OK;
}

static int vfio_probe(const struct pgd_options* options, struct pgd_reason* reason) {
  if (options == NULL) return PGD_E_INVALID;
  return pgd_attach_look(options->sys != NULL ? options->sys : &pgd_linux, options->address, reason);
}

static int vfio_arm(struct pgd_device* d, int* fd) {
  if (d == NULL || fd == NULL) return PGD_E_INVALID;
  if (d->event < 0) return PGD_E_UNSUPPORTED;
  *fd = d->event;
  pgd_core_arm(&d->core);
  return PGD_OK;
}

PGD_CORE_TABLE(vfio, d->core)

const struct pgd_backend pgd_vfio_backend = {
    .abi_version = PGD_ABI_VERSION, .bytes = sizeof(struct pgd_backend), .name = "vfio", .probe = vfio_probe,
    .open = vfio_open, .caps = vfio_caps, .load_policy = vfio_load_policy, .swap = vfio_swap, .submit = vfio_submit,
    .poll = vfio_poll, .wait = vfio_wait, .cancel = vfio_cancel, .reset = vfio_reset, .stats = vfio_stats,
    .arm = vfio_arm, .read_register = vfio_read_register, .close = vfio_close,
};
