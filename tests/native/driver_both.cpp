// The drivers' C under the sanitizers: random requests, cancels, stalls and resets over the cpu backend and the vfio
// backend on its fake machine, a thread a handle, every answer compared; the core around the wrap of its sequence; then
// each planted wrong call, which may fail but not corrupt.
#include <linux/vfio.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "../drivers/fake_kernel.h"
#include "device.h"
#include "device_kernel.h"

extern "C" {
#include "core/core.h"
}

// what the kernel's own header has, ours is
static_assert(PGD_VFIO_GET_API_VERSION == VFIO_GET_API_VERSION && PGD_VFIO_CHECK_EXTENSION == VFIO_CHECK_EXTENSION);
static_assert(PGD_VFIO_SET_IOMMU == VFIO_SET_IOMMU && PGD_VFIO_TYPE1V2_IOMMU == VFIO_TYPE1v2_IOMMU);
static_assert(PGD_VFIO_GROUP_GET_STATUS == VFIO_GROUP_GET_STATUS && PGD_GROUP_VIABLE == VFIO_GROUP_FLAGS_VIABLE);
static_assert(PGD_VFIO_GROUP_SET_CONTAINER == VFIO_GROUP_SET_CONTAINER);
static_assert(PGD_VFIO_GROUP_UNSET_CONTAINER == VFIO_GROUP_UNSET_CONTAINER);
static_assert(PGD_VFIO_GROUP_GET_DEVICE_FD == VFIO_GROUP_GET_DEVICE_FD);
static_assert(PGD_VFIO_DEVICE_GET_INFO == VFIO_DEVICE_GET_INFO && PGD_VFIO_DEVICE_RESET == VFIO_DEVICE_RESET);
static_assert(PGD_VFIO_DEVICE_GET_REGION_INFO == VFIO_DEVICE_GET_REGION_INFO);
static_assert(PGD_VFIO_DEVICE_GET_IRQ_INFO == VFIO_DEVICE_GET_IRQ_INFO && PGD_VFIO_DEVICE_SET_IRQS == VFIO_DEVICE_SET_IRQS);
static_assert(PGD_VFIO_IOMMU_GET_INFO == VFIO_IOMMU_GET_INFO && PGD_VFIO_IOMMU_MAP_DMA == VFIO_IOMMU_MAP_DMA);
static_assert(PGD_VFIO_IOMMU_UNMAP_DMA == VFIO_IOMMU_UNMAP_DMA);
static_assert(PGD_DEVICE_RESETS == VFIO_DEVICE_FLAGS_RESET && PGD_DEVICE_PCI == VFIO_DEVICE_FLAGS_PCI);
static_assert(PGD_REGION_READ == VFIO_REGION_INFO_FLAG_READ && PGD_REGION_WRITE == VFIO_REGION_INFO_FLAG_WRITE);
static_assert(PGD_REGION_MMAP == VFIO_REGION_INFO_FLAG_MMAP && PGD_REGION_BAR0 == VFIO_PCI_BAR0_REGION_INDEX);
static_assert(PGD_REGION_BAR2 == VFIO_PCI_BAR2_REGION_INDEX && PGD_REGION_CONFIG == VFIO_PCI_CONFIG_REGION_INDEX);
static_assert(PGD_IRQ_MSIX == VFIO_PCI_MSIX_IRQ_INDEX && PGD_IRQ_EVENTFD == VFIO_IRQ_INFO_EVENTFD);
static_assert(PGD_IRQ_SET_NONE == VFIO_IRQ_SET_DATA_NONE && PGD_IRQ_SET_EVENTFD == VFIO_IRQ_SET_DATA_EVENTFD);
static_assert(PGD_IRQ_SET_TRIGGER == VFIO_IRQ_SET_ACTION_TRIGGER);
static_assert(PGD_DMA_READ == VFIO_DMA_MAP_FLAG_READ && PGD_DMA_WRITE == VFIO_DMA_MAP_FLAG_WRITE);
static_assert(PGD_IOMMU_INFO_CAPS == VFIO_IOMMU_INFO_CAPS && PGD_IOMMU_CAP_RANGES == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
static_assert(sizeof(pgd_device_info) >= 16 && sizeof(pgd_region_info) == sizeof(vfio_region_info));
static_assert(sizeof(pgd_irq_info) == sizeof(vfio_irq_info) && sizeof(pgd_iova_range) == sizeof(vfio_iova_range));
static_assert(offsetof(pgd_irq_set, fd) == sizeof(vfio_irq_set) && sizeof(pgd_group_status) == sizeof(vfio_group_status));
static_assert(sizeof(pgd_dma_map) == sizeof(vfio_iommu_type1_dma_map) && offsetof(pgd_dma_map, iova) == offsetof(vfio_iommu_type1_dma_map, iova));
static_assert(sizeof(pgd_dma_unmap) == sizeof(vfio_iommu_type1_dma_unmap));
static_assert(sizeof(pgd_cap_header) == sizeof(vfio_info_cap_header));

namespace {

#define CHECK(good)                                                              \
  do {                                                                           \
    if (!(good)) {                                                               \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #good);    \
      std::exit(1);                                                              \
    }                                                                            \
  } while (0)

struct Network {
  std::vector<std::int8_t> weights[2];
  std::vector<std::int32_t> bias[2];
  std::vector<std::uint8_t> shift;
  std::vector<std::int16_t> m;
  std::vector<std::uint8_t> s;
  pgd_layer layer[2]{};
  pgd_policy policy{};

  Network(std::mt19937& rng, std::uint32_t inputs, std::uint32_t width, std::uint32_t outputs) {
    const std::uint32_t in[2] = {inputs, width}, out[2] = {width, outputs};
    for (int l = 0; l < 2; ++l) {
      for (std::uint32_t k = 0; k < in[l] * out[l]; ++k) weights[l].push_back(static_cast<std::int8_t>(rng()));
      for (std::uint32_t k = 0; k < out[l]; ++k) bias[l].push_back(static_cast<std::int32_t>(rng() % 20001) - 10000);
    }
    for (std::uint32_t k = 0; k < width; ++k) shift.push_back(static_cast<std::uint8_t>(1 + rng() % 16));
    for (std::uint32_t k = 0; k < inputs; ++k) {
      m.push_back(static_cast<std::int16_t>(rng()));
      s.push_back(static_cast<std::uint8_t>(rng() % 47));
    }
    layer[0] = {inputs, width, static_cast<std::uint32_t>(rng() % 2), weights[0].data(), bias[0].data(), shift.data()};
    layer[1] = {width, outputs, 0, weights[1].data(), bias[1].data(), nullptr};
    policy = {inputs, 2, m.data(), s.data(), layer};
  }
};

// A random day of one device; the scalar kernel says what each answer must be.
void exercise(const pgd_backend* backend, const pgd_options& options, fake::DeviceModel* model, std::uint32_t seed) {
  std::mt19937 rng(seed);
  pgd_device* device = nullptr;
  pgd_reason reason{};
  CHECK(backend->open(&options, &device, &reason) == PGD_OK);
  pgd_caps caps{};
  CHECK(backend->caps(device, &caps) == PGD_OK);
  const pgd_kernel* scalar = peregrine_device_kernel("scalar");
  std::map<std::uint64_t, std::vector<std::int32_t>> in_flight;
  std::uint64_t cancelled = 0, answered = 0;
  std::uint32_t bank = 0;
  for (int day = 0; day < 6; ++day) {
    const Network network(rng, 1 + rng() % 64, 1 + rng() % 128, 1 + rng() % 16);
    const pgd_policy_set set{seed + 1ull, 1, &network.policy};
    CHECK(backend->load_policy(device, bank, &set, &reason) == PGD_OK);
    CHECK(backend->swap(device, bank) == PGD_OK);
    void* twin = scalar->make(&network.policy, nullptr);
    for (int step = 0; step < 300; ++step) {
      if (model != nullptr) {
        model->hold = rng() % 3 == 0;
        model->service();
      }
      const std::uint32_t kind = rng() % 2;
      std::vector<std::int32_t> inputs(network.policy.n_inputs), logits(16);  // exactly as long as it is said to be
      for (std::int32_t& v : inputs) v = static_cast<std::int32_t>(rng()) >> rng() % 31;
      std::vector<std::int8_t> narrow(inputs.begin(), inputs.end());
      const void* data = kind == PGD_KIND_INT8 ? static_cast<const void*>(narrow.data()) : inputs.data();
      std::uint64_t tag = 0;
      const int result = backend->submit(device, 0, kind, data, network.policy.n_inputs, &tag);
      CHECK(result == PGD_OK || (result == PGD_E_WOULD_BLOCK && in_flight.size() > 0));
      if (result == PGD_OK) {
        scalar->infer(twin, kind, data, logits.data());
        logits.resize(network.policy.layer[1].outputs);
        CHECK(in_flight.emplace(tag, logits).second);
      }
      if (rng() % 8 == 0 && !in_flight.empty()) CHECK(backend->cancel(device, in_flight.begin()->first) == PGD_OK);
      pgd_completion c{};
      for (unsigned n = rng() % 3; n > 0 && backend->poll(device, &c) == 1; --n) {
        const auto wanted = in_flight.find(c.tag);
        CHECK(wanted != in_flight.end());
        ++answered;
        cancelled += c.status == PGD_STATUS_CANCELLED;
        CHECK(c.status == PGD_STATUS_OK || c.status == PGD_STATUS_CANCELLED);
        for (std::size_t k = 0; c.status == PGD_STATUS_OK && k < wanted->second.size() && k < 8; ++k) CHECK(c.logits[k] == wanted->second[k]);
        in_flight.erase(wanted);
      }
    }
    scalar->free(twin);
    if (model != nullptr) model->hold = false;
    if (day % 2 == 0) {
      CHECK(backend->reset(device) == PGD_OK);
      bank = rng() % 2;
      in_flight.clear();
    } else {
      pgd_completion c{};
      if (model != nullptr) model->service();
      while (!in_flight.empty()) {
        CHECK(backend->wait(device, &c, 1'000'000'000) == 1);
        CHECK(in_flight.erase(c.tag) == 1);
      }
      CHECK(backend->wait(device, &c, 1) == PGD_E_EMPTY);
      bank ^= 1;
    }
  }
  CHECK(answered > 100 && cancelled > 0);
  backend->close(device);
}

// The core over the model without a backend between, begun shortly before its sequence number wraps.
void wrap() {
  struct Direct {
    fake::DeviceModel model;
    pgd_core core{};
    std::uint64_t now = 0;
    alignas(64) unsigned char memory[4096] = {};
  } d;
  constexpr std::uint64_t kBase = 0x10'0000'0000ull;
  d.model.memory = [&d](std::uint64_t at, std::uint64_t bytes, bool) {
    return at >= kBase && at + bytes <= kBase + sizeof d.memory ? d.memory + (at - kBase) : nullptr;
  };
  d.model.violation = [](const std::string& what) {
    std::fprintf(stderr, "%s\n", what.c_str());
    std::exit(1);
  };
  d.core.context = &d;
  d.core.io = {[](void* c, std::uint32_t at) { return static_cast<Direct*>(c)->model.read32(at); },
               [](void* c, std::uint32_t at, std::uint32_t v) { static_cast<Direct*>(c)->model.write32(at, v); },
               [](void* c, std::uint32_t at, const void* line) { static_cast<Direct*>(c)->model.push(at, static_cast<const fake::u8*>(line), 64); },
               nullptr, [](void* c) { return ++static_cast<Direct*>(c)->now; }, 1000};
  pgd_options options{};
  CHECK(pgd_core_identify(&d.core, &options, nullptr) == PGD_OK);
  std::vector<std::uint32_t> image(d.core.caps.bank_words);
  d.core.image = image.data();
  d.core.memory = d.memory;
  d.core.address = kBase;
  CHECK(pgd_core_memory_bytes(&d.core) <= sizeof d.memory && pgd_core_start(&d.core, nullptr) == PGD_OK);
  std::mt19937 rng(3);
  const Network network(rng, 4, 4, 4);
  const pgd_policy_set set{1, 1, &network.policy};
  CHECK(pgd_core_load_policy(&d.core, 0, &set, nullptr) == PGD_OK && pgd_core_swap(&d.core, 0) == PGD_OK);
  d.core.sequence = 0xFFFFFFF0u;
  const std::int32_t row[4] = {1, 2, 3, 4};
  std::uint64_t tags[4] = {};
  for (std::uint32_t k = 0; k < 32; ++k) {
    d.model.hold = true;
    for (std::uint64_t& tag : tags) CHECK(pgd_core_submit(&d.core, 0, PGD_KIND_FEATURES, row, 4, &tag) == PGD_OK);
    CHECK(static_cast<std::uint32_t>(tags[3]) == 0xFFFFFFF0u + 4 * k + 4 && tags[3] >> 32 == 1);
    CHECK(pgd_core_cancel(&d.core, tags[1]) == PGD_OK && pgd_core_cancel(&d.core, tags[3] + 1) == PGD_E_NOT_FOUND);
    d.model.hold = false;
    d.model.service();
    pgd_completion c{};
    for (int n = 0; n < 4; ++n) {
      CHECK(pgd_core_wait(&d.core, &c, 100) == 1);
      CHECK((c.tag == tags[1]) == (c.status == PGD_STATUS_CANCELLED));
    }
  }
  CHECK(d.core.stats.stale == 0 && d.core.stats.in_flight == 0 && d.core.stats.answered == 128);
}

// Whatever the kernel and the device answer, memory stays whole.
void survive(const pgd_options& options, fake::FakeKernel& machine) {
  const pgd_backend* backend = pgd_backend_by_name("vfio");
  pgd_device* device = nullptr;
  if (backend->open(&options, &device, nullptr) != PGD_OK) return;
  std::mt19937 rng(7);
  const Network network(rng, 20, 30, 5);
  const pgd_policy_set set{1, 1, &network.policy};
  const std::vector<std::int32_t> row(20);
  pgd_completion c{};
  if (backend->load_policy(device, 0, &set, nullptr) == PGD_OK && backend->swap(device, 0) == PGD_OK) {
    for (int i = 0; i < 40; ++i) {
      backend->submit(device, 0, PGD_KIND_FEATURES, row.data(), 20, nullptr);
      backend->wait(device, &c, 1'000'000);
    }
  }
  machine.model.gone = true;  // pulled out of its slot
  backend->submit(device, 0, PGD_KIND_FEATURES, row.data(), 20, nullptr);
  backend->wait(device, &c, 1'000'000);
  backend->close(device);
}

}  // namespace

int main() {
  for (const char* name : {"scalar", "avx2", "avxvnni", "avx512vnni"}) {
    pgd_options options{};
    options.kernel = peregrine_device_kernel(name);
    if (options.kernel != nullptr) exercise(pgd_backend_by_name("cpu"), options, nullptr, 11);
  }
  std::vector<std::thread> threads;
  for (const bool iommufd : {false, true}) {
    for (const std::uint32_t transport : {PGD_TRANSPORT_PUSH, PGD_TRANSPORT_RING}) {
      threads.emplace_back([iommufd, transport] {
        fake::FakeKernel machine(iommufd, iommufd);
        pgd_options options{};
        options.transport = transport;
        options.ring_log2 = 2;
        options.address = "0000:65:00.0";
        options.sys = machine.sys();
        exercise(pgd_backend_by_name("vfio"), options, &machine.model, 20u + 2 * transport + iommufd);
        machine.check_closed();
        for (const std::string& b : machine.breaches) std::fprintf(stderr, "%s\n", b.c_str());
        CHECK(machine.breaches.empty());
      });
    }
  }
  for (std::thread& t : threads) t.join();
  wrap();
  for (const fake::Mutant& mutant : fake::mutants()) {
    if (mutant.drop && std::strcmp(mutant.call, "munmap") == 0) continue;  // a leak by intent: the machine unmaps it
    fake::FakeKernel machine(std::strncmp(mutant.name, "iommufd", 7) == 0, false);
    machine.mutant = &mutant;
    pgd_options options{};
    options.address = "0000:65:00.0";
    options.sys = machine.sys();
    survive(options, machine);
  }
  std::printf("%zu wrong calls survived\n", fake::mutants().size());
  return 0;
}
