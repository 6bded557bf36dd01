// A device as one shard's runner uses it, from a Python dict: opened, loaded, asked, and given back.
#pragma once

#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "bindings/shard_view.h"
#include "core/clock.h"
#include "device_kernel.h"
#include "engine/device_client.h"

namespace peregrine::bindings {

class DeviceHost {
 public:
  // `spec`: backend ("cpu", "vfio", or the path of a library), address, transport, ring_log2, cycles_per_poll, epoch,
  // deadline, count_polls, retries, breaker_failures, probe_after; or, in place of the first six, table and handle: the
  // addresses of a device that is open already. ValueError says why it cannot be opened, and the fix.
  DeviceHost(const py::dict& spec, const TscClock& clock) : clock_(clock) {
    engine::DeviceClientConfig config;
    config.deadline = get<u64>(spec, "deadline");
    config.cycles_per_poll = get<u64>(spec, "cycles_per_poll");
    config.count_polls = get<bool>(spec, "count_polls");
    config.retries = get<u32>(spec, "retries");
    config.breaker_failures = get<u32>(spec, "breaker_failures");
    config.probe_after = get<u32>(spec, "probe_after");
    if (spec.contains("table")) {
      backend_ = reinterpret_cast<const pgd_backend*>(get<std::uintptr_t>(spec, "table"));
      device_ = reinterpret_cast<pgd_device*>(get<std::uintptr_t>(spec, "handle"));
    } else {
      open(spec);
    }
    client_ = std::make_unique<engine::DeviceClient>(*backend_, device_, config, clock_);
  }
  ~DeviceHost() {
    stop();
    client_.reset();
    if (mine_) backend_->close(device_);
  }
  DeviceHost(const DeviceHost&) = delete;
  DeviceHost& operator=(const DeviceHost&) = delete;

  // Loads the set, before the first ask. What did not go is in the summary's note, and the kernels decide meanwhile.
  void prepare(const PolicySet& set) {
    pgd_reason reason{};
    if (client_->prepare(set, reason)) return;
    note_ = std::string(reason.found) + (reason.hint[0] != 0 ? std::string("; ") + reason.hint : "");
    if (note_.empty()) note_ = "the policies could not be loaded";
  }
  // The thread that loads banks while the run is on: milliseconds that no decision waits for. Virtual time has none
  // and calls work() between two inputs.
  void start() {
    loader_ = std::thread([this] {
      while (!stop_.load(std::memory_order_acquire)) {
        if (!client_->work()) ::usleep(1000);
      }
    });
  }
  void stop() {
    stop_.store(true, std::memory_order_release);
    if (loader_.joinable()) loader_.join();
  }
  bool work() { return client_->work(); }
  const pgd_backend& backend() const { return *backend_; }
  pgd_device* device() const { return device_; }
  engine::DevicePort* port() { return client_.get(); }

  py::dict summary() const {
    static constexpr const char* kBreaker[] = {"closed", "open", "probing"};
    const engine::DeviceClientCounters& c = client_->counters();
    const pgd_caps& caps = client_->caps();
    py::dict d;
    d["backend"] = caps.backend;
    d["detail"] = caps.detail;
    d["lanes"] = caps.lanes;
    d["asked"] = c.asked;
    d["answered"] = c.answered;
    d["late"] = c.late;
    d["corrupt"] = c.corrupt;
    d["refused"] = c.refused;
    d["busy"] = c.busy;
    d["broken"] = c.broken;
    d["not_asked"] = c.not_asked;
    d["late_answers"] = c.late_answers;
    d["retries"] = c.retries;
    d["wrong"] = c.wrong;
    d["breaker"] = kBreaker[static_cast<u8>(client_->breaker())];
    d["breaker_opened"] = c.opened;
    d["breaker_closed"] = c.closed;
    d["probes"] = c.probes;
    d["note"] = note_;
    return d;
  }

 private:
  void open(const py::dict& spec) {
    const std::string name = get<std::string>(spec, "backend");
    const std::string address = get<std::string>(spec, "address");
    pgd_reason reason{};
    backend_ = name.find('/') == std::string::npos ? pgd_backend_by_name(name.c_str()) : pgd_backend_load(name.c_str(), &reason);
    if (backend_ == nullptr) {
      if (reason.found[0] != 0) throw py::value_error(std::string("device: ") + reason.found + "\nhint: " + reason.hint);
      throw py::value_error("device: no backend '" + name + "'; there are cpu, sim and vfio");
    }
    pgd_options options{};
    options.transport = get<u32>(spec, "transport");
    options.ring_log2 = get<u32>(spec, "ring_log2");
    options.cycles_per_poll = get<u32>(spec, "cycles_per_poll");
    options.epoch = get<u32>(spec, "epoch");
    options.address = address.empty() ? nullptr : address.c_str();
    options.kernel = peregrine_device_kernel(nullptr);
    const int r = backend_->open(&options, &device_, &reason);
    if (r != PGD_OK) {
      throw py::value_error(std::string("device ") + name + ": " + pgd_result_name(r) + ": " + reason.found +
                            "\nhint: " + reason.hint);
    }
    mine_ = true;
  }

  TscClock clock_;
  const pgd_backend* backend_ = nullptr;
  pgd_device* device_ = nullptr;
  bool mine_ = false;
  std::string note_;
  std::unique_ptr<engine::DeviceClient> client_;
  std::thread loader_;
  std::atomic<bool> stop_{false};
};

}  // namespace peregrine::bindings
