// Made by `python -m peregrine_hdl registers` from hdl/peregrine_hdl/registers.py; change that.
#ifndef PEREGRINE_DEVICE_REGISTERS_H
#define PEREGRINE_DEVICE_REGISTERS_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define PGD_DEVICE_ID 0x4E524750u
#define PGD_MAP_HASH 0xC735D16Du
#define PGD_LAYOUT_VERSION 1u
#define PGD_CSR_BYTES 4096u
#define PGD_PUSH_BYTES 4096u
#define PGD_PUSH_SLOT_BYTES 512u
#define PGD_LINE_BYTES 64u
#define PGD_MAX_LINES 5u
#define PGD_FIRST_BODY_BYTES 44u
#define PGD_NEXT_BODY_BYTES 60u
#define PGD_MAX_INPUTS 64u
#define PGD_MAX_WIDTH 128u
#define PGD_MAX_LAYERS 6u
#define PGD_MAX_OUTPUTS 16u
#define PGD_MAX_SLOTS 8u
#define PGD_COMPLETION_LOGITS 8u

#define PGD_KIND_INT8 0u
#define PGD_KIND_FEATURES 1u

#define PGD_STATUS_OK 0u  // answered
#define PGD_STATUS_NO_POLICY 1u  // no valid bank, or nothing in this slot
#define PGD_STATUS_BAD_KIND 2u  // kind unknown, or one that this core does not take
#define PGD_STATUS_BAD_COUNT 3u  // count is not the policy's number of inputs, or 0, or over max_inputs
#define PGD_STATUS_BAD_LINE 4u  // a line's commit word is not the tag's low word, or reserved bytes are not 0
#define PGD_STATUS_BAD_DESCRIPTOR 5u  // descriptor malformed: flags, length not the request's, address not 64-byte aligned
#define PGD_STATUS_STALE_EPOCH 6u  // the tag's high word is not the epoch register
#define PGD_STATUS_CANCELLED 7u  // cancelled before the core took it
#define PGD_STATUS_PARITY 8u  // weight memory failed its parity while answering
#define PGD_STATUS_DMA_ERROR 9u  // the request could not be read: AXI error
#define PGD_STATUS_DISABLED 10u  // control.enable was 0

// registers: byte offsets in the CSR window
#define PGD_REG_ID 0x000u  // ro: 0x4E524750, the bytes PGRN
#define PGD_REG_LAYOUT_VERSION 0x004u  // ro: version of this description
#define PGD_REG_MAP_HASH 0x008u  // ro: first 32 bits of the SHA-256 of this description
#define PGD_REG_CAPS_CORE 0x00Cu  // ro: what the core is
#define PGD_REG_CAPS_CORE_VARIANT_SHIFT 0u
#define PGD_REG_CAPS_CORE_VARIANT_MASK 0x0000000Fu  // 0 = baked, 1 = loadable
#define PGD_REG_CAPS_CORE_SLOTS_SHIFT 4u
#define PGD_REG_CAPS_CORE_SLOTS_MASK 0x000000F0u  // policies a bank holds
#define PGD_REG_CAPS_CORE_BANKS_SHIFT 8u
#define PGD_REG_CAPS_CORE_BANKS_MASK 0x00000F00u  // weight banks; 0 = baked
#define PGD_REG_CAPS_CORE_PUSH_SLOTS_SHIFT 12u
#define PGD_REG_CAPS_CORE_PUSH_SLOTS_MASK 0x0000F000u  // request slots of the push window
#define PGD_REG_CAPS_CORE_LANES_SHIFT 16u
#define PGD_REG_CAPS_CORE_LANES_MASK 0xFFFF0000u  // products a cycle; 0 = fully unrolled
#define PGD_REG_CAPS_LIMITS 0x010u  // ro: largest network
#define PGD_REG_CAPS_LIMITS_MAX_INPUTS_SHIFT 0u
#define PGD_REG_CAPS_LIMITS_MAX_INPUTS_MASK 0x000000FFu  // inputs of the first layer
#define PGD_REG_CAPS_LIMITS_MAX_WIDTH_SHIFT 8u
#define PGD_REG_CAPS_LIMITS_MAX_WIDTH_MASK 0x0000FF00u  // outputs of a hidden layer
#define PGD_REG_CAPS_LIMITS_MAX_LAYERS_SHIFT 16u
#define PGD_REG_CAPS_LIMITS_MAX_LAYERS_MASK 0x00FF0000u  // layers
#define PGD_REG_CAPS_LIMITS_MAX_OUTPUTS_SHIFT 24u
#define PGD_REG_CAPS_LIMITS_MAX_OUTPUTS_MASK 0xFF000000u  // outputs of the last layer
#define PGD_REG_CAPS_BANK_WORDS 0x014u  // ro: 32-bit words of a bank's image at most
#define PGD_REG_CORE_CLOCK_KHZ 0x018u  // ro: core clock the build was made for, kHz
#define PGD_REG_POLICY_LO 0x01Cu  // ro: version of the active bank's policies, or of the baked set, low word
#define PGD_REG_POLICY_HI 0x020u  // ro: the same, high word
#define PGD_REG_CONTROL 0x024u  // rw: what the device may do
#define PGD_REG_CONTROL_ENABLE_SHIFT 0u
#define PGD_REG_CONTROL_ENABLE_MASK 0x00000001u  // 1 = take requests
#define PGD_REG_CONTROL_RESET_SHIFT 1u
#define PGD_REG_CONTROL_RESET_MASK 0x00000002u  // write 1: forget all requests, rings and errors, both clock domains; reads 0 when done
#define PGD_REG_CONTROL_IRQ_ENABLE_SHIFT 2u
#define PGD_REG_CONTROL_IRQ_ENABLE_MASK 0x00000004u  // 1 = raise the completion interrupt when armed
#define PGD_REG_STATUS 0x028u  // ro: what it is doing
#define PGD_REG_STATUS_ENABLED_SHIFT 0u
#define PGD_REG_STATUS_ENABLED_MASK 0x00000001u  // requests are taken
#define PGD_REG_STATUS_BUSY_SHIFT 1u
#define PGD_REG_STATUS_BUSY_MASK 0x00000002u  // a request is in it
#define PGD_REG_STATUS_RESETTING_SHIFT 2u
#define PGD_REG_STATUS_RESETTING_MASK 0x00000004u  // a reset is not finished
#define PGD_REG_STATUS_SWAPPING_SHIFT 3u
#define PGD_REG_STATUS_SWAPPING_MASK 0x00000008u  // a swap waits for the request in the core
#define PGD_REG_EPOCH 0x02Cu  // rw: a request whose tag has another high word is answered stale_epoch
#define PGD_REG_ERRORS 0x030u  // w1c: sticky; write 1 to clear
#define PGD_REG_ERRORS_DMA_READ_SHIFT 0u
#define PGD_REG_ERRORS_DMA_READ_MASK 0x00000001u  // AXI read answered with an error
#define PGD_REG_ERRORS_DMA_WRITE_SHIFT 1u
#define PGD_REG_ERRORS_DMA_WRITE_MASK 0x00000002u  // AXI write answered with an error
#define PGD_REG_ERRORS_DESCRIPTOR_SHIFT 2u
#define PGD_REG_ERRORS_DESCRIPTOR_MASK 0x00000004u  // descriptor malformed
#define PGD_REG_ERRORS_PUSH_ADDRESS_SHIFT 3u
#define PGD_REG_ERRORS_PUSH_ADDRESS_MASK 0x00000008u  // push write outside the slots, or to a slot in use
#define PGD_REG_ERRORS_BANK_ADDRESS_SHIFT 4u
#define PGD_REG_ERRORS_BANK_ADDRESS_MASK 0x00000010u  // bank write outside the image, or to the active bank
#define PGD_REG_ERRORS_BANK_CRC_SHIFT 5u
#define PGD_REG_ERRORS_BANK_CRC_MASK 0x00000020u  // swap refused: CRC or word count differ
#define PGD_REG_ERRORS_PARITY_SHIFT 6u
#define PGD_REG_ERRORS_PARITY_MASK 0x00000040u  // parity of weight memory
#define PGD_REG_ERRORS_COMPLETION_FULL_SHIFT 7u
#define PGD_REG_ERRORS_COMPLETION_FULL_MASK 0x00000080u  // completion ring was full when one was due; it waits
#define PGD_REG_ERRORS_RING_OVERRUN_SHIFT 8u
#define PGD_REG_ERRORS_RING_OVERRUN_MASK 0x00000100u  // producer written more than a ring ahead of the consumer
#define PGD_REG_BANK_SELECT 0x040u  // rw: bank that bank_data writes go to; writing it starts its image anew
#define PGD_REG_BANK_DATA 0x044u  // wo: next 32-bit word of the selected bank's image
#define PGD_REG_BANK_WORDS 0x048u  // ro: words written to the selected bank
#define PGD_REG_BANK_CRC 0x04Cu  // ro: CRC-32 (zlib) over the words as the weight memory took them, little endian
#define PGD_REG_BANK_VERSION_LO 0x050u  // rw: version of the policies in the selected bank, low word
#define PGD_REG_BANK_VERSION_HI 0x054u  // rw: high word
#define PGD_REG_BANK_EXPECTED_CRC 0x058u  // rw: what the driver computed; swap refuses another bank_crc
#define PGD_REG_BANK_EXPECTED_WORDS 0x05Cu  // rw: what the driver wrote; swap refuses another count
#define PGD_REG_BANK_SWAP 0x060u  // wo: write the selected bank's number: it answers from the next request on
#define PGD_REG_BANK_ACTIVE 0x064u  // ro: the answering bank
#define PGD_REG_BANK_ACTIVE_BANK_SHIFT 0u
#define PGD_REG_BANK_ACTIVE_BANK_MASK 0x0000000Fu  // number
#define PGD_REG_BANK_ACTIVE_VALID_SHIFT 31u
#define PGD_REG_BANK_ACTIVE_VALID_MASK 0x80000000u  // 0 = none yet
#define PGD_REG_RING_BASE_LO 0x080u  // rw: host address of the descriptor ring, 64-byte aligned, low word
#define PGD_REG_RING_BASE_HI 0x084u  // rw: high word
#define PGD_REG_RING_LOG2 0x088u  // rw: log2 of its descriptors, 1..12; 0 = off
#define PGD_REG_RING_PRODUCER 0x08Cu  // rw: doorbell: descriptors ever made, modulo 2^32
#define PGD_REG_RING_CONSUMER 0x090u  // ro: descriptors ever taken, modulo 2^32
#define PGD_REG_COMPLETION_BASE_LO 0x0A0u  // rw: host address of the completion ring, 64-byte aligned, low word
#define PGD_REG_COMPLETION_BASE_HI 0x0A4u  // rw: high word
#define PGD_REG_COMPLETION_LOG2 0x0A8u  // rw: log2 of its completions, 1..12; 0 = off: nothing is answered
#define PGD_REG_COMPLETION_PRODUCER 0x0ACu  // ro: completions ever written, modulo 2^32
#define PGD_REG_COMPLETION_CONSUMER 0x0B0u  // rw: completions ever read by the driver, modulo 2^32
#define PGD_REG_COMPLETION_ARM 0x0B4u  // wo: write 1: one interrupt when a completion is or becomes unread
#define PGD_REG_CANCEL_LO 0x0C0u  // rw: tag to cancel, low word
#define PGD_REG_CANCEL_HI 0x0C4u  // wo: tag to cancel, high word; writing it does it: if still waiting, it is answered cancelled
#define PGD_REG_COUNT_PUSH 0x100u  // ro: requests taken from the push window; wraps; 0 after reset
#define PGD_REG_COUNT_RING 0x104u  // ro: requests taken from the ring; wraps; 0 after reset
#define PGD_REG_COUNT_COMPLETIONS 0x108u  // ro: completions written; wraps; 0 after reset
#define PGD_REG_COUNT_REJECTED 0x10Cu  // ro: completions whose status is not ok; wraps; 0 after reset
#define PGD_REG_COUNT_CANCELLED 0x110u  // ro: requests cancelled; wraps; 0 after reset
#define PGD_REG_COUNT_DMA_ERRORS 0x114u  // ro: AXI error answers; wraps; 0 after reset
#define PGD_REG_COUNT_PARITY 0x118u  // ro: parity errors seen; wraps; 0 after reset
#define PGD_REG_COUNT_INTERRUPTS 0x11Cu  // ro: interrupts raised; wraps; 0 after reset
#define PGD_REG_COUNT_SWAPS 0x120u  // ro: swaps done; wraps; 0 after reset
#define PGD_REG_LAST_CYCLES 0x124u  // ro: core cycles of the last answer
#define PGD_REG_MAX_CYCLES 0x128u  // ro: most core cycles of any answer since reset
#define PGD_REG_BUSY_CYCLES 0x12Cu  // ro: core cycles with a request in the core; wraps; 0 after reset

struct pgd_request {
  uint64_t tag;  // 0: high word epoch, low word sequence
  uint8_t slot;  // 8: policy slot
  uint8_t kind;  // 9: 0 = int8 inputs, 1 = int32 features
  uint8_t count;  // 10: inputs; lines follow from it
  uint8_t reserved[5];  // 11: 0
  uint8_t body[44];  // 16: inputs in order, little endian, rest 0
  uint32_t commit;  // 60: low word of the tag, in every line; acted on when all bytes of all lines are there
};
static_assert(sizeof(struct pgd_request) == 64, "layout");
static_assert(offsetof(struct pgd_request, tag) == 0, "layout");
static_assert(offsetof(struct pgd_request, slot) == 8, "layout");
static_assert(offsetof(struct pgd_request, kind) == 9, "layout");
static_assert(offsetof(struct pgd_request, count) == 10, "layout");
static_assert(offsetof(struct pgd_request, reserved) == 11, "layout");
static_assert(offsetof(struct pgd_request, body) == 16, "layout");
static_assert(offsetof(struct pgd_request, commit) == 60, "layout");

struct pgd_descriptor {
  uint64_t address;  // 0: host address of the request's lines, 64-byte aligned
  uint32_t bytes;  // 8: 64 times the request's lines
  uint32_t flags;  // 12: 0
};
static_assert(sizeof(struct pgd_descriptor) == 16, "layout");
static_assert(offsetof(struct pgd_descriptor, address) == 0, "layout");
static_assert(offsetof(struct pgd_descriptor, bytes) == 8, "layout");
static_assert(offsetof(struct pgd_descriptor, flags) == 12, "layout");

struct pgd_completion {
  uint64_t tag;  // 0: of the request; of a descriptor that named none: all ones above the descriptor's index
  uint64_t policy_version;  // 8: of the bank that answered; 0 unless ok
  uint8_t status;  // 16: see statuses
  uint8_t action;  // 17: argmax, lowest index on ties; 0 unless ok
  uint8_t outputs;  // 18: outputs of the network, of which the first 8 are in logits; 0 unless ok
  uint8_t slot;  // 19: of the request
  uint32_t cycles;  // 20: core cycles from first input to answer
  int32_t logits[8];  // 24: int32 logits, 0 beyond the outputs
  uint32_t crc;  // 56: CRC-32 (zlib) over bytes 0 to 55
  uint32_t phase;  // 60: written last: laps of the ring begun, 1 on the first; 0 = never written
};
static_assert(sizeof(struct pgd_completion) == 64, "layout");
static_assert(offsetof(struct pgd_completion, tag) == 0, "layout");
static_assert(offsetof(struct pgd_completion, policy_version) == 8, "layout");
static_assert(offsetof(struct pgd_completion, status) == 16, "layout");
static_assert(offsetof(struct pgd_completion, action) == 17, "layout");
static_assert(offsetof(struct pgd_completion, outputs) == 18, "layout");
static_assert(offsetof(struct pgd_completion, slot) == 19, "layout");
static_assert(offsetof(struct pgd_completion, cycles) == 20, "layout");
static_assert(offsetof(struct pgd_completion, logits) == 24, "layout");
static_assert(offsetof(struct pgd_completion, crc) == 56, "layout");
static_assert(offsetof(struct pgd_completion, phase) == 60, "layout");

#endif
