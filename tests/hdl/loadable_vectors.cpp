// Streams random requests through a simulated loadable core and compares every answer, and its cycles with the formula,
// with the engine's own scalar kernel.
//
//   loadable_vectors MODEL.so LANES IMAGE VECTORS SEED CASE...
//
// MODEL.so is sim/device/port_model.cpp around a verilated core of LANES lanes; IMAGE is the bank's words, u32 little
// endian; the CASEs are its policies in slot order (case.h), "-" an empty slot. Each request goes to a random policy, one
// in four with int8 inputs; one block in 16 runs with random pauses on every stream.
// Prints one line of JSON; exit code 1 and the first request that differs when anything differs.
#include <dlfcn.h>

#include <memory>

#include "case.h"

using namespace peregrine;

namespace {

// As in sim/device/port_model.cpp.
struct Beat {
  u32 word;
  u8 slot, kind, count, last;
  u32 after;
};
struct Command {
  u32 data;
  u8 op, bank, zero[2];
  u32 after;
};
struct Answer {
  u8 status, action, outputs, bank;
  u32 cycles;
  i32 logits[8];
  u32 idle, measured;
};
struct Reply {
  u8 op, bank, ok, zero;
  u32 words, crc, after;
};

struct Device {
  explicit Device(const char* path) {
    library = dlopen(path, RTLD_NOW);
    if (library == nullptr) fail(dlerror());
    open = reinterpret_cast<void* (*)()>(need("port_open"));
    close = reinterpret_cast<void (*)(void*)>(need("port_close"));
    run = reinterpret_cast<decltype(run)>(need("port_run"));
    handle = open();
  }
  ~Device() { close(handle); }
  void* need(const char* name) {
    void* found = dlsym(library, name);
    if (found == nullptr) fail(std::string("the model lacks ") + name);
    return found;
  }
  void* library;
  void* handle;
  void* (*open)();
  void (*close)(void*);
  u64 (*run)(void*, const Beat*, u64, const Command*, u64, Answer*, u64, Reply*, u64, u64, u64);
};

struct Slot {
  Case features;  // as the artifact says
  Case plain;     // without its quantiser
  u8 number = 0;
  u32 cycles = 0;
};

constexpr u64 kPatience = 50'000;

void load_bank(Device& device, const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
  const std::size_t words = bytes.size() / 4;
  if (words == 0) fail(std::string("cannot read ") + path);
  std::vector<Command> commands(words + 2);
  for (std::size_t k = 0; k < words; ++k) {
    std::memcpy(&commands[k + 1].data, &bytes[4 * k], 4);
    commands[k + 1].op = 1;
  }
  commands.back().op = 2;
  std::vector<Reply> replies(commands.size());
  const u64 took = device.run(device.handle, nullptr, 0, commands.data(), commands.size(), nullptr, 0, replies.data(),
                              replies.size(), 0, kPatience);
  if (took == 0 || replies.back().ok == 0) fail("the bank did not load");
}

u32 formula(const std::vector<u32>& sizes, u32 lanes) {
  u32 cycles = 5;
  for (std::size_t k = 0; k + 1 < sizes.size(); ++k) cycles += (sizes[k + 1] + lanes - 1) / lanes * sizes[k] + 5;
  return cycles;
}

bool same(const Answer& found, const Answer& want, bool features) {
  if (std::memcmp(&found.status, &want.status, 3) != 0 || found.bank != 0) return false;
  if (std::memcmp(found.logits, want.logits, sizeof found.logits) != 0 || found.cycles != found.measured) return false;
  const u32 late = found.cycles - want.cycles;
  return features ? late == found.idle : found.cycles >= want.cycles && late <= found.idle;
}

void print(const char* name, const Answer& a) {
  std::fprintf(stderr, "  %s status %u action %u outputs %u bank %u cycles %u idle %u logits", name, a.status, a.action,
               a.outputs, a.bank, a.cycles, a.idle);
  for (i32 x : a.logits) std::fprintf(stderr, " %d", x);
  std::fprintf(stderr, "\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 7) fail("usage: loadable_vectors MODEL.so LANES IMAGE VECTORS SEED CASE...");
  Device device(argv[1]);
  const u32 lanes = static_cast<u32>(std::strtoul(argv[2], nullptr, 10));
  const u64 wanted = std::strtoull(argv[4], nullptr, 10), seed = std::strtoull(argv[5], nullptr, 10);
  std::vector<std::unique_ptr<Slot>> slots;
  for (int k = 6; k < argc; ++k) {
    if (std::strcmp(argv[k], "-") == 0) continue;
    auto slot = std::make_unique<Slot>();
    slot->number = static_cast<u8>(k - 6);
    load(argv[k], slot->features);
    load(argv[k], slot->plain, true);
    slot->cycles = formula(slot->features.sizes, lanes);
    slots.push_back(std::move(slot));
  }
  load_bank(device, argv[3]);

  constexpr u64 kBlock = 1024;
  Random random{seed};
  std::vector<Beat> beats;
  std::vector<Answer> want(kBlock), found(kBlock);
  std::vector<u8> features(kBlock);
  std::vector<i32> row(64), logits(16);
  u64 cycles = 0, done = 0, ties = 0;
  for (u64 block = 0; done < wanted; ++block) {
    const u64 n = wanted - done < kBlock ? wanted - done : kBlock;
    beats.clear();
    for (u64 v = 0; v < n; ++v) {
      const u64 r = random.next();
      const Slot& slot = *slots[(r >> 8) % slots.size()];
      const bool raw = (r & 3) != 0;
      const Case& c = raw ? slot.features : slot.plain;
      const u32 inputs = static_cast<u32>(c.index.size());
      u8 bytes[64] = {};
      for (u32 i = 0; i < inputs; ++i) {
        const u32 f = c.index[i];
        row[f] = raw ? draw(random, c, f) : static_cast<i8>(random.next() >> 11);
        bytes[i] = static_cast<u8>(row[f]);
      }
      const u32 words = raw ? inputs : (inputs + 3) / 4;
      for (u32 k = 0; k < words; ++k) {
        u32 word = static_cast<u32>(raw ? row[c.index[k]] : 0);
        if (!raw) std::memcpy(&word, bytes + 4 * k, 4);
        beats.push_back({word, slot.number, static_cast<u8>(raw), static_cast<u8>(inputs), k + 1 == words, 0});
      }
      Answer& a = want[v];
      a = Answer{};
      a.action = static_cast<u8>(c.policy.decide(row.data(), logits.data()));
      a.outputs = static_cast<u8>(c.actions);
      a.cycles = slot.cycles;
      std::memcpy(a.logits, logits.data(), 4 * (c.actions < 8 ? c.actions : 8));
      features[v] = raw;
      u32 tops = 0;
      for (u32 k = 0; k < c.actions; ++k) tops += logits[k] == logits[a.action];
      ties += tops > 1;
    }
    const u64 stalls = block % 16 == 0 ? seed + block + 1 : 0;
    const u64 took = device.run(device.handle, beats.data(), beats.size(), nullptr, 0, found.data(), n, nullptr, 0, stalls,
                                kPatience);
    if (took == 0) fail("requests went in and not as many answers came out");
    cycles += took;
    for (u64 v = 0; v < n; ++v) {
      if (same(found[v], want[v], features[v] != 0)) continue;
      std::fprintf(stderr, "loadable_vectors: request %llu of seed %llu differs\n",
                   static_cast<unsigned long long>(done + v), static_cast<unsigned long long>(seed));
      print("expected", want[v]);
      print("found   ", found[v]);
      return 1;
    }
    done += n;
  }
  std::printf("{\"vectors\": %llu, \"cycles\": %llu, \"ties\": %llu}\n", static_cast<unsigned long long>(done),
              static_cast<unsigned long long>(cycles), static_cast<unsigned long long>(ties));
  return 0;
}
