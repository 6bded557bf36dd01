// Attaching to damaged memory: whatever the bytes say, an error comes back and nothing outside is touched.
//
//   shm_asan [rounds]      default 20000
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "core/command_ring.h"
#include "core/histogram.h"
#include "core/ring_broadcast.h"
#include "core/ring_record.h"
#include "core/ring_spsc.h"
#include "core/rng.h"
#include "core/shm.h"

using namespace peregrine;

namespace {

#define CHECK(expr)                                                          \
  do {                                                                       \
    if (!(expr)) {                                                           \
      std::fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #expr); \
      std::exit(1);                                                          \
    }                                                                        \
  } while (0)

void require(const Error& e) {
  if (e.failed()) {
    std::fprintf(stderr, "%s\n", e.text);
    std::exit(1);
  }
}

// A word that is likely to be interesting to whoever checks bounds.
u64 odd_word(Rng& rng) {
  switch (rng.below(6)) {
    case 0: return 0;
    case 1: return ~u64{0};
    case 2: return u64{1} << rng.below(64);
    case 3: return rng.below(5000);
    case 4: return ~u64{0} - rng.below(5000);
    default: return rng.next();
  }
}

u64 segments(const char* name, u64 rounds) {
  Segment made;
  require(Segment::create(name, {{"one", 100, RegionKind::kRaw, 0, false}, command_region(4)}, {}, made));
  std::vector<u8> good(sizeof(ShmHeader));
  std::memcpy(good.data(), made.base(), good.size());
  Rng rng(1);
  u64 attached = 0;
  for (u64 i = 0; i < rounds; ++i) {
    std::memcpy(made.base(), good.data(), good.size());
    for (u64 k = 0, n = 1 + rng.below(3); k < n; ++k) {
      // Mostly in the part that is used: 128 bytes of header, two directory entries.
      const u64 at = rng.below(2) != 0 ? 8 * rng.below(16) : 256 + 8 * rng.below(16);
      const u64 word = odd_word(rng);
      std::memcpy(made.base() + at, &word, 8);
    }
    Segment other;
    if (Segment::attach(name, Segment::Access::kReadWrite, other).failed()) continue;
    ++attached;
    volatile u8 sink = 0;
    for (u32 r = 0; r < other.region_count(); ++r) {
      u64 bytes = 0;
      const u8* at = other.region(other.region_at(r).name, &bytes);
      CHECK(at != nullptr);
      if (bytes > 0) sink = static_cast<u8>(at[0] + at[bytes - 1]);
    }
    (void)sink;
    (void)other.owner_liveness();
    SpscRing ring;
    u64 bytes = 0;
    if (u8* at = other.region(kCommandRegion, &bytes)) (void)SpscRing::attach(at, bytes, ring);
  }
  std::memcpy(made.base(), good.data(), good.size());
  made.close(true);
  return attached;
}

// A ring header with odd words in it: attach refuses it, or the ring can be used without leaving the memory.
u64 rings(u64 rounds) {
  constexpr u64 kBytes = 4096;
  std::unique_ptr<u8, decltype(&std::free)> memory(static_cast<u8*>(std::aligned_alloc(4096, kBytes)), &std::free);
  Rng rng(2);
  u64 attached = 0;
  for (u64 i = 0; i < rounds; ++i) {
    std::memset(memory.get(), 0, kBytes);
    SpscRing spsc;
    BroadcastWriter writer;
    RecordRing record;
    switch (i % 3) {
      case 0: require(SpscRing::create(memory.get(), kBytes, 64, 8, spsc)); break;
      case 1: require(BroadcastWriter::create(memory.get(), kBytes, 128, 8, writer)); break;
      default: require(RecordRing::create(memory.get(), kBytes, 1024, record)); break;
    }
    const u64 word = odd_word(rng);
    std::memcpy(memory.get() + 8 * rng.below(48), &word, 8);
    u8 out[256] = {};
    if (i % 3 == 0) {
      SpscRing other;
      if (SpscRing::attach(memory.get(), kBytes, other).failed()) continue;
      bool broken = false;
      if (const u8* slot = other.peek_untrusted(broken)) std::memcpy(out, slot, other.slot_bytes() < 256 ? 64 : 1);
    } else if (i % 3 == 1) {
      BroadcastReader other;
      if (BroadcastReader::attach(memory.get(), kBytes, other).failed()) continue;
      if (other.payload_bytes() <= sizeof(out))
        for (int k = 0; k < 4; ++k) (void)other.poll(out);
    } else {
      RecordRing other;
      if (RecordRing::attach(memory.get(), kBytes, other).failed()) continue;
    }
    ++attached;
  }
  return attached;
}

void commands(const char* name, u64 rounds) {
  Segment engine;
  require(Segment::create(name, {command_region(8)}, {}, engine));
  Rng rng(3);
  u64 kinds[4] = {};
  u64 size = 0;
  u8* at = engine.region(kCommandRegion, &size);
  for (u64 i = 0; i < rounds; ++i) {
    CommandReader reader;
    require(CommandReader::create(engine, reader));
    CommandWriter writer;
    require(CommandWriter::claim(engine, writer));
    bool pushed = false;
    u8 command[kCommandMaxBytes] = {};
    for (int k = 0; k < 3; ++k) require(writer.try_push(command, static_cast<u32>(rng.below(249)), pushed));
    const u64 word = odd_word(rng);
    // The producer's counter, or somewhere in the slots.
    const u64 where = rng.below(2) != 0 ? 128 : 384 + 8 * rng.below(96);
    std::memcpy(at + where, &word, 8);
    u8 out[kCommandMaxBytes];
    for (int k = 0; k < 5; ++k) {
      u32 bytes = 0;
      ++kinds[static_cast<int>(reader.poll(out, bytes))];
      CHECK(bytes <= kCommandMaxBytes);
    }
  }
  for (u64 n : kinds) CHECK(n > 0 || rounds < 100);
  engine.close(true);
}

void moves() {
  Segment a, b;
  require(Segment::create_anonymous({{"x", 10, RegionKind::kRaw, 0, true}}, {}, a));
  b = std::move(a);
  CHECK(!a.mapped() && b.mapped() && b.region("x") != nullptr && b.region("y") == nullptr);
  Segment c(std::move(b));
  CHECK(c.mapped() && !b.mapped());
  c = Segment();
  CHECK(!c.mapped());
}

}  // namespace

int main(int argc, char** argv) {
  const u64 rounds = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20'000;
  char name[64];
  std::snprintf(name, sizeof(name), "test-asan-%d", static_cast<int>(getpid()));
  moves();
  const u64 a = segments(name, rounds);
  const u64 r = rings(rounds);
  commands(name, rounds / 10 + 1);
  std::printf("%llu damaged headers: %llu segments and %llu rings still usable, the rest refused\n",
              static_cast<unsigned long long>(2 * rounds), static_cast<unsigned long long>(a),
              static_cast<unsigned long long>(r));
  return 0;
}
