// A verilated core behind the core port (hdl/peregrine_hdl/core_port.py), driven by lists: words of requests and bank
// commands go in, answers and replies come out, all four streams at once. Compiled once a design, as model.cpp is.
//
//   with a stall seed   each side of each stream pauses at random; an offer once made stands until it is taken
//   a command's `after` it is offered only when so many answers were taken: commands and requests in a known order
//   a beat's `after`    the same with replies
//   one cycle           inputs set, clk high, clk low; what is read before the edge is what the edge takes
#include <cstdint>
#include <cstring>
#include <memory>

#include HDL_HEADER

double sc_time_stamp() { return 0; }

namespace {

using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

// 0      4    5   6   7    8     9      12
// | word |slot|kind|count|first|last| 0 | after |
struct Beat {
  u32 word;
  u8 slot, kind, count, last;
  u32 after;  // replies
};
// 0      4  5    6      8
// | data |op|bank| 0    | after |
struct Command {
  u32 data;
  u8 op, bank, zero[2];
  u32 after;  // answers
};
// `idle`: clocks without a word between the request's first and last; `measured`: clocks from the edge that took its
// first word to the one behind which the answer stood.
struct Answer {
  u8 status, action, outputs, bank;
  u32 cycles;
  std::int32_t logits[8];
  u32 idle, measured;
};
struct Reply {
  u8 op, bank, ok, zero;
  u32 words, crc;
  u32 after;  // answers taken before it
};
static_assert(sizeof(Beat) == 12 && sizeof(Command) == 12 && sizeof(Answer) == 48 && sizeof(Reply) == 16);

struct Model {
  VerilatedContext context;
  HDL_TOP top{&context};
  u64 parity_clocks = 0;

  void clock() {
    top.clk = 1;
    top.eval();
    top.clk = 0;
    top.eval();
    parity_clocks += top.parity_error;
  }
  void reset() {
    top.rst = 1;
    top.i_valid = 0;
    top.bank_cmd_valid = 0;
    top.o_ready = 0;
    top.bank_reply_ready = 0;
    clock();
    top.rst = 0;
    top.eval();
  }
};

// A coin that falls heads three times in four.
struct Coin {
  u64 state;
  bool operator()() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state & 0x300) != 0;
  }
};

// `bits` (up to 32) of a wide payload from bit `at` on.
u32 field(const unsigned char* payload, unsigned at, unsigned bits) {
  u64 held = 0;
  std::memcpy(&held, payload + at / 8, 5);
  return static_cast<u32>(held >> (at % 8)) & (bits == 32 ? ~u32{0} : (u32{1} << bits) - 1);
}

}  // namespace

extern "C" {

void* port_open() {
  auto* m = std::make_unique<Model>().release();
  m->reset();
  return m;
}
void port_close(void* handle) { delete static_cast<Model*>(handle); }
void port_reset(void* handle) { static_cast<Model*>(handle)->reset(); }
u64 port_parity_clocks(void* handle) { return static_cast<Model*>(handle)->parity_clocks; }

#ifdef HDL_UPSETS
// Stores `word` at `index` of a bank's region with its low bit the other way round: in each clock from now on when
// `on` is 1, no longer when it is 0, and in one clock when it is 2.
void port_upset(void* handle, u32 bank, u32 region, u32 index, u32 word, u32 on) {
  auto& m = *static_cast<Model*>(handle);
  m.top.upset = u64{on != 0} | u64{bank} << 1 | u64{region} << 2 | u64{index} << 5 | u64{word} << 29;
  m.top.eval();
  if (on != 2) return;
  m.clock();
  m.top.upset = 0;
  m.top.eval();
}
#endif

// Runs until every list is done; returns the cycles, or 0 when nothing moved for `patience` cycles.
u64 port_run(void* handle, const Beat* beats, u64 n_beats, const Command* commands, u64 n_commands, Answer* answers,
             u64 n_answers, Reply* replies, u64 n_replies, u64 stall_seed, u64 patience) {
  auto& m = *static_cast<Model*>(handle);
  auto& top = m.top;
  Coin coin{stall_seed * 0x9E3779B97F4A7C15ull | 1};
  const bool stalls = stall_seed != 0;
  u64 sent = 0, asked = 0, taken = 0, replied = 0, cycles = 0, moved = 0;
  u64 first_edge = 0, words = 0, idle = 0, stood = 0;
  bool offering = false, asking = false, inside = false, standing = false;
  unsigned char wide[48] = {};
  for (; sent < n_beats || asked < n_commands || taken < n_answers || replied < n_replies; ++cycles) {
    if (cycles - moved > patience) return 0;
    if (!offering && sent < n_beats && beats[sent].after <= replied && (!stalls || coin())) {
      const Beat& b = beats[sent];
      top.i_payload = u64{b.word} | u64{!inside} << 32 | u64{b.last} << 33 | u64{b.slot} << 34 | u64{b.kind} << 42 |
                      u64{b.count} << 50;
      offering = true;
    }
    top.i_valid = offering;
    if (!asking && asked < n_commands && commands[asked].after <= taken && (!stalls || coin())) {
      const Command& c = commands[asked];
      top.bank_cmd_payload = u64{c.op} | u64{c.bank} << 2 | u64{c.data} << 6;
      asking = true;
    }
    top.bank_cmd_valid = asking;
    top.o_ready = taken < n_answers && (!stalls || coin());
    top.bank_reply_ready = replied < n_replies && (!stalls || coin());
    const bool in = offering && top.i_ready, commanded = asking && top.bank_cmd_ready;
    if (top.o_valid && !standing) {
      standing = true;
      stood = cycles;
    }
    if (top.o_valid && top.o_ready) {
      std::memcpy(wide, &top.o_payload, sizeof top.o_payload);
      Answer& a = answers[taken++];
      a.status = static_cast<u8>(field(wide, 0, 8));
      a.action = static_cast<u8>(field(wide, 8, 8));
      a.outputs = static_cast<u8>(field(wide, 16, 8));
      a.bank = static_cast<u8>(field(wide, 24, 4));
      a.cycles = field(wide, 28, 32);
      for (unsigned k = 0; k < 8; ++k) a.logits[k] = static_cast<std::int32_t>(field(wide, 60 + 32 * k, 32));
      a.idle = static_cast<u32>(idle);
      a.measured = static_cast<u32>(stood - first_edge - 1);
      standing = false;
      moved = cycles;
    }
    if (top.bank_reply_valid && top.bank_reply_ready) {
      std::memcpy(wide, &top.bank_reply_payload, sizeof top.bank_reply_payload);
      Reply& r = replies[replied++];
      r.op = static_cast<u8>(field(wide, 0, 2));
      r.bank = static_cast<u8>(field(wide, 2, 4));
      r.ok = static_cast<u8>(field(wide, 6, 1));
      r.words = field(wide, 7, 32);
      r.crc = field(wide, 39, 32);
      r.after = static_cast<u32>(taken);
      moved = cycles;
    }
    m.clock();
    if (in) {
      if (!inside) {
        first_edge = cycles;
        words = 0;
      }
      ++words;
      inside = beats[sent].last == 0;
      if (!inside) idle = cycles - first_edge + 1 - words;
      ++sent;
      offering = false;
      moved = cycles;
    }
    if (commanded) {
      ++asked;
      asking = false;
      moved = cycles;
    }
  }
  top.i_valid = 0;
  top.bank_cmd_valid = 0;
  top.eval();
  return cycles;
}

}  // extern "C"
