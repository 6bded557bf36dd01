// A device that fails on purpose: any backend of device.h with faults in front of it, drawn from a seed.
//
// What the caller sees is what a card, a bus or a driver gone wrong would show: the engine must decide by its own
// kernels within the deadline, whatever happens here.
#pragma once

#include <array>
#include <vector>

#include "core/rng.h"
#include "core/types.h"
#include "device.h"

namespace peregrine::sim {

enum class DeviceFault : u8 {
  kHang = 0,       // no answer to this request, until a reset
  kLate = 1,       // its answer comes `late_polls` polls later
  kWrongTag = 2,   // its answer carries another tag
  kCorrupt = 3,    // its answer fails its CRC-32
  kPlausible = 4,  // other logits and the action they give, under a valid CRC-32
  kRefused = 5,    // its answer says parity
  kLinkDown = 6,   // from here on the device is gone, until a reset
  kReset = 7,      // it forgets its banks and what is in flight
  kCount = 8,
};

struct DeviceFaultPlan {
  u64 seed = 1;
  std::array<u32, static_cast<std::size_t>(DeviceFault::kCount)> permille{};  // chance of each, a request
  u64 first_request = 0;             // faults begin with this one …
  u64 requests = ~u64{0};            // … and end after so many
  u32 late_polls = 1'000;
  u32 failing_resets = 0;            // so many resets fail after the link went down
};

class FaultyDevice {
 public:
  // `inner` is open and stays so.
  FaultyDevice(const pgd_backend& inner, pgd_device* device, const DeviceFaultPlan& plan);
  FaultyDevice(const FaultyDevice&) = delete;
  FaultyDevice& operator=(const FaultyDevice&) = delete;

  // A backend and a handle as an engine takes them; the handle is this object, closing it closes nothing.
  static const pgd_backend& table();
  pgd_device* handle() { return reinterpret_cast<pgd_device*>(this); }
  u64 faults(DeviceFault f) const { return faults_[static_cast<std::size_t>(f)]; }

 private:
  struct Table;
  struct Request {
    u64 tag = 0;
    DeviceFault fault = DeviceFault::kCount;
  };
  struct Held {
    pgd_completion completion;
    u64 due_poll;
  };

  int submit(u32 slot, u32 kind, const void* inputs, u32 count, u64* tag);
  int poll(pgd_completion* completion);
  int reset();
  DeviceFault draw();
  void forget();

  const pgd_backend& inner_;
  pgd_device* device_;
  const DeviceFaultPlan plan_;
  Rng rng_;
  std::vector<Request> requests_;
  std::vector<Held> held_;
  std::array<u64, static_cast<std::size_t>(DeviceFault::kCount)> faults_{};
  u64 requests_made_ = 0;
  u64 polls_ = 0;
  u32 failing_resets_;
  bool down_ = false;
  bool empty_ = false;  // its banks are forgotten
};

}  // namespace peregrine::sim
