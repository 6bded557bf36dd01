// The device of a simulated engine: the kernels behind device.h, with faults by seed between them and the engine.
#pragma once

#include <memory>

#include "device/faulty_device.h"
#include "engine/device_client.h"

namespace peregrine::venue {

class SimulatedDevice final : public engine::DevicePort {
 public:
  SimulatedDevice(u64 seed, const PolicySet& set, const TscClock& clock);
  ~SimulatedDevice();
  SimulatedDevice(const SimulatedDevice&) = delete;
  SimulatedDevice& operator=(const SimulatedDevice&) = delete;

  void ask(const engine::Shard::Ask& ask, const PolicySet& set, engine::DeviceReply& reply) override;
  bool submit(const engine::Shard::Ask& ask, const PolicySet& set, TimeNs now, engine::DeviceReply& reply) override;
  bool poll(TimeNs now, engine::DeviceReply& reply) override;
  void on_wrong() override { client_->on_wrong(); }
  bool work() override { return client_->work(); }
  engine::DeviceHealth health() const override { return client_->health(); }

 private:
  const pgd_backend& backend_;
  pgd_device* device_ = nullptr;
  std::unique_ptr<sim::FaultyDevice> faulty_;
  std::unique_ptr<engine::DeviceClient> client_;
};

}  // namespace peregrine::venue
