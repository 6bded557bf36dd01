// The driver of the gateware, whatever carries its registers and memory: CSR protocol, request lines, the push and ring
// transports, completions in host memory. vfio and sim are this over two different `struct pgd_io`.
//
//   host memory, one piece that the device reads and writes, from its device address on
//     0                       completion ring   64 bytes << completion_log2
//     descriptor_offset       descriptor ring   16 bytes << ring_log2          ring transport only
//     request_offset          request buffers  512 bytes << ring_log2          ring transport only
//
// A request in flight has a place, its sequence number modulo the depth: push slot, or descriptor and buffer. The
// completion ring holds twice as many as can be in flight, so it is never full while the consumer lags half of it.
#ifndef PEREGRINE_DRIVERS_CORE_H
#define PEREGRINE_DRIVERS_CORE_H

#include "core/common.h"

// How the core reaches its device. read32, write32: the CSR window, by offset. push_line: 64 bytes of the push window, by
// offset, each byte once. advance (may be NULL): a poll gives the device time. now: of the timeouts' unit.
struct pgd_io {
  uint32_t (*read32)(void* context, uint32_t offset);
  void (*write32)(void* context, uint32_t offset, uint32_t value);
  void (*push_line)(void* context, uint32_t offset, const void* line);
  void (*advance)(void* context);
  uint64_t (*now)(void* context);
  uint64_t patience;  // of now's unit: how long the device may take for a reset, a swap, a bank's checksum
};

struct pgd_core_flight {
  uint64_t tag;
  uint32_t busy;
};

#define PGD_CORE_NO_BANK 0xFFFFFFFFu

struct pgd_core {
  struct pgd_io io;
  void* context;
  struct pgd_caps caps;
  struct pgd_stats stats;
  unsigned char* memory;  // host side of the piece above
  uint64_t address;       // device side of it
  uint32_t completion_log2, ring_log2;
  uint32_t sequence;           // of the last request of this epoch
  uint32_t consumed, told;     // completions read, and how many of them the device knows to be read
  bool answering;              // a bank does, or the core is baked
  uint32_t active, loaded;     // the bank that answers; the one that was loaded and can be swapped to; or PGD_CORE_NO_BANK
  uint32_t* image;             // caps.bank_words of room for a bank's image
  struct pgd_core_flight flight[1u << PGD_MAX_RING_LOG2];
};

// Reads id, map and caps; chooses the transport. MISMATCH, INVALID, UNSUPPORTED with the reason; nothing is allocated.
int pgd_core_identify(struct pgd_core* core, const struct pgd_options* options, struct pgd_reason* reason);
// Where the parts of that memory begin.
static inline size_t pgd_core_descriptor_offset(const struct pgd_core* core) {
  return (size_t)PGD_LINE_BYTES << core->completion_log2;
}
static inline size_t pgd_core_request_offset(const struct pgd_core* core) {
  const size_t end = pgd_core_descriptor_offset(core) + (sizeof(struct pgd_descriptor) << core->ring_log2);
  return (end + PGD_LINE_BYTES - 1u) & ~(size_t)(PGD_LINE_BYTES - 1u);
}
// Bytes of host memory it wants now: a multiple of 4096.
size_t pgd_core_memory_bytes(const struct pgd_core* core);
// Resets the device and starts the epoch in stats.epoch over `memory`, which the device sees at `address` (64-byte
// aligned). Also what reset does.
int pgd_core_start(struct pgd_core* core, struct pgd_reason* reason);
// Disables and resets; the device touches host memory no more.
void pgd_core_stop(struct pgd_core* core);

// The functions of the table, of the same names.
int pgd_core_load_policy(struct pgd_core* core, uint32_t bank, const struct pgd_policy_set* set, struct pgd_reason* reason);
int pgd_core_swap(struct pgd_core* core, uint32_t bank);
int pgd_core_submit(struct pgd_core* core, uint32_t slot, uint32_t kind, const void* inputs, uint32_t count, uint64_t* tag);
int pgd_core_poll(struct pgd_core* core, struct pgd_completion* completion);
int pgd_core_wait(struct pgd_core* core, struct pgd_completion* completion, uint64_t timeout);
int pgd_core_cancel(struct pgd_core* core, uint64_t tag);
int pgd_core_reset(struct pgd_core* core);
int pgd_core_stats(struct pgd_core* core, struct pgd_stats* stats);
// Arms the completion interrupt; the backend has its eventfd.
void pgd_core_arm(struct pgd_core* core);

// The table's functions that only check their pointers and hand on to the core: `core` says where in `d` it is.
#define PGD_CORE_TABLE(name, core_of_d)                                                                                 \
  static int name##_caps(struct pgd_device* d, struct pgd_caps* caps) {                                                 \
    if (d == NULL || caps == NULL) return PGD_E_INVALID;                                                                \
    *caps = (core_of_d).caps;                                                                                           \
    return PGD_OK;                                                                                                      \
  }                                                                                                                     \
  static int name##_load_policy(struct pgd_device* d, uint32_t bank, const struct pgd_policy_set* set,                  \
                                struct pgd_reason* reason) {                                                            \
    return d == NULL ? PGD_E_INVALID : pgd_core_load_policy(&(core_of_d), bank, set, reason);                           \
  }                                                                                                                     \
  static int name##_swap(struct pgd_device* d, uint32_t bank) {                                                         \
    return d == NULL ? PGD_E_INVALID : pgd_core_swap(&(core_of_d), bank);                                               \
  }                                                                                                                     \
  static int name##_submit(struct pgd_device* d, uint32_t slot, uint32_t kind, const void* inputs, uint32_t count,      \
                           uint64_t* tag) {                                                                             \
    return d == NULL ? PGD_E_INVALID : pgd_core_submit(&(core_of_d), slot, kind, inputs, count, tag);                   \
  }                                                                                                                     \
  static int name##_poll(struct pgd_device* d, struct pgd_completion* completion) {                                     \
    return d == NULL || completion == NULL ? PGD_E_INVALID : pgd_core_poll(&(core_of_d), completion);                   \
  }                                                                                                                     \
  static int name##_wait(struct pgd_device* d, struct pgd_completion* completion, uint64_t timeout) {                   \
    return d == NULL || completion == NULL ? PGD_E_INVALID : pgd_core_wait(&(core_of_d), completion, timeout);          \
  }                                                                                                                     \
  static int name##_cancel(struct pgd_device* d, uint64_t tag) {                                                        \
    return d == NULL ? PGD_E_INVALID : pgd_core_cancel(&(core_of_d), tag);                                              \
  }                                                                                                                     \
  static int name##_reset(struct pgd_device* d) { return d == NULL ? PGD_E_INVALID : pgd_core_reset(&(core_of_d)); }    \
  static int name##_stats(struct pgd_device* d, struct pgd_stats* stats) {                                              \
    return d == NULL || stats == NULL ? PGD_E_INVALID : pgd_core_stats(&(core_of_d), stats);                            \
  }                                                                                                                     \
  static int name##_read_register(struct pgd_device* d, uint32_t offset, uint32_t* value) {                             \
    if (d == NULL || value == NULL || offset % 4u != 0 || offset >= PGD_CSR_BYTES) return PGD_E_INVALID;                \
    *value = (core_of_d).io.read32((core_of_d).context, offset);                                                        \
    return PGD_OK;                                                                                                      \
  }

#endif
