// What does it cost to hand 64 bytes to another thread? One producer, one consumer; twin: std::queue under std::mutex.
#include <atomic>
#include <mutex>
#include <queue>
#include <thread>

#include "core/ring_spsc.h"
#include "harness.h"

using namespace peregrine;
using namespace peregrine::bench;

namespace {

struct alignas(64) Slot {
  u64 word[8];
};
constexpr u64 kSlots = 4096;
constexpr u64 kBatch = 2000;

class LockedQueue {
 public:
  bool try_push(const Slot& s) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (queue_.size() >= kSlots) return false;
    queue_.push(s);
    return true;
  }
  bool try_pop(Slot& s) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (queue_.empty()) return false;
    s = queue_.front();
    queue_.pop();
    return true;
  }

 private:
  std::mutex mutex_;
  std::queue<Slot> queue_;
};

struct Ring {
  explicit Ring(std::vector<u8>& memory) {
    auto at = reinterpret_cast<std::uintptr_t>(memory.data());
    u8* aligned = memory.data() + (128 - at % 128) % 128;
    if (SpscRingOf<Slot>::create(aligned, SpscRingOf<Slot>::bytes_needed(kSlots), kSlots, ring).failed()) fail("ring");
  }
  bool try_push(const Slot& s) { return ring.try_push(s); }
  bool try_pop(Slot& s) {
    const Slot* p = ring.peek();
    if (p == nullptr) return false;
    s = *p;
    ring.consume();
    return true;
  }
  SpscRingOf<Slot> ring;
};

// The consumer's time for each batch, while the producer pushes as fast as it can.
template <class Q>
void run(Bench& b, Q& q, double seconds, Figure& f) {
  std::atomic<bool> over{false};
  std::thread producer([&] {
    Bench::pin(b.options().other_cpu);
    Slot s{};
    while (!over.load(std::memory_order_relaxed)) {
      ++s.word[0];
      while (!q.try_push(s) && !over.load(std::memory_order_relaxed)) {
      }
    }
  });
  Slot s{};
  u64 expected = 1;
  const u64 end = b.ticks() + static_cast<u64>(seconds * static_cast<double>(b.clock().frequency_hz()));
  for (u64 t = b.ticks(); t < end;) {
    for (u64 i = 0; i < kBatch; ++i) {
      while (!q.try_pop(s)) {
      }
      if (s.word[0] != expected++) fail("the queue lost or doubled a slot");
    }
    const u64 now = b.ticks();
    f.record(b.ps(now - t), kBatch);
    t = now;
  }
  over.store(true);
  producer.join();
}

}  // namespace

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  Figure figure, twin;
  for (int turn = 0; turn < 4; ++turn) {
    std::vector<u8> memory(SpscRingOf<Slot>::bytes_needed(kSlots) + 128);
    auto ring = std::make_unique<Ring>(memory);
    auto queue = std::make_unique<LockedQueue>();
    run(b, *ring, b.options().seconds / 8, figure);
    run(b, *queue, b.options().seconds / 8, twin);
  }
  b.report("ring_spsc", figure, "std::queue under std::mutex", twin,
           "\"slot_bytes\": 64, \"slots\": 4096, \"bytes\": 262144, \"threads\": 2");
}
