#include "device/faulty_device.h"

#include <cstring>

#include "policy/policy.h"

namespace peregrine::sim {

struct FaultyDevice::Table {
  static FaultyDevice& of(pgd_device* d) { return *reinterpret_cast<FaultyDevice*>(d); }
  static int probe(const pgd_options*, pgd_reason*) { return PGD_OK; }
  static int open(const pgd_options*, pgd_device**, pgd_reason*) { return PGD_E_UNSUPPORTED; }
  static int caps(pgd_device* d, pgd_caps* c) { return of(d).inner_.caps(of(d).device_, c); }
  static int load_policy(pgd_device* d, u32 bank, const pgd_policy_set* set, pgd_reason* reason) {
    FaultyDevice& f = of(d);
    return f.down_ ? PGD_E_IO : f.inner_.load_policy(f.device_, bank, set, reason);
  }
  static int swap(pgd_device* d, u32 bank) {
    FaultyDevice& f = of(d);
    if (f.down_) return PGD_E_IO;
    f.empty_ = false;
    return f.inner_.swap(f.device_, bank);
  }
  static int submit(pgd_device* d, u32 slot, u32 kind, const void* in, u32 n, u64* tag) {
    return of(d).submit(slot, kind, in, n, tag);
  }
  static int poll(pgd_device* d, pgd_completion* c) { return of(d).poll(c); }
  static int wait(pgd_device* d, pgd_completion* c, u64 timeout) {
    for (u64 i = 0; i <= timeout; ++i) {
      if (const int r = of(d).poll(c); r != 0) return r;
    }
    return PGD_E_TIMEOUT;
  }
  static int cancel(pgd_device* d, u64 tag) {
    FaultyDevice& f = of(d);
    return f.down_ ? PGD_E_IO : f.inner_.cancel(f.device_, tag);
  }
  static int reset(pgd_device* d) { return of(d).reset(); }
  static int stats(pgd_device* d, pgd_stats* s) { return of(d).inner_.stats(of(d).device_, s); }
  static int arm(pgd_device* d, int* fd) { return of(d).inner_.arm(of(d).device_, fd); }
  static int read_register(pgd_device* d, u32 offset, u32* value) {
    return of(d).inner_.read_register(of(d).device_, offset, value);
  }
  static void close(pgd_device*) {}
};

const pgd_backend& FaultyDevice::table() {
  static const pgd_backend backend{PGD_ABI_VERSION, sizeof(pgd_backend), "faulty",
                                   Table::probe, Table::open, Table::caps, Table::load_policy, Table::swap,
                                   Table::submit, Table::poll, Table::wait, Table::cancel, Table::reset,
                                   Table::stats, Table::arm, Table::read_register, Table::close};
  return backend;
}

FaultyDevice::FaultyDevice(const pgd_backend& inner, pgd_device* device, const DeviceFaultPlan& plan)
    : inner_(inner), device_(device), plan_(plan), rng_(plan.seed), failing_resets_(plan.failing_resets) {}

DeviceFault FaultyDevice::draw() {
  const u64 n = requests_made_++;
  // Drawn for every request, so that a window of faults does not change which ones come in it.
  u64 at = rng_.below(1000);
  if (n < plan_.first_request || n - plan_.first_request >= plan_.requests) return DeviceFault::kCount;
  for (std::size_t i = 0; i < plan_.permille.size(); ++i) {
    if (at < plan_.permille[i]) return static_cast<DeviceFault>(i);
    at -= plan_.permille[i];
  }
  return DeviceFault::kCount;
}

void FaultyDevice::forget() {
  // What is in flight never comes: the requests stay known as hanging ones.
  for (Request& r : requests_) r.fault = DeviceFault::kHang;
  held_.clear();
}

int FaultyDevice::submit(u32 slot, u32 kind, const void* inputs, u32 count, u64* tag) {
  if (down_) return PGD_E_IO;
  const DeviceFault fault = draw();
  if (fault != DeviceFault::kCount) ++faults_[static_cast<std::size_t>(fault)];
  if (fault == DeviceFault::kLinkDown) {
    down_ = true;
    forget();
    return PGD_E_IO;
  }
  if (fault == DeviceFault::kReset) {
    forget();
    empty_ = true;
  }
  u64 made = 0;
  const int r = inner_.submit(device_, slot, kind, inputs, count, &made);
  if (tag != nullptr) *tag = made;
  if (r == PGD_OK) requests_.push_back({made, fault});
  return r;
}

int FaultyDevice::poll(pgd_completion* completion) {
  if (down_) return PGD_E_IO;
  ++polls_;
  pgd_completion c;
  const int r = inner_.poll(device_, &c);
  if (r < 0) return r;
  if (r == 1) {
    DeviceFault fault = DeviceFault::kCount;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i].tag != c.tag) continue;
      fault = requests_[i].fault;
      requests_.erase(requests_.begin() + static_cast<std::ptrdiff_t>(i));
      break;
    }
    u64 due = polls_;
    switch (fault) {
      case DeviceFault::kHang: return 0;
      case DeviceFault::kLate: due += plan_.late_polls; break;
      case DeviceFault::kWrongTag: c.tag ^= u64{1} << 20; break;
      case DeviceFault::kCorrupt: return PGD_E_CORRUPT;
      case DeviceFault::kPlausible:
        c.logits[0] += 1 + static_cast<i32>(rng_.below(1u << 20));
        c.action = static_cast<u8>(Policy::argmax(c.logits, c.outputs < PGD_COMPLETION_LOGITS ? c.outputs : PGD_COMPLETION_LOGITS));
        break;
      case DeviceFault::kRefused:
        c.status = PGD_STATUS_PARITY;
        c.action = c.outputs = 0;
        c.policy_version = 0;
        break;
      default: break;
    }
    if (empty_) {
      c.status = PGD_STATUS_NO_POLICY;
      c.action = c.outputs = 0;
      c.policy_version = 0;
    }
    held_.push_back({c, due});
  }
  for (std::size_t i = 0; i < held_.size(); ++i) {
    if (held_[i].due_poll > polls_) continue;
    *completion = held_[i].completion;
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(i));
    return 1;
  }
  return 0;
}

int FaultyDevice::reset() {
  if (down_ && failing_resets_ > 0) {
    --failing_resets_;
    return PGD_E_IO;
  }
  down_ = false;
  requests_.clear();
  held_.clear();
  return inner_.reset(device_);
}

}  // namespace peregrine::sim
