#include "venue/simulation_device.h"

#include "core/assert.h"
#include "device_kernel.h"

namespace peregrine::venue {

namespace {

// Rare enough that most answers are used, frequent enough that every run meets some.
sim::DeviceFaultPlan plan_of(u64 seed) {
  sim::DeviceFaultPlan plan;
  plan.seed = seed;
  plan.permille.fill(30);
  plan.late_polls = 40;
  plan.failing_resets = seed % 3;
  return plan;
}

const pgd_backend& kernels() {
  const pgd_backend* backend = pgd_backend_by_name("cpu");
  PRG_ASSERT(backend != nullptr);
  return *backend;
}

}  // namespace

SimulatedDevice::SimulatedDevice(u64 seed, const PolicySet& set, const TscClock& clock) : backend_(kernels()) {
  pgd_options options{};
  options.kernel = peregrine_device_kernel(nullptr);
  PRG_ASSERT(backend_.open(&options, &device_, nullptr) == PGD_OK);
  faulty_ = std::make_unique<sim::FaultyDevice>(backend_, device_, plan_of(seed));
  engine::DeviceClientConfig config;
  config.deadline = 100;
  config.count_polls = true;
  config.probe_after = 5;
  client_ = std::make_unique<engine::DeviceClient>(sim::FaultyDevice::table(), faulty_->handle(), config, clock);
  pgd_reason reason;
  client_->prepare(set, reason);
}

SimulatedDevice::~SimulatedDevice() {
  client_.reset();
  backend_.close(device_);
}

// One thread does everything here: what another one would have loaded by now is loaded first.
void SimulatedDevice::ask(const engine::Shard::Ask& ask, const PolicySet& set, engine::DeviceReply& reply) {
  client_->work();
  client_->ask(ask, set, reply);
}

bool SimulatedDevice::submit(const engine::Shard::Ask& ask, const PolicySet& set, TimeNs now, engine::DeviceReply& reply) {
  client_->work();
  return client_->submit(ask, set, now, reply);
}

bool SimulatedDevice::poll(TimeNs now, engine::DeviceReply& reply) {
  client_->work();
  return client_->poll(now, reply);
}

}  // namespace peregrine::venue
