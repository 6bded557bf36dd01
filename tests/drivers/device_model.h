// A slow and obvious device, written from docs/formats-device.md and the image's description alone: registers, push
// slots, rings, banks, arithmetic. The fake kernel puts it behind BARs, so the drivers' suite runs without hardware.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "device_registers.h"

namespace fake {

using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

struct ModelPolicy {
  struct Layer {
    u32 inputs = 0, outputs = 0;
    bool relu = false;
    std::vector<std::int8_t> weights;  // [outputs][inputs]
    std::vector<std::int32_t> folded;  // bias, with the half of a hidden layer
    std::vector<u32> shift;
  };
  std::vector<std::int32_t> m;
  std::vector<u32> s;
  std::vector<Layer> layers;
};

struct ModelBank {
  std::vector<u32> words;
  bool overflow = false;
  u64 version = 0;
  u32 expected_crc = 0, expected_words = 0;
  std::array<std::vector<ModelPolicy>, PGD_MAX_SLOTS> policy;  // one or none a slot; decoded at swap
};

class DeviceModel {
 public:
  // Host memory at a device address, or nullptr when the device may not touch it.
  std::function<u8*(u64 address, u64 bytes, bool write)> memory;
  std::function<void()> interrupt;
  std::function<void(const std::string&)> violation;

  bool hold = false;          // requests wait and are not taken
  u32 flip_image_word = 0;    // 1 + index of an image word that the memory takes with a bit flipped
  u32 flip_completion = 0;    // 1 + byte of the next completion that is written with a bit flipped
  bool parity_fault = false;  // the next answer fails its parity
  bool mute = false;          // completions are computed and not written
  bool gone = false;          // every register reads all ones
  u64 replay_tag = 0;         // one more completion with this tag before the next answer
  u32 bank_capacity = 20000;
  u32 id = PGD_DEVICE_ID, map_hash = PGD_MAP_HASH, push_slots = 8;

  u32 read32(u32 offset);
  void write32(u32 offset, u32 value);
  void push(u32 offset, const u8* bytes, u32 count);  // 1 to 8 bytes, or 64
  bool running() const { return (control_ & PGD_REG_CONTROL_ENABLE_MASK) != 0; }
  void service();  // takes what waits, unless held
  void power_on();

 private:
  struct Request {
    u64 tag = 0;
    std::vector<u8> lines;
    bool cancelled = false;
    u32 push_slot = 0;
    bool by_push = false;
    u32 descriptor_status = 0;  // of a descriptor that could not be read
  };

  static constexpr u32 kSlots = 4, kBanks = 2, kLanes = 8;

  void take_ring();
  void answer(const Request& request);
  u8 compute(const Request& request, pgd_completion& c);
  void complete(pgd_completion c);
  void start_swap(u32 bank);
  bool decode(ModelBank& bank);
  void bank_word(u32 value);

  u32 regs_[PGD_CSR_BYTES / 4] = {};
  u32 control_ = 0, errors_ = 0, active_ = 0;
  bool active_valid_ = false, armed_ = false, image_begun_ = false;
  ModelBank bank_[kBanks];
  std::vector<u8> slot_bytes_ = std::vector<u8>(PGD_PUSH_BYTES);
  std::vector<u8> slot_written_ = std::vector<u8>(PGD_PUSH_BYTES);
  std::array<bool, 16> slot_busy_{};
  std::deque<Request> waiting_;
};

u32 crc32(const u8* data, std::size_t bytes);

}  // namespace fake
