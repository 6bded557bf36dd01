// Bringing the device up, its banks, and its end: all that is not on the path of a request (that is in requests.c).
// The registers' meaning: docs/formats-device.md.
#include "core/core.h"

#define FIELD(value, name) (((value) & name##_MASK) >> name##_SHIFT)

static uint32_t read32(struct pgd_core* core, uint32_t offset) { return core->io.read32(core->context, offset); }
static void write32(struct pgd_core* core, uint32_t offset, uint32_t value) { core->io.write32(core->context, offset, value); }
static void advance(struct pgd_core* core) {
  if (core->io.advance != NULL) core->io.advance(core->context);
}

static void write64(struct pgd_core* core, uint32_t offset_lo, uint32_t offset_hi, uint64_t value) {
  write32(core, offset_lo, (uint32_t)value);
  write32(core, offset_hi, (uint32_t)(value >> 32));
}

// Reads until (value & mask) == wanted or the device's patience is over.
static bool becomes(struct pgd_core* core, uint32_t offset, uint32_t mask, uint32_t wanted) {
  const uint64_t began = core->io.now(core->context);
  for (;;) {
    if ((read32(core, offset) & mask) == wanted) return true;
    if (core->io.now(core->context) - began > core->io.patience) return false;
    advance(core);
  }
}

static int choose_transport(struct pgd_core* core, const struct pgd_options* options, uint32_t push_slots,
                            struct pgd_reason* reason) {
  if (options->transport > PGD_TRANSPORT_RING) {
    return pgd_refuse(PGD_E_INVALID, reason, "", "transport %u is none", options->transport);
  }
  if (options->transport == PGD_TRANSPORT_PUSH && push_slots == 0) {
    return pgd_refuse(PGD_E_UNSUPPORTED, reason, "take transport ring", "this device has no push slots");
  }
  const bool push = options->transport == PGD_TRANSPORT_PUSH || (options->transport == PGD_TRANSPORT_AUTO && push_slots > 0);
  const uint32_t log2 = options->ring_log2 != 0 ? options->ring_log2 : PGD_DEFAULT_RING_LOG2;
  if (log2 > PGD_MAX_RING_LOG2) {
    return pgd_refuse(PGD_E_INVALID, reason, "", "ring_log2 is %u, expected 0..%u", log2, PGD_MAX_RING_LOG2);
  }
  core->caps.transport = push ? PGD_TRANSPORT_PUSH : PGD_TRANSPORT_RING;
  core->ring_log2 = log2;
  if (push) {  // places are a power of two, so that a sequence number names one even when it wraps
    for (core->ring_log2 = 0; (2u << core->ring_log2) <= push_slots; ++core->ring_log2) {
    }
  }
  core->completion_log2 = core->ring_log2 + 1u;
  core->caps.in_flight = 1u << core->ring_log2;
  return PGD_OK;
}

int pgd_core_identify(struct pgd_core* core, const struct pgd_options* options, struct pgd_reason* reason) {
  if (options->epoch == PGD_TAGLESS_EPOCH) return pgd_refuse(PGD_E_INVALID, reason, "", "epoch is the reserved one");
  const uint32_t id = read32(core, PGD_REG_ID);
  if (id == 0xFFFFFFFFu) {
    return pgd_refuse(PGD_E_IO, reason, "is its memory space enabled, and the link up?", "every register reads all ones");
  }
  if (id != PGD_DEVICE_ID) {
    return pgd_refuse(PGD_E_MISMATCH, reason, "this is another card", "id register: found 0x%08X, expected 0x%08X", id,
                      PGD_DEVICE_ID);
  }
  const uint32_t layout = read32(core, PGD_REG_LAYOUT_VERSION), hash = read32(core, PGD_REG_MAP_HASH);
  if (layout != PGD_LAYOUT_VERSION || hash != PGD_MAP_HASH) {
    return pgd_refuse(PGD_E_MISMATCH, reason, "build the gateware and the driver from the same register map",
                      "register map: found version %u, hash 0x%08X, expected %u, 0x%08X", layout, hash, PGD_LAYOUT_VERSION,
                      PGD_MAP_HASH);
  }
  const uint32_t kind = read32(core, PGD_REG_CAPS_CORE), limits = read32(core, PGD_REG_CAPS_LIMITS);
  struct pgd_caps* caps = &core->caps;
  caps->variant = FIELD(kind, PGD_REG_CAPS_CORE_VARIANT);
  caps->slots = FIELD(kind, PGD_REG_CAPS_CORE_SLOTS);
  caps->banks = FIELD(kind, PGD_REG_CAPS_CORE_BANKS);
  caps->lanes = FIELD(kind, PGD_REG_CAPS_CORE_LANES);
  caps->max_inputs = FIELD(limits, PGD_REG_CAPS_LIMITS_MAX_INPUTS);
  caps->max_width = FIELD(limits, PGD_REG_CAPS_LIMITS_MAX_WIDTH);
  caps->max_layers = FIELD(limits, PGD_REG_CAPS_LIMITS_MAX_LAYERS);
  caps->max_outputs = FIELD(limits, PGD_REG_CAPS_LIMITS_MAX_OUTPUTS);
  caps->bank_words = read32(core, PGD_REG_CAPS_BANK_WORDS);
  caps->core_clock_khz = read32(core, PGD_REG_CORE_CLOCK_KHZ);
  caps->map_hash = hash;
  if (caps->max_inputs == 0 || caps->max_inputs > PGD_MAX_INPUTS || caps->slots == 0 || caps->slots > PGD_MAX_SLOTS ||
      caps->bank_words > 1u << 24) {
    return pgd_refuse(PGD_E_MISMATCH, reason, "the gateware's own description is damaged",
                      "caps: %u inputs, %u slots, %u bank words", caps->max_inputs, caps->slots, caps->bank_words);
  }
  core->stats.epoch = options->epoch != 0 ? options->epoch : 1u;
  return choose_transport(core, options, FIELD(kind, PGD_REG_CAPS_CORE_PUSH_SLOTS), reason);
}

size_t pgd_core_memory_bytes(const struct pgd_core* core) {
  size_t bytes = pgd_core_descriptor_offset(core);
  if (core->caps.transport == PGD_TRANSPORT_RING) {
    bytes = pgd_core_request_offset(core) + ((size_t)PGD_PUSH_SLOT_BYTES << core->ring_log2);
  }
  return (bytes + 4095u) & ~(size_t)4095u;
}

int pgd_core_start(struct pgd_core* core, struct pgd_reason* reason) {
  write32(core, PGD_REG_CONTROL, PGD_REG_CONTROL_RESET_MASK);
  if (!becomes(core, PGD_REG_CONTROL, PGD_REG_CONTROL_RESET_MASK, 0) ||
      !becomes(core, PGD_REG_STATUS, PGD_REG_STATUS_RESETTING_MASK, 0)) {
    return pgd_refuse(PGD_E_IO, reason, "reset the function, or the machine", "the reset never finished");
  }
  memset(core->memory, 0, pgd_core_memory_bytes(core));
  memset(core->flight, 0, sizeof core->flight);
  core->sequence = core->consumed = core->told = 0;
  core->stats.in_flight = 0;
  core->answering = core->caps.banks == 0;
  core->active = core->loaded = PGD_CORE_NO_BANK;
  write32(core, PGD_REG_ERRORS, 0xFFFFFFFFu);
  const bool ring = core->caps.transport == PGD_TRANSPORT_RING;
  const uint64_t descriptors = ring ? core->address + pgd_core_descriptor_offset(core) : 0;
  const struct {
    uint32_t offset, value;
  } setting[] = {
      {PGD_REG_EPOCH, core->stats.epoch},
      {PGD_REG_COMPLETION_BASE_LO, (uint32_t)core->address},
      {PGD_REG_COMPLETION_BASE_HI, (uint32_t)(core->address >> 32)},
      {PGD_REG_COMPLETION_LOG2, core->completion_log2},
      {PGD_REG_COMPLETION_CONSUMER, 0},
      {PGD_REG_RING_BASE_LO, (uint32_t)descriptors},
      {PGD_REG_RING_BASE_HI, (uint32_t)(descriptors >> 32)},
      {PGD_REG_RING_LOG2, ring ? core->ring_log2 : 0},
      {PGD_REG_RING_PRODUCER, 0},
      {PGD_REG_CONTROL, PGD_REG_CONTROL_ENABLE_MASK | PGD_REG_CONTROL_IRQ_ENABLE_MASK},  // last: the others hold now
  };
  for (size_t i = 0; i < sizeof setting / sizeof setting[0]; ++i) {
    write32(core, setting[i].offset, setting[i].value);
    const uint32_t found = read32(core, setting[i].offset);
    if (found != setting[i].value) {
      return pgd_refuse(PGD_E_IO, reason, "reset the function, or the machine",
                        "register 0x%03X: wrote 0x%08X, read 0x%08X", setting[i].offset, setting[i].value, found);
    }
  }
  return PGD_OK;
}

void pgd_core_stop(struct pgd_core* core) {
  write32(core, PGD_REG_CONTROL, PGD_REG_CONTROL_RESET_MASK);  // enable and irq_enable 0 with it
  becomes(core, PGD_REG_CONTROL, PGD_REG_CONTROL_RESET_MASK, 0);
}

int pgd_core_load_policy(struct pgd_core* core, uint32_t bank, const struct pgd_policy_set* set, struct pgd_reason* reason) {
  if (core->caps.banks == 0) {
    return pgd_refuse(PGD_E_UNSUPPORTED, reason, "a new policy is a new bitstream here", "the core's policies are baked in");
  }
  if (bank >= core->caps.banks) return pgd_refuse(PGD_E_INVALID, reason, "", "bank %u of %u", bank, core->caps.banks);
  uint32_t words = 0, crc = 0;
  const int result = pgd_image_pack(set, &core->caps, core->image, core->caps.bank_words, &words, &crc, reason);
  if (result != PGD_OK) return result == PGD_E_MEMORY ? PGD_E_LIMIT : result;
  if (bank == core->active) {
    return pgd_refuse(PGD_E_STATE, reason, "load another bank and swap to it", "bank %u is the answering one", bank);
  }
  core->loaded = PGD_CORE_NO_BANK;
  write32(core, PGD_REG_ERRORS, PGD_REG_ERRORS_BANK_ADDRESS_MASK | PGD_REG_ERRORS_BANK_CRC_MASK);
  write32(core, PGD_REG_BANK_SELECT, bank);
  for (uint32_t i = 0; i < words; ++i) write32(core, PGD_REG_BANK_DATA, core->image[i]);
  write64(core, PGD_REG_BANK_VERSION_LO, PGD_REG_BANK_VERSION_HI, set->version);
  write32(core, PGD_REG_BANK_EXPECTED_CRC, crc);
  write32(core, PGD_REG_BANK_EXPECTED_WORDS, words);
  if (!becomes(core, PGD_REG_BANK_WORDS, 0xFFFFFFFFu, words) || !becomes(core, PGD_REG_BANK_CRC, 0xFFFFFFFFu, crc)) {
    const uint32_t errors = read32(core, PGD_REG_ERRORS), held = read32(core, PGD_REG_BANK_WORDS);
    if ((errors & PGD_REG_ERRORS_BANK_ADDRESS_MASK) != 0) {
      return pgd_refuse(PGD_E_LIMIT, reason, "load fewer or smaller policies", "the core's memories hold %u of %u words", held,
                        words);
    }
    return pgd_refuse(PGD_E_CRC, reason, "load it again; if it stays, the device's memory is at fault",
                      "bank %u: device holds %u words with CRC 0x%08X, expected %u with 0x%08X", bank, held,
                      read32(core, PGD_REG_BANK_CRC), words, crc);
  }
  core->loaded = bank;
  return PGD_OK;
}

int pgd_core_swap(struct pgd_core* core, uint32_t bank) {
  if (core->caps.banks == 0) return PGD_E_UNSUPPORTED;
  if (bank >= core->caps.banks) return PGD_E_INVALID;
  if (bank == core->active) return PGD_OK;
  if (bank != core->loaded) return PGD_E_STATE;
  const uint32_t wanted = bank << PGD_REG_BANK_ACTIVE_BANK_SHIFT | PGD_REG_BANK_ACTIVE_VALID_MASK;
  write32(core, PGD_REG_BANK_SWAP, bank);
  const uint64_t began = core->io.now(core->context);
  while (read32(core, PGD_REG_BANK_ACTIVE) != wanted) {
    if ((read32(core, PGD_REG_ERRORS) & PGD_REG_ERRORS_BANK_CRC_MASK) != 0) {
      core->loaded = PGD_CORE_NO_BANK;
      write32(core, PGD_REG_ERRORS, PGD_REG_ERRORS_BANK_CRC_MASK);
      return PGD_E_CRC;
    }
    if (core->io.now(core->context) - began > core->io.patience) return PGD_E_TIMEOUT;
    advance(core);
  }
  core->answering = true;
  core->active = bank;
  core->loaded = PGD_CORE_NO_BANK;
  ++core->stats.swaps;
  return PGD_OK;
}

int pgd_core_reset(struct pgd_core* core) {
  core->stats.epoch = pgd_next_epoch(core->stats.epoch);
  ++core->stats.resets;
  core->answering = false;
  return pgd_core_start(core, NULL);
}

int pgd_core_stats(struct pgd_core* core, struct pgd_stats* stats) {
  *stats = core->stats;
  stats->interrupts = read32(core, PGD_REG_COUNT_INTERRUPTS);
  stats->errors = read32(core, PGD_REG_ERRORS);
  stats->last_cycles = read32(core, PGD_REG_LAST_CYCLES);
  stats->max_cycles = read32(core, PGD_REG_MAX_CYCLES);
  stats->parity_count = read32(core, PGD_REG_COUNT_PARITY);
  return PGD_OK;
}
