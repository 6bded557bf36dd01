// A verilated core behind six C functions, so that Python (ctypes) and C++ drive it without knowing its widths.
// Compiled once a design, with -DHDL_TOP=<class> -DHDL_HEADER="<class>.h"; everything lives in the handle.
//
//   i_payload, o_payload   copied as bytes, little endian: lane k of an int32 array at byte 4 k
//   one cycle              inputs set, clk high, clk low; what is read before the edge is what the edge takes
#include <cstdint>
#include <cstring>
#include <memory>

#include HDL_HEADER

double sc_time_stamp() { return 0; }

namespace {

struct Model {
  VerilatedContext context;
  HDL_TOP top{&context};

  void clock() {
    top.clk = 1;
    top.eval();
    top.clk = 0;
    top.eval();
  }
  void reset() {
    top.rst = 1;
    top.i_valid = 0;
    top.o_ready = 1;
    clock();
    top.rst = 0;
    top.eval();
  }
};

// A coin that falls heads three times in four; the seed makes the whole stall pattern.
struct Coin {
  std::uint64_t state;
  bool operator()() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state & 0x300) != 0;
  }
};

}  // namespace

extern "C" {

void* hdl_open() {
  auto* m = std::make_unique<Model>().release();
  m->reset();
  return m;
}

void hdl_close(void* handle) { delete static_cast<Model*>(handle); }

void hdl_reset(void* handle) { static_cast<Model*>(handle)->reset(); }

std::uint64_t hdl_in_bytes(void* handle) { return sizeof static_cast<Model*>(handle)->top.i_payload; }
std::uint64_t hdl_out_bytes(void* handle) { return sizeof static_cast<Model*>(handle)->top.o_payload; }

// Sends n payloads of in_bytes, takes n of out_bytes; with a stall seed both sides pause at random. Returns the cycles
// from the first input offered to the last output taken, or 0 when they did not come within a generous time.
std::uint64_t hdl_stream(void* handle, const void* in, std::uint64_t in_bytes, void* out, std::uint64_t out_bytes,
                         std::uint64_t n, std::uint64_t stall_seed) {
  auto& m = *static_cast<Model*>(handle);
  auto& top = m.top;
  const auto* from = static_cast<const unsigned char*>(in);
  auto* to = static_cast<unsigned char*>(out);
  Coin coin{stall_seed | 1};
  const std::uint64_t patience = 16 * n + 4096;
  std::uint64_t sent = 0, taken = 0, cycles = 0;
  bool offered = false;
  for (; taken < n; ++cycles) {
    if (cycles > patience) return 0;
    // an offer once made stands until it is taken
    offered = sent < n && (offered || stall_seed == 0 || coin());
    top.i_valid = offered;
    if (offered) std::memcpy(&top.i_payload, from + sent * in_bytes, in_bytes);
    bool accepted = offered;
    if (stall_seed != 0) {
      top.o_ready = coin();
      top.eval();  // i_ready follows o_ready within the cycle
      accepted = offered && top.i_ready;
    }
    if (top.o_valid && top.o_ready) {
      std::memcpy(to + taken * out_bytes, &top.o_payload, out_bytes);
      ++taken;
    }
    m.clock();
    if (accepted) {
      ++sent;
      offered = false;
    }
  }
  top.i_valid = 0;
  top.o_ready = 1;
  top.eval();
  return cycles;
}

// Clock edges from the one that takes a lone input to its output being valid.
std::uint64_t hdl_latency(void* handle, const void* in, std::uint64_t in_bytes) {
  auto& m = *static_cast<Model*>(handle);
  m.reset();
  std::memcpy(&m.top.i_payload, in, in_bytes);
  m.top.i_valid = 1;
  m.clock();
  m.top.i_valid = 0;
  m.top.eval();
  std::uint64_t cycles = 1;
  while (!m.top.o_valid && cycles < 4096) {
    m.clock();
    ++cycles;
  }
  m.reset();
  return cycles;
}

}  // extern "C"
