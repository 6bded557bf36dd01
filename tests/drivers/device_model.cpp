#include "device_model.h"

#include <algorithm>
#include <cstring>

namespace fake {
namespace {

u32 lines_of(u32 kind, u32 count) {
  const u32 body = count * (kind == PGD_KIND_FEATURES ? 4 : 1);
  return body <= PGD_FIRST_BODY_BYTES ? 1 : 1 + (body - PGD_FIRST_BODY_BYTES + PGD_NEXT_BODY_BYTES - 1) / PGD_NEXT_BODY_BYTES;
}

std::int32_t sat8(std::int64_t v) { return static_cast<std::int32_t>(std::clamp<std::int64_t>(v, -128, 127)); }

std::int32_t signed_of(u32 value, u32 bits) { return static_cast<std::int32_t>(value << (32 - bits)) >> (32 - bits); }

const u32 kKnown[] = {
    PGD_REG_ID, PGD_REG_LAYOUT_VERSION, PGD_REG_MAP_HASH, PGD_REG_CAPS_CORE, PGD_REG_CAPS_LIMITS, PGD_REG_CAPS_BANK_WORDS,
    PGD_REG_CORE_CLOCK_KHZ, PGD_REG_POLICY_LO, PGD_REG_POLICY_HI, PGD_REG_CONTROL, PGD_REG_STATUS, PGD_REG_EPOCH,
    PGD_REG_ERRORS, PGD_REG_BANK_SELECT, PGD_REG_BANK_WORDS, PGD_REG_BANK_CRC, PGD_REG_BANK_VERSION_LO,
    PGD_REG_BANK_VERSION_HI, PGD_REG_BANK_EXPECTED_CRC, PGD_REG_BANK_EXPECTED_WORDS, PGD_REG_BANK_ACTIVE,
    PGD_REG_RING_BASE_LO, PGD_REG_RING_BASE_HI, PGD_REG_RING_LOG2, PGD_REG_RING_PRODUCER, PGD_REG_RING_CONSUMER,
    PGD_REG_COMPLETION_BASE_LO, PGD_REG_COMPLETION_BASE_HI, PGD_REG_COMPLETION_LOG2, PGD_REG_COMPLETION_PRODUCER,
    PGD_REG_COMPLETION_CONSUMER, PGD_REG_CANCEL_LO,
};

bool readable(u32 offset) {
  return std::find(std::begin(kKnown), std::end(kKnown), offset) != std::end(kKnown) ||
         (offset >= PGD_REG_COUNT_PUSH && offset <= PGD_REG_BUSY_CYCLES);
}

}  // namespace

u32 crc32(const u8* data, std::size_t bytes) {
  u32 c = 0xFFFFFFFFu;
  for (std::size_t i = 0; i < bytes; ++i) {
    c ^= data[i];
    for (int k = 0; k < 8; ++k) c = (c >> 1) ^ ((c & 1) != 0 ? 0xEDB88320u : 0);
  }
  return ~c;
}

void DeviceModel::power_on() {
  std::fill(std::begin(regs_), std::end(regs_), 0);
  std::fill(slot_written_.begin(), slot_written_.end(), 0);
  slot_busy_.fill(false);
  waiting_.clear();
  control_ = errors_ = 0;
  armed_ = active_valid_ = image_begun_ = false;
  for (ModelBank& b : bank_) b = ModelBank{};
}

u32 DeviceModel::read32(u32 offset) {
  if (gone) return 0xFFFFFFFFu;
  if (offset % 4 != 0 || offset >= PGD_CSR_BYTES || !readable(offset)) violation("read of no register: " + std::to_string(offset));
  const ModelBank& bank = bank_[regs_[PGD_REG_BANK_SELECT / 4] % kBanks];
  switch (offset) {
    case PGD_REG_ID: return id;
    case PGD_REG_LAYOUT_VERSION: return PGD_LAYOUT_VERSION;
    case PGD_REG_MAP_HASH: return map_hash;
    case PGD_REG_CAPS_CORE: return 1 | kSlots << 4 | kBanks << 8 | push_slots << 12 | kLanes << 16;
    case PGD_REG_CAPS_LIMITS: return PGD_MAX_INPUTS | PGD_MAX_WIDTH << 8 | PGD_MAX_LAYERS << 16 | PGD_MAX_OUTPUTS << 24;
    case PGD_REG_CAPS_BANK_WORDS: return bank_capacity;
    case PGD_REG_CORE_CLOCK_KHZ: return 250000;
    case PGD_REG_CONTROL: return control_;
    case PGD_REG_STATUS: return (control_ & 1) | (waiting_.empty() ? 0u : PGD_REG_STATUS_BUSY_MASK);
    case PGD_REG_ERRORS: return errors_;
    case PGD_REG_BANK_WORDS: return static_cast<u32>(bank.words.size());
    case PGD_REG_BANK_CRC: return crc32(reinterpret_cast<const u8*>(bank.words.data()), bank.words.size() * 4);
    case PGD_REG_BANK_ACTIVE: return active_ | (active_valid_ ? PGD_REG_BANK_ACTIVE_VALID_MASK : 0);
    default: return regs_[offset / 4];
  }
}

void DeviceModel::write32(u32 offset, u32 value) {
  if (gone) return;
  ModelBank& bank = bank_[regs_[PGD_REG_BANK_SELECT / 4] % kBanks];
  switch (offset) {
    case PGD_REG_CONTROL:
      if ((value & PGD_REG_CONTROL_RESET_MASK) != 0) {
        power_on();
      } else {
        control_ = value;
      }
      return;
    case PGD_REG_ERRORS: errors_ &= ~value; return;
    case PGD_REG_BANK_SELECT:
      if (value >= kBanks) violation("bank_select of no bank");
      regs_[offset / 4] = value % kBanks;
      image_begun_ = !(active_valid_ && value == active_);
      if (image_begun_) bank_[value % kBanks] = ModelBank{};
      return;
    case PGD_REG_BANK_DATA: bank_word(value); return;
    case PGD_REG_BANK_VERSION_LO: bank.version = (bank.version & ~0xFFFFFFFFull) | value; return;
    case PGD_REG_BANK_VERSION_HI: bank.version = (bank.version & 0xFFFFFFFFull) | static_cast<u64>(value) << 32; return;
    case PGD_REG_BANK_EXPECTED_CRC: bank.expected_crc = value; return;
    case PGD_REG_BANK_EXPECTED_WORDS: bank.expected_words = value; return;
    case PGD_REG_BANK_SWAP: start_swap(value); return;
    case PGD_REG_RING_BASE_LO:
    case PGD_REG_RING_BASE_HI:
    case PGD_REG_RING_LOG2:
    case PGD_REG_COMPLETION_BASE_LO:
    case PGD_REG_COMPLETION_BASE_HI:
    case PGD_REG_COMPLETION_LOG2:
    case PGD_REG_EPOCH:
      if (running()) violation("register " + std::to_string(offset) + " written while the device is enabled");
      if ((offset == PGD_REG_RING_BASE_LO || offset == PGD_REG_COMPLETION_BASE_LO) && value % 64 != 0) violation("ring base not on 64 bytes");
      if ((offset == PGD_REG_RING_LOG2 || offset == PGD_REG_COMPLETION_LOG2) && value > 12) violation("ring too large");
      regs_[offset / 4] = value;
      return;
    case PGD_REG_RING_PRODUCER:
      regs_[offset / 4] = value;
      if (regs_[PGD_REG_RING_LOG2 / 4] != 0) take_ring();
      service();
      return;
    case PGD_REG_COMPLETION_CONSUMER:
      if (value - 1 - regs_[PGD_REG_COMPLETION_CONSUMER / 4] >= 1u << 31 && value != regs_[offset / 4]) violation("consumer went back");
      if (regs_[PGD_REG_COMPLETION_PRODUCER / 4] - value >= 1u << 31) violation("consumer ahead of the producer");
      regs_[offset / 4] = value;
      service();
      return;
    case PGD_REG_COMPLETION_ARM:
      armed_ = true;
      if (regs_[PGD_REG_COMPLETION_PRODUCER / 4] != regs_[PGD_REG_COMPLETION_CONSUMER / 4] && interrupt) {
        armed_ = false;
        ++regs_[PGD_REG_COUNT_INTERRUPTS / 4];
        interrupt();
      }
      return;
    case PGD_REG_CANCEL_LO: regs_[offset / 4] = value; return;
    case PGD_REG_CANCEL_HI:
      for (Request& r : waiting_) {
        if (r.tag == (static_cast<u64>(value) << 32 | regs_[PGD_REG_CANCEL_LO / 4])) r.cancelled = true;
      }
      return;
    default: violation("write to no writable register: " + std::to_string(offset));
  }
}

void DeviceModel::bank_word(u32 value) {
  const u32 number = regs_[PGD_REG_BANK_SELECT / 4];
  ModelBank& bank = bank_[number];
  if (!image_begun_ || bank.words.size() >= bank_capacity) {
    errors_ |= PGD_REG_ERRORS_BANK_ADDRESS_MASK;
    return;
  }
  if (flip_image_word == bank.words.size() + 1) value ^= 1u << 13;
  bank.words.push_back(value);
}

void DeviceModel::start_swap(u32 number) {
  ModelBank& bank = bank_[number % kBanks];
  if (!image_begun_ || number != regs_[PGD_REG_BANK_SELECT / 4]) {
    errors_ |= PGD_REG_ERRORS_BANK_ADDRESS_MASK;
    violation("swap to a bank that is not the one just loaded");
    return;
  }
  const u32 crc = crc32(reinterpret_cast<const u8*>(bank.words.data()), bank.words.size() * 4);
  if (crc != bank.expected_crc || bank.words.size() != bank.expected_words || !decode(bank)) {
    errors_ |= PGD_REG_ERRORS_BANK_CRC_MASK;
    return;
  }
  active_ = number % kBanks;
  active_valid_ = true;
  image_begun_ = false;
  ++regs_[PGD_REG_COUNT_SWAPS / 4];
}

bool DeviceModel::decode(ModelBank& bank) {
  const std::vector<u32>& w = bank.words;
  if (w.empty() || w[0] != (1 | kSlots << 8 | kLanes << 16)) return false;
  std::vector<u32> section[5];
  std::size_t at = 1;
  for (u32 region = 0; region < 5; ++region) {
    if (at >= w.size() || w[at] >> 24 != region || at + 1 + (w[at] & 0xFFFFFF) > w.size()) return false;
    const u32 count = w[at] & 0xFFFFFF;
    section[region].assign(w.begin() + static_cast<long>(at) + 1, w.begin() + static_cast<long>(at) + 1 + count);
    at += 1 + count;
  }
  if (at != w.size()) return false;
  for (u32 s = 0; s < kSlots; ++s) {
    const u32 word = section[0][s];
    if (word >> 31 == 0) continue;
    ModelPolicy p;
    for (u32 i = 0; i < (word >> 16 & 255); ++i) {
      p.m.push_back(signed_of(section[2][s * 64 + i], 16));
      p.s.push_back(section[2][s * 64 + i] >> 16 & 63);
    }
    for (u32 l = 0; l < (word >> 8 & 255); ++l) {
      const u32 shape = section[1].at(2 * ((word & 255) + l)), base = section[1].at(2 * ((word & 255) + l) + 1);
      ModelPolicy::Layer layer{shape & 255, shape >> 8 & 255, (shape >> 16 & 1) != 0, {}, {}, {}};
      for (u32 o = 0; o < layer.outputs; ++o) {
        const u32 channel = section[3].at((base >> 16) * kLanes + o);
        layer.folded.push_back(signed_of(channel, 25));
        layer.shift.push_back(channel >> 25 & 31);
        for (u32 i = 0; i < layer.inputs; ++i) {
          const u32 row = (base & 0xFFFF) + o / kLanes * layer.inputs + i, lane = o % kLanes;
          layer.weights.push_back(static_cast<std::int8_t>(section[4].at(row * kLanes / 4 + lane / 4) >> 8 * (lane % 4)));
        }
      }
      p.layers.push_back(layer);
    }
    bank.policy[s] = {p};
  }
  return true;
}

void DeviceModel::push(u32 offset, const u8* bytes, u32 count) {
  const u32 slot = offset / PGD_PUSH_SLOT_BYTES, within = offset % PGD_PUSH_SLOT_BYTES;
  if (offset + count > PGD_PUSH_BYTES || slot >= push_slots || within + count > PGD_MAX_LINES * PGD_LINE_BYTES ||
      slot_busy_[slot] || (count != 64 && (count > 8 || offset % count != 0))) {
    errors_ |= PGD_REG_ERRORS_PUSH_ADDRESS_MASK;
    violation("push write outside the slots, to one in use, or across a word: " + std::to_string(offset));
    return;
  }
  std::memcpy(&slot_bytes_[offset], bytes, count);
  std::fill_n(slot_written_.begin() + offset, count, u8{1});
  const u8* head = &slot_bytes_[slot * PGD_PUSH_SLOT_BYTES];
  const auto written = slot_written_.begin() + slot * PGD_PUSH_SLOT_BYTES;
  const u32 total = lines_of(head[9], head[10]) * PGD_LINE_BYTES;
  if (!std::all_of(written, written + 16, [](u8 b) { return b != 0; }) ||
      !std::all_of(written, written + total, [](u8 b) { return b != 0; })) {
    return;
  }
  Request r;
  r.lines.assign(head, head + total);
  std::memcpy(&r.tag, head, 8);
  r.push_slot = slot;
  r.by_push = true;
  slot_busy_[slot] = true;
  std::fill_n(written, PGD_PUSH_SLOT_BYTES, u8{0});
  waiting_.push_back(r);
  ++regs_[PGD_REG_COUNT_PUSH / 4];
  service();
}

void DeviceModel::take_ring() {
  const u32 size = 1u << regs_[PGD_REG_RING_LOG2 / 4];
  const u64 base = regs_[PGD_REG_RING_BASE_LO / 4] | static_cast<u64>(regs_[PGD_REG_RING_BASE_HI / 4]) << 32;
  u32& consumer = regs_[PGD_REG_RING_CONSUMER / 4];
  if (regs_[PGD_REG_RING_PRODUCER / 4] - consumer > size) {
    errors_ |= PGD_REG_ERRORS_RING_OVERRUN_MASK;
    violation("ring overrun");
    return;
  }
  for (; consumer != regs_[PGD_REG_RING_PRODUCER / 4]; ++consumer) {
    Request r;
    r.tag = 0xFFFFFFFF00000000ull | consumer;
    const u8* at = memory(base + static_cast<u64>(consumer % size) * sizeof(pgd_descriptor), sizeof(pgd_descriptor), false);
    pgd_descriptor d{};
    if (at != nullptr) std::memcpy(&d, at, sizeof d);
    const bool good = at != nullptr && d.flags == 0 && d.address % 64 == 0 && d.bytes >= 64 && d.bytes <= 320;
    const u8* lines = good ? memory(d.address, d.bytes, false) : nullptr;
    if (lines != nullptr) {
      r.lines.assign(lines, lines + d.bytes);
      std::memcpy(&r.tag, lines, 8);
      if (lines_of(lines[9], lines[10]) * PGD_LINE_BYTES != d.bytes) r.descriptor_status = PGD_STATUS_BAD_DESCRIPTOR;
    } else {
      r.descriptor_status = at == nullptr || good ? PGD_STATUS_DMA_ERROR : PGD_STATUS_BAD_DESCRIPTOR;
      violation("descriptor or request that the device cannot read");
    }
    waiting_.push_back(r);
    ++regs_[PGD_REG_COUNT_RING / 4];
  }
}

void DeviceModel::service() {
  while (!waiting_.empty()) {
    const auto cancelled = std::find_if(waiting_.begin(), waiting_.end(), [](const Request& r) { return r.cancelled; });
    if (hold && cancelled == waiting_.end()) return;
    const u32 unread = regs_[PGD_REG_COMPLETION_PRODUCER / 4] - regs_[PGD_REG_COMPLETION_CONSUMER / 4];
    if (unread >= 1u << regs_[PGD_REG_COMPLETION_LOG2 / 4]) {
      errors_ |= PGD_REG_ERRORS_COMPLETION_FULL_MASK;
      violation("completion ring full");
      return;
    }
    const auto next = hold ? cancelled : waiting_.begin();
    const Request r = *next;
    waiting_.erase(next);
    answer(r);
  }
}

void DeviceModel::answer(const Request& r) {
  pgd_completion c{};
  c.tag = r.tag;
  c.slot = r.lines.empty() ? u8{0} : r.lines[8];
  c.status = compute(r, c);
  if (r.by_push) slot_busy_[r.push_slot] = false;
  regs_[PGD_REG_COUNT_REJECTED / 4] += c.status != PGD_STATUS_OK;
  regs_[PGD_REG_COUNT_CANCELLED / 4] += c.status == PGD_STATUS_CANCELLED;
  if (replay_tag != 0) {
    pgd_completion old = c;
    old.tag = replay_tag;
    replay_tag = 0;
    complete(old);
  }
  complete(c);
}

u8 DeviceModel::compute(const Request& r, pgd_completion& c) {
  if (r.descriptor_status != 0) return static_cast<u8>(r.descriptor_status);
  if (!running()) return PGD_STATUS_DISABLED;
  if (r.cancelled) return PGD_STATUS_CANCELLED;
  const u32 slot = r.lines[8], kind = r.lines[9], count = r.lines[10];
  if (r.tag >> 32 != regs_[PGD_REG_EPOCH / 4]) return PGD_STATUS_STALE_EPOCH;
  std::vector<u8> body;
  for (std::size_t line = 0; line < r.lines.size(); line += 64) {
    u32 commit = 0;
    std::memcpy(&commit, &r.lines[line + 60], 4);
    if (commit != static_cast<u32>(r.tag)) return PGD_STATUS_BAD_LINE;
    body.insert(body.end(), r.lines.begin() + static_cast<long>(line) + (line == 0 ? 16 : 0), r.lines.begin() + static_cast<long>(line) + 60);
  }
  for (int i = 11; i < 16; ++i) {
    if (r.lines[i] != 0) return PGD_STATUS_BAD_LINE;
  }
  if (kind > PGD_KIND_FEATURES) return PGD_STATUS_BAD_KIND;
  const u32 width = kind == PGD_KIND_FEATURES ? 4 : 1;
  for (std::size_t i = count * width; i < body.size(); ++i) {
    if (body[i] != 0) violation("body beyond the inputs is not 0");
  }
  if (!active_valid_ || slot >= kSlots || bank_[active_].policy[slot].empty()) return PGD_STATUS_NO_POLICY;
  const ModelPolicy& p = bank_[active_].policy[slot][0];
  if (count != p.m.size()) return PGD_STATUS_BAD_COUNT;
  if (parity_fault) {
    parity_fault = false;
    ++regs_[PGD_REG_COUNT_PARITY / 4];
    errors_ |= PGD_REG_ERRORS_PARITY_MASK;
    return PGD_STATUS_PARITY;
  }
  std::vector<std::int32_t> x(count);
  for (u32 i = 0; i < count; ++i) {
    if (kind == PGD_KIND_INT8) {
      x[i] = static_cast<std::int8_t>(body[i]);
      continue;
    }
    std::int32_t f = 0;
    std::memcpy(&f, &body[4 * i], 4);
    const std::int64_t half = p.s[i] > 0 ? std::int64_t{1} << (p.s[i] - 1) : 0;
    x[i] = sat8((std::int64_t{f} * p.m[i] + half) >> p.s[i]);
  }
  std::vector<std::int32_t> sums;
  for (std::size_t l = 0; l < p.layers.size(); ++l) {
    const ModelPolicy::Layer& layer = p.layers[l];
    sums.assign(layer.outputs, 0);
    for (u32 o = 0; o < layer.outputs; ++o) {
      sums[o] = layer.folded[o];
      for (u32 i = 0; i < layer.inputs; ++i) sums[o] += layer.weights[o * layer.inputs + i] * x[i];
    }
    if (l + 1 == p.layers.size()) break;
    for (u32 o = 0; o < layer.outputs; ++o) {
      const std::int32_t y = sat8(sums[o] >> layer.shift[o]);
      sums[o] = layer.relu ? std::max(y, 0) : y;
    }
    x = sums;
  }
  c.outputs = static_cast<u8>(sums.size());
  c.action = static_cast<u8>(std::max_element(sums.begin(), sums.end()) - sums.begin());
  c.policy_version = bank_[active_].version;
  c.cycles = 100 + count;
  for (u32 i = 0; i < sums.size() && i < PGD_COMPLETION_LOGITS; ++i) c.logits[i] = sums[i];
  regs_[PGD_REG_LAST_CYCLES / 4] = c.cycles;
  regs_[PGD_REG_MAX_CYCLES / 4] = std::max(regs_[PGD_REG_MAX_CYCLES / 4], c.cycles);
  return PGD_STATUS_OK;
}

void DeviceModel::complete(pgd_completion c) {
  if (mute) return;
  const u32 log2 = regs_[PGD_REG_COMPLETION_LOG2 / 4];
  if (log2 == 0) return;
  u32& producer = regs_[PGD_REG_COMPLETION_PRODUCER / 4];
  c.crc = crc32(reinterpret_cast<const u8*>(&c), offsetof(pgd_completion, crc));
  c.phase = (producer >> log2) + 1;
  if (flip_completion != 0) reinterpret_cast<u8*>(&c)[flip_completion - 1] ^= 0x10;
  flip_completion = 0;
  const u64 base = regs_[PGD_REG_COMPLETION_BASE_LO / 4] | static_cast<u64>(regs_[PGD_REG_COMPLETION_BASE_HI / 4]) << 32;
  u8* at = memory(base + static_cast<u64>(producer & ((1u << log2) - 1)) * 64, 64, true);
  if (at == nullptr) {
    errors_ |= PGD_REG_ERRORS_DMA_WRITE_MASK;
    violation("completion ring that the device cannot write");
    return;
  }
  std::memcpy(at, &c, 60);
  __atomic_store_n(reinterpret_cast<u32*>(at + 60), c.phase, __ATOMIC_RELEASE);
  ++producer;
  ++regs_[PGD_REG_COUNT_COMPLETIONS / 4];
  if (armed_ && (control_ & PGD_REG_CONTROL_IRQ_ENABLE_MASK) != 0 && interrupt) {
    armed_ = false;
    ++regs_[PGD_REG_COUNT_INTERRUPTS / 4];
    interrupt();
  }
}

}  // namespace fake
