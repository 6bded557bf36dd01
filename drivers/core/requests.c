// The path of a request: its lines to the device, its completion out of host memory. Allocates, locks and calls nothing.
#include <stdatomic.h>

#include "core/core.h"

static struct pgd_core_flight* place_of(struct pgd_core* core, uint32_t sequence, uint32_t* index) {
  *index = (sequence - 1u) & (core->caps.in_flight - 1u);  // the first sequence number is 1, the first descriptor 0
  return &core->flight[*index];
}

static void submit_push(struct pgd_core* core, uint32_t place, const unsigned char* lines, uint32_t n) {
  for (uint32_t k = 0; k < n; ++k) {
    core->io.push_line(core->context, place * PGD_PUSH_SLOT_BYTES + k * PGD_LINE_BYTES, lines + k * PGD_LINE_BYTES);
  }
}

static void submit_ring(struct pgd_core* core, uint32_t place, const unsigned char* lines, uint32_t n) {
  const size_t buffer = pgd_core_request_offset(core) + (size_t)place * PGD_PUSH_SLOT_BYTES;
  const struct pgd_descriptor descriptor = {core->address + buffer, n * PGD_LINE_BYTES, 0};
  memcpy(core->memory + buffer, lines, (size_t)n * PGD_LINE_BYTES);
  memcpy(core->memory + pgd_core_descriptor_offset(core) + place * sizeof descriptor, &descriptor, sizeof descriptor);
  // what the doorbell announces must be in memory before it: a full barrier, since the doorbell is no ordinary memory
  atomic_thread_fence(memory_order_seq_cst);
  core->io.write32(core->context, PGD_REG_RING_PRODUCER, core->sequence);
}

int pgd_core_submit(struct pgd_core* core, uint32_t slot, uint32_t kind, const void* inputs, uint32_t count, uint64_t* tag) {
  if (pgd_check_request(&core->caps, slot, kind, inputs, count) != PGD_OK) return PGD_E_INVALID;
  if (!core->answering) return PGD_E_NO_POLICY;
  uint32_t place = 0;
  struct pgd_core_flight* flight = place_of(core, core->sequence + 1u, &place);
  if (flight->busy) {
    ++core->stats.would_block;
    return PGD_E_WOULD_BLOCK;
  }
  flight->tag = (uint64_t)core->stats.epoch << 32 | ++core->sequence;
  flight->busy = 1;
  unsigned char lines[PGD_MAX_LINES * PGD_LINE_BYTES];
  const uint32_t n = pgd_request_lines(flight->tag, slot, kind, inputs, count, lines);
  ++core->stats.submitted;
  ++core->stats.in_flight;
  if (core->caps.transport == PGD_TRANSPORT_PUSH) {
    submit_push(core, place, lines, n);
  } else {
    submit_ring(core, place, lines, n);
  }
  if (tag != NULL) *tag = flight->tag;
  return PGD_OK;
}

// Tells the device what was read, each quarter of the ring: a posted write now and then instead of one an answer.
static void tell_consumed(struct pgd_core* core, uint32_t lag) {
  if (core->consumed - core->told < lag) return;
  core->told = core->consumed;
  core->io.write32(core->context, PGD_REG_COMPLETION_CONSUMER, core->consumed);
}

// The next completion out of the ring: 1, 0 (none yet) or CORRUPT.
static int next_completion(struct pgd_core* core, struct pgd_completion* c) {
  const uint32_t mask = (1u << core->completion_log2) - 1u;
  const unsigned char* at = core->memory + (size_t)(core->consumed & mask) * PGD_LINE_BYTES;
  const uint32_t lap = (core->consumed >> core->completion_log2) + 1u;
  const _Atomic uint32_t* phase = (const _Atomic uint32_t*)(const void*)(at + offsetof(struct pgd_completion, phase));
  if (atomic_load_explicit(phase, memory_order_acquire) != lap) return 0;
  memcpy(c, at, sizeof *c);
  ++core->consumed;
  const uint32_t quarter = 1u << core->completion_log2 >> 2;
  tell_consumed(core, quarter != 0 ? quarter : 1u);
  if (pgd_crc32(0, c, offsetof(struct pgd_completion, crc)) == c->crc) return 1;
  ++core->stats.corrupt;
  return PGD_E_CORRUPT;
}

int pgd_core_poll(struct pgd_core* core, struct pgd_completion* completion) {
  if (core->io.advance != NULL) core->io.advance(core->context);
  for (;;) {
    const int result = next_completion(core, completion);
    if (result != 1) return result;
    uint32_t place = 0;
    struct pgd_core_flight* flight = place_of(core, (uint32_t)completion->tag, &place);
    if (!flight->busy || flight->tag != completion->tag) {
      ++core->stats.stale;
      continue;
    }
    flight->busy = 0;
    --core->stats.in_flight;
    ++core->stats.answered;
    core->stats.cancelled += completion->status == PGD_STATUS_CANCELLED;
    core->stats.rejected += completion->status != PGD_STATUS_OK && completion->status != PGD_STATUS_CANCELLED;
    return 1;
  }
}

int pgd_core_wait(struct pgd_core* core, struct pgd_completion* completion, uint64_t timeout) {
  const uint64_t began = core->io.now(core->context);
  for (;;) {
    const int result = pgd_core_poll(core, completion);
    if (result != 0) return result;
    if (core->stats.in_flight == 0) return PGD_E_EMPTY;
    if (core->io.now(core->context) - began >= timeout) {
      ++core->stats.timeouts;
      return PGD_E_TIMEOUT;
    }
  }
}

int pgd_core_cancel(struct pgd_core* core, uint64_t tag) {
  uint32_t place = 0;
  const struct pgd_core_flight* flight = place_of(core, (uint32_t)tag, &place);
  if (!flight->busy || flight->tag != tag) return PGD_E_NOT_FOUND;
  core->io.write32(core->context, PGD_REG_CANCEL_LO, (uint32_t)tag);
  core->io.write32(core->context, PGD_REG_CANCEL_HI, (uint32_t)(tag >> 32));
  return PGD_OK;
}

void pgd_core_arm(struct pgd_core* core) {
  tell_consumed(core, 1u);  // else one that was read would raise it at once
  core->io.write32(core->context, PGD_REG_COMPLETION_ARM, 1u);
}
