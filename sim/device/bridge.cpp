// The sim backend of device.h: the verilated device in this process, reached only as a card is. Registers and push slots
// go over its AXI4-Lite ports, completions and descriptors over its AXI4 port into memory that the driver core reads.
// Compiled with the driver core and the model into one shared library (sim/peregrine_sim/device.py); no engine in it.
//
//   one cycle    inputs settle, both clocks' edges: the core's falls half a cycle behind the bus's, so that they cross
//   time         only here: an access takes the cycles it takes, a poll gives `cycles_per_poll`; nothing reads a clock
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "Vtop.h"

extern "C" {
#include "core/core.h"
}

double sc_time_stamp() { return 0; }

namespace {

using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u64 kHostBase = 0x10'0000'0000ull;  // where the device sees host memory: above 32 bits, so both words count
constexpr u64 kPatienceCycles = 60'000;
constexpr u32 kAccessCycles = 4'096;  // a bus that does not answer within this is dead
constexpr u32 kDefaultCyclesPerPoll = 16;

// One fault for tests, taken by whoever comes by first: the value on a wire has `bit` flipped.
enum Plant : int { kNone, kCsrWrite, kBankWord, kDmaWriteBeat, kDmaReadBeat, kPushWord };
struct Planted {
  int kind = kNone;
  u64 where = 0;  // register offset, with how many writes to it go by before in bits 16 on; or how many words or beats do
  u32 bit = 0;
} planted;

template <class T>
T faulty(int kind, u64 where, T value) {
  if (planted.kind != kind) return value;
  if (kind == kCsrWrite) {
    if ((planted.where & 0xFFFF) != where) return value;
    if (planted.where >> 16 != 0) {
      planted.where -= 1 << 16;
      return value;
    }
  } else if (planted.where-- != 0) {
    return value;
  }
  planted.kind = kNone;
  return value ^ (T{1} << planted.bit);
}

}  // namespace

struct pgd_device {
  VerilatedContext context;
  Vtop top{&context};
  pgd_core core{};
  std::vector<u8> host;
  u32 cycles_per_poll = kDefaultCyclesPerPoll;
  u64 cycles = 0;
  int event = -1;
  bool dead = false;  // a port did not answer
  // the memory's side of the AXI4 port
  u64 read_at = 0, write_at = 0;
  u32 reads_left = 0;
  bool read_error = false, write_error = false, write_answer = false, writing = false;

  void settle() { top.eval(); }
  void cycle();
  void reset_pins();
  u8* memory(u64 address);
  void write_lite(bool push, u32 address, u64 data);
  u32 read_lite(u32 address);
};

u8* pgd_device::memory(u64 address) {
  return address >= kHostBase && address + 8 <= kHostBase + host.size() ? &host[address - kHostBase] : nullptr;
}

// One bus cycle with the memory behind the AXI4 port: always ready, a beat a cycle, SLVERR outside host memory.
void pgd_device::cycle() {
  top.m_axi_arready = reads_left == 0;
  top.m_axi_awready = !writing && !write_answer;
  top.m_axi_wready = writing && !write_answer;
  top.m_axi_rvalid = reads_left != 0;
  top.m_axi_rlast = reads_left == 1;
  const u8* from = reads_left != 0 ? memory(read_at) : nullptr;
  u64 word = 0;
  if (from != nullptr) std::memcpy(&word, from, 8);
  top.m_axi_rdata = planted.kind == kDmaReadBeat && planted.where == 0 && reads_left != 0 ? word ^ (u64{1} << planted.bit) : word;
  top.m_axi_rresp = reads_left != 0 && from == nullptr ? 2 : 0;
  top.m_axi_bvalid = write_answer;
  top.m_axi_bresp = write_error ? 2 : 0;
  settle();
  const bool took_ar = top.m_axi_arvalid && top.m_axi_arready, took_r = top.m_axi_rvalid && top.m_axi_rready;
  const bool took_aw = top.m_axi_awvalid && top.m_axi_awready, took_w = top.m_axi_wvalid && top.m_axi_wready;
  const bool took_b = top.m_axi_bvalid && top.m_axi_bready;
  const u64 ar = top.m_axi_araddr, aw = top.m_axi_awaddr;
  const u32 ar_beats = top.m_axi_arlen + 1u;
  const u64 data = top.m_axi_wdata;
  const u8 strobe = top.m_axi_wstrb;
  const bool last = top.m_axi_wlast;

  top.clk = 1;
  settle();
  top.clk = 0;
  top.core_clk = 1;
  settle();
  top.core_clk = 0;
  settle();
  ++cycles;

  if (took_r) {
    faulty(kDmaReadBeat, 0, u64{0});  // counts this beat; the flip itself was on the wire above
    read_at += 8;
    --reads_left;
  }
  if (took_ar) {
    read_at = ar;
    reads_left = ar_beats;
  }
  if (took_aw) {
    write_at = aw;
    writing = true;
    write_error = false;
  }
  if (took_w) {
    const u64 stored = faulty(kDmaWriteBeat, 0, data);
    u8* to = memory(write_at);
    write_error = write_error || to == nullptr;
    for (int i = 0; to != nullptr && i < 8; ++i) {
      if ((strobe >> i & 1) != 0) to[i] = static_cast<u8>(stored >> 8 * i);
    }
    write_at += 8;
    if (last) {
      writing = false;
      write_answer = true;
    }
  }
  if (took_b) write_answer = false;
  if (top.irq && event >= 0) {
    const u64 one = 1;
    if (::write(event, &one, sizeof one) != sizeof one) std::abort();
  }
}

void pgd_device::reset_pins() {
  top.rst = top.core_rst = 1;
  for (int i = 0; i < 8; ++i) cycle();
  top.rst = top.core_rst = 0;
  for (int i = 0; i < 64; ++i) cycle();  // the device's own reset goes through its states
}

void pgd_device::write_lite(bool push, u32 address, u64 data) {
  bool address_there = true, data_there = true;
  for (u32 n = 0; n < kAccessCycles; ++n) {
    bool aw = false, w = false, b = false;
    if (push) {
      top.s_push_awaddr = address;
      top.s_push_wdata = data;
      top.s_push_wstrb = 0xFF;
      top.s_push_awvalid = address_there;
      top.s_push_wvalid = data_there;
      top.s_push_bready = 1;
      settle();
      aw = address_there && top.s_push_awready;
      w = data_there && top.s_push_wready;
      b = top.s_push_bvalid;
    } else {
      top.s_axil_awaddr = address;
      top.s_axil_wdata = static_cast<u32>(data);
      top.s_axil_wstrb = 0xF;
      top.s_axil_awvalid = address_there;
      top.s_axil_wvalid = data_there;
      top.s_axil_bready = 1;
      settle();
      aw = address_there && top.s_axil_awready;
      w = data_there && top.s_axil_wready;
      b = top.s_axil_bvalid;
    }
    cycle();
    address_there = address_there && !aw;
    data_there = data_there && !w;
    if (b) break;  // a refusal is not seen: over PCIe a write has no answer either
    dead = n + 1 == kAccessCycles;
  }
  top.s_push_awvalid = top.s_push_wvalid = top.s_axil_awvalid = top.s_axil_wvalid = 0;
}

u32 pgd_device::read_lite(u32 address) {
  bool address_there = true;
  for (u32 n = 0; n < kAccessCycles && !dead; ++n) {
    top.s_axil_araddr = address;
    top.s_axil_arvalid = address_there;
    top.s_axil_rready = 1;
    settle();
    const bool ar = address_there && top.s_axil_arready, r = top.s_axil_rvalid;
    const u32 value = top.s_axil_rdata;
    cycle();
    address_there = address_there && !ar;
    if (r) {
      top.s_axil_arvalid = 0;
      return value;
    }
  }
  dead = true;
  return 0xFFFFFFFFu;  // what a bus gives when nothing answers
}

namespace {

u32 io_read32(void* context, u32 offset) { return static_cast<pgd_device*>(context)->read_lite(offset); }

void io_write32(void* context, u32 offset, u32 value) {
  value = faulty(kCsrWrite, offset, value);
  if (offset == PGD_REG_BANK_DATA) value = faulty(kBankWord, 0, value);
  static_cast<pgd_device*>(context)->write_lite(false, offset, value);
}

void io_push_line(void* context, u32 offset, const void* line) {
  for (u32 i = 0; i < PGD_LINE_BYTES; i += 8) {
    u64 word = 0;
    std::memcpy(&word, static_cast<const u8*>(line) + i, 8);
    static_cast<pgd_device*>(context)->write_lite(true, offset + i, faulty(kPushWord, 0, word));
  }
}

void io_advance(void* context) {
  auto* d = static_cast<pgd_device*>(context);
  for (u32 i = 0; i < d->cycles_per_poll; ++i) d->cycle();
}

u64 io_now(void* context) { return static_cast<pgd_device*>(context)->cycles; }

int sim_probe(const pgd_options* options, pgd_reason* reason) {
  return options == nullptr ? PGD_E_INVALID : PGD_OK;
}

void sim_close(pgd_device* d) {
  if (d == nullptr) return;
  if (d->event >= 0) {
    pgd_core_stop(&d->core);
    ::close(d->event);
  }
  std::free(d->core.image);
  delete d;
}

int bring_up(pgd_device* d, const pgd_options* options, pgd_reason* reason) {
  d->reset_pins();
  const int result = pgd_core_identify(&d->core, options, reason);
  if (result != PGD_OK) return result;
  d->host.assign(pgd_core_memory_bytes(&d->core), 0);
  d->core.memory = d->host.data();
  d->core.address = kHostBase;
  if (d->core.caps.bank_words != 0) {
    d->core.image = static_cast<u32*>(std::malloc(std::size_t{d->core.caps.bank_words} * 4));
    if (d->core.image == nullptr) return pgd_refuse(PGD_E_MEMORY, reason, "", "no memory for an image");
  }
  d->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (d->event < 0) return pgd_refuse(PGD_E_IO, reason, "", "no eventfd");
  return pgd_core_start(&d->core, reason);
}

int sim_open(const pgd_options* options, pgd_device** device, pgd_reason* reason) {
  if (device == nullptr || options == nullptr) return PGD_E_INVALID;
  *device = nullptr;
  auto d = std::make_unique<pgd_device>();
  d->cycles_per_poll = options->cycles_per_poll != 0 ? options->cycles_per_poll : kDefaultCyclesPerPoll;
  d->core.context = d.get();
  d->core.io = {io_read32, io_write32, io_push_line, io_advance, io_now, kPatienceCycles};
  d->core.caps.flags = PGD_CAP_REGISTERS | PGD_CAP_INTERRUPTS;
  d->core.caps.time_unit = PGD_TIME_CYCLES;
  std::snprintf(d->core.caps.backend, sizeof d->core.caps.backend, "sim");
  std::snprintf(d->core.caps.detail, sizeof d->core.caps.detail, "%s, %u cycles a poll", PGD_SIM_DESIGN, d->cycles_per_poll);
  const int result = bring_up(d.get(), options, reason);
  if (result != PGD_OK) {
    sim_close(d.release());
    return result;
  }
  *device = d.release();
  return PGD_OK;
}

int sim_arm(pgd_device* d, int* fd) {
  if (d == nullptr || fd == nullptr) return PGD_E_INVALID;
  *fd = d->event;
  pgd_core_arm(&d->core);
  return PGD_OK;
}

PGD_CORE_TABLE(sim, d->core)

const pgd_backend kBackend = {
    PGD_ABI_VERSION, sizeof(pgd_backend), "sim", sim_probe, sim_open, sim_caps, sim_load_policy, sim_swap, sim_submit,
    sim_poll, sim_wait, sim_cancel, sim_reset, sim_stats, sim_arm, sim_read_register, sim_close,
};

}  // namespace

extern "C" {

__attribute__((visibility("default"))) const pgd_backend* pgd_library_backend() { return &kBackend; }

// Tests: flip `bit` on the wire that `kind` (enum Plant) names, once.
__attribute__((visibility("default"))) void pgd_sim_plant(int kind, std::uint64_t where, std::uint32_t bit) {
  planted = {kind, where, bit};
}

}  // extern "C"
