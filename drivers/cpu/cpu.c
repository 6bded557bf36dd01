// The cpu backend: requests wait in a ring, the oldest is computed when it is polled for. So cancel, a full ring and
// order mean here what they mean on a device, and a run is deterministic.
#include "cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/common.h"
#include "device_kernel.h"

#define CPU_BANKS 2u

struct request {
  uint64_t tag;
  uint8_t slot, kind, count, cancelled;
  int32_t inputs[PGD_MAX_INPUTS];  // int8 inputs lie at its beginning, as they came
};

struct bank {
  uint64_t version;
  uint32_t n_policies;
  void* network[PGD_MAX_SLOTS];
  uint32_t n_inputs[PGD_MAX_SLOTS], n_outputs[PGD_MAX_SLOTS];
};

struct pgd_device {
  const struct pgd_kernel* kernel;
  struct pgd_caps caps;
  struct pgd_stats stats;
  struct bank bank[CPU_BANKS];
  int32_t active, loaded;  // bank that answers; bank that was loaded and can be swapped to; -1 = none
  uint32_t head, tail;  // requests ever taken out and put in, modulo 2^32
  uint32_t sequence;
  struct request ring[];  // caps.in_flight of them, a power of two
};

static int cpu_probe(const struct pgd_options* options, struct pgd_reason* reason) {
  if (options == NULL || options->kernel == NULL) {
    return pgd_refuse(PGD_E_INVALID, reason, "set options.kernel, e.g. to peregrine_device_kernel(NULL)", "no kernel given");
  }
  const uint32_t log2 = options->ring_log2 != 0 ? options->ring_log2 : PGD_DEFAULT_RING_LOG2;
  if (log2 > PGD_MAX_RING_LOG2) {
    return pgd_refuse(PGD_E_INVALID, reason, "", "ring_log2 is %u, expected 0..%u", log2, PGD_MAX_RING_LOG2);
  }
  if (options->epoch == PGD_TAGLESS_EPOCH) return pgd_refuse(PGD_E_INVALID, reason, "", "epoch is the reserved one");
  return PGD_OK;
}

static int cpu_open(const struct pgd_options* options, struct pgd_device** device, struct pgd_reason* reason) {
  if (device == NULL) return PGD_E_INVALID;
  *device = NULL;
  const int result = cpu_probe(options, reason);
  if (result != PGD_OK) return result;
  const uint32_t depth = 1u << (options->ring_log2 != 0 ? options->ring_log2 : PGD_DEFAULT_RING_LOG2);
  struct pgd_device* d = calloc(1, sizeof *d + depth * sizeof(struct request));
  if (d == NULL) return pgd_refuse(PGD_E_MEMORY, reason, "", "no memory for %u requests", depth);
  d->kernel = options->kernel;
  d->active = d->loaded = -1;
  d->caps = (struct pgd_caps){.backend = "cpu", .in_flight = depth, .variant = 1, .slots = PGD_MAX_SLOTS,
                              .banks = CPU_BANKS, .max_inputs = PGD_MAX_INPUTS, .max_width = PGD_MAX_WIDTH,
                              .max_layers = PGD_MAX_LAYERS, .max_outputs = PGD_MAX_OUTPUTS, .map_hash = PGD_MAP_HASH};
  snprintf(d->caps.detail, sizeof d->caps.detail, "kernel %s", options->kernel->name);
  d->stats.epoch = options->epoch != 0 ? options->epoch : 1u;
  *device = d;
  return PGD_OK;
}

static int cpu_caps(struct pgd_device* d, struct pgd_caps* caps) {
  if (d == NULL || caps == NULL) return PGD_E_INVALID;
  *caps = d->caps;
  return PGD_OK;
}

static void empty_bank(struct pgd_device* d, struct bank* bank) {
  for (uint32_t p = 0; p < bank->n_policies; ++p) d->kernel->free(bank->network[p]);
  memset(bank, 0, sizeof *bank);
}

static int cpu_load_policy(struct pgd_device* d, uint32_t bank, const struct pgd_policy_set* set,
                           struct pgd_reason* reason) {
  if (d == NULL || bank >= CPU_BANKS) return pgd_refuse(PGD_E_INVALID, reason, "", "bank %u of %u", bank, CPU_BANKS);
  const int result = pgd_check_set(set, &d->caps, reason);
  if (result != PGD_OK) return result;
  if ((int32_t)bank == d->active) {
    return pgd_refuse(PGD_E_STATE, reason, "load another bank and swap to it", "bank %u is the answering one", bank);
  }
  struct bank* b = &d->bank[bank];
  empty_bank(d, b);
  d->loaded = -1;
  for (uint32_t p = 0; p < set->n_policies; ++p) {
    b->network[p] = d->kernel->make(&set->policy[p], reason);
    if (b->network[p] == NULL) {
      empty_bank(d, b);
      return PGD_E_LIMIT;
    }
    b->n_policies = p + 1;
    b->n_inputs[p] = set->policy[p].n_inputs;
    b->n_outputs[p] = set->policy[p].layer[set->policy[p].n_layers - 1].outputs;
  }
  b->version = set->version;
  d->loaded = (int32_t)bank;
  return PGD_OK;
}

static int cpu_swap(struct pgd_device* d, uint32_t bank) {
  if (d == NULL || bank >= CPU_BANKS) return PGD_E_INVALID;
  if (d->active == (int32_t)bank) return PGD_OK;
  if (d->loaded != (int32_t)bank) return PGD_E_STATE;
  d->active = d->loaded;
  d->loaded = -1;
  ++d->stats.swaps;
  return PGD_OK;
}

static int cpu_submit(struct pgd_device* d, uint32_t slot, uint32_t kind, const void* inputs, uint32_t count,
                      uint64_t* tag) {
  if (d == NULL || pgd_check_request(&d->caps, slot, kind, inputs, count) != PGD_OK) return PGD_E_INVALID;
  if (d->active < 0) return PGD_E_NO_POLICY;
  if (d->tail - d->head == d->caps.in_flight) {
    ++d->stats.would_block;
    return PGD_E_WOULD_BLOCK;
  }
  struct request* r = &d->ring[d->tail & (d->caps.in_flight - 1u)];
  r->tag = (uint64_t)d->stats.epoch << 32 | ++d->sequence;
  r->slot = (uint8_t)slot;
  r->kind = (uint8_t)kind;
  r->count = (uint8_t)count;
  r->cancelled = 0;
  memcpy(r->inputs, inputs, (size_t)count * pgd_input_bytes(kind));
  ++d->tail;
  ++d->stats.submitted;
  if (tag != NULL) *tag = r->tag;
  return PGD_OK;
}

static uint8_t answer(const struct pgd_device* d, const struct request* r, struct pgd_completion* c) {
  const struct bank* b = &d->bank[d->active];
  if (r->cancelled) return PGD_STATUS_CANCELLED;
  if (r->slot >= b->n_policies) return PGD_STATUS_NO_POLICY;
  if (r->count != b->n_inputs[r->slot]) return PGD_STATUS_BAD_COUNT;
  int32_t logits[PGD_MAX_OUTPUTS];
  d->kernel->infer(b->network[r->slot], r->kind, r->inputs, logits);
  const uint32_t n = b->n_outputs[r->slot];
  uint32_t best = 0;
  for (uint32_t i = 1; i < n; ++i) best = logits[i] > logits[best] ? i : best;
  c->policy_version = b->version;
  c->action = (uint8_t)best;
  c->outputs = (uint8_t)n;
  memcpy(c->logits, logits, (n < PGD_COMPLETION_LOGITS ? n : PGD_COMPLETION_LOGITS) * sizeof logits[0]);
  return PGD_STATUS_OK;
}

static int cpu_poll(struct pgd_device* d, struct pgd_completion* completion) {
  if (d == NULL || completion == NULL) return PGD_E_INVALID;
  if (d->head == d->tail) return 0;
  const struct request* r = &d->ring[d->head & (d->caps.in_flight - 1u)];
  *completion = (struct pgd_completion){.tag = r->tag, .slot = r->slot};
  completion->status = answer(d, r, completion);
  ++d->head;
  ++d->stats.answered;
  d->stats.cancelled += completion->status == PGD_STATUS_CANCELLED;
  d->stats.rejected += completion->status != PGD_STATUS_OK && completion->status != PGD_STATUS_CANCELLED;
  return 1;
}

static int cpu_wait(struct pgd_device* d, struct pgd_completion* completion, uint64_t timeout) {
  (void)timeout;  // an answer is always there
  const int result = cpu_poll(d, completion);
  return result == 0 ? PGD_E_EMPTY : result;
}

static int cpu_cancel(struct pgd_device* d, uint64_t tag) {
  if (d == NULL) return PGD_E_INVALID;
  const uint32_t ago = d->sequence - (uint32_t)tag;  // 0 = the newest
  if (tag >> 32 != d->stats.epoch || ago >= d->tail - d->head) return PGD_E_NOT_FOUND;
  d->ring[(d->tail - 1u - ago) & (d->caps.in_flight - 1u)].cancelled = 1;
  return PGD_OK;
}

static int cpu_reset(struct pgd_device* d) {
  if (d == NULL) return PGD_E_INVALID;
  d->head = d->tail = d->sequence = 0;
  d->active = d->loaded = -1;
  for (uint32_t b = 0; b < CPU_BANKS; ++b) empty_bank(d, &d->bank[b]);
  d->stats.epoch = pgd_next_epoch(d->stats.epoch);
  ++d->stats.resets;
  return PGD_OK;
}

static int cpu_stats(struct pgd_device* d, struct pgd_stats* stats) {
  if (d == NULL || stats == NULL) return PGD_E_INVALID;
  *stats = d->stats;
  stats->in_flight = d->tail - d->head;
  return PGD_OK;
}

static int cpu_arm(struct pgd_device* d, int* fd) { return d == NULL || fd == NULL ? PGD_E_INVALID : PGD_E_UNSUPPORTED; }

static int cpu_read_register(struct pgd_device* d, uint32_t offset, uint32_t* value) {
  (void)offset;
  return d == NULL || value == NULL ? PGD_E_INVALID : PGD_E_UNSUPPORTED;
}

static void cpu_close(struct pgd_device* d) {
  if (d == NULL) return;
  for (uint32_t b = 0; b < CPU_BANKS; ++b) empty_bank(d, &d->bank[b]);
  free(d);
}

const struct pgd_backend pgd_cpu_backend = {
    .abi_version = PGD_ABI_VERSION, .bytes = sizeof(struct pgd_backend), .name = "cpu", .probe = cpu_probe,
    .open = cpu_open, .caps = cpu_caps, .load_policy = cpu_load_policy, .swap = cpu_swap, .submit = cpu_submit,
    .poll = cpu_poll, .wait = cpu_wait, .cancel = cpu_cancel, .reset = cpu_reset, .stats = cpu_stats, .arm = cpu_arm,
    .read_register = cpu_read_register, .close = cpu_close,
};
