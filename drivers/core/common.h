// What every backend uses: reasons, the check of a policy set, request lines. C11, no allocation.
#ifndef PEREGRINE_DRIVERS_COMMON_H
#define PEREGRINE_DRIVERS_COMMON_H

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "device.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "little-endian hosts only: records go to the device as they lie in memory"
#endif

#define PGD_ACCUMULATOR_BOUND (1 << 24)
#define PGD_DEFAULT_RING_LOG2 6u
#define PGD_MAX_RING_LOG2 10u
#define PGD_TAGLESS_EPOCH 0xFFFFFFFFu  // completions of descriptors that named no tag have this high word

// Fills *reason (when not NULL) and gives `result` back, so that a refusal is one statement.
__attribute__((format(printf, 4, 5))) int pgd_refuse(int result, struct pgd_reason* reason, const char* hint,
                                                     const char* found, ...);

// Is the set one that a core of these caps takes? PGD_OK, INVALID or LIMIT with layer and channel in the reason.
int pgd_check_set(const struct pgd_policy_set* set, const struct pgd_caps* caps, struct pgd_reason* reason);

// Bytes of one input of a kind; 0 for no kind.
static inline uint32_t pgd_input_bytes(uint32_t kind) {
  return kind == PGD_KIND_INT8 ? 1u : kind == PGD_KIND_FEATURES ? 4u : 0u;
}

// The request as lines: line 0 with the head, then body, the low word of the tag last in each. Returns how many.
uint32_t pgd_request_lines(uint64_t tag, uint32_t slot, uint32_t kind, const void* inputs, uint32_t count,
                           unsigned char lines[PGD_MAX_LINES * PGD_LINE_BYTES]);

// What submit checks before anything is taken; PGD_OK or INVALID.
static inline int pgd_check_request(const struct pgd_caps* caps, uint32_t slot, uint32_t kind, const void* inputs,
                                    uint32_t count) {
  const bool good = inputs != NULL && slot < caps->slots && pgd_input_bytes(kind) != 0 && count >= 1 &&
                    count <= caps->max_inputs;
  return good ? PGD_OK : PGD_E_INVALID;
}

// The epoch of the first requests, and the one behind another; never the tagless one, never 0.
static inline uint32_t pgd_next_epoch(uint32_t epoch) {
  return epoch + 1u == PGD_TAGLESS_EPOCH ? 1u : epoch + 1u;
}

#endif
