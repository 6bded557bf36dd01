// What does it cost to hand 64 bytes to another thread (one producer, one consumer), and how long is the way there and
// back? Twin: the quickest of the queues others wrote that are installed here, else std::queue under std::mutex.
#include <atomic>
#include <thread>

#include "ring_rivals.h"

using namespace peregrine;
using namespace peregrine::bench;

namespace {

constexpr u64 kBatch = 2000;
constexpr u64 kTrips = 200;

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

// There and back: one slot under way at a time.
template <class Q>
void trip(Bench& b, Q& there, Q& back, double seconds, Figure& f) {
  std::atomic<bool> over{false};
  std::thread echo([&] {
    Bench::pin(b.options().other_cpu);
    Slot s{};
    for (;;) {
      while (!there.try_pop(s)) {
        if (over.load(std::memory_order_relaxed)) return;
      }
      while (!back.try_push(s)) {
      }
    }
  });
  Slot s{};
  const u64 end = b.ticks() + static_cast<u64>(seconds * static_cast<double>(b.clock().frequency_hz()));
  for (u64 t = b.ticks(); t < end;) {
    for (u64 i = 0; i < kTrips; ++i) {
      const u64 number = ++s.word[0];
      there.try_push(s);
      while (!back.try_pop(s)) {
      }
      if (s.word[0] != number) fail("the queue lost or doubled a slot");
    }
    const u64 now = b.ticks();
    f.record(b.ps(now - t), kTrips);
    t = now;
  }
  over.store(true);
  echo.join();
}

struct Rival {
  const char* name;
  Figure through, round;
};

template <class Q>
void turn(Bench& b, Rival& r, double seconds) {
  r.name = Q::kName;
  const auto q = std::make_unique<Q>(), back = std::make_unique<Q>();
  run(b, *q, seconds, r.through);
  const auto there = std::make_unique<Q>();
  trip(b, *there, *back, seconds, r.round);
}

}  // namespace

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  Rival ours{}, locked{};
  std::vector<Rival> rivals;
  std::string absent;
#ifdef PRG_HAS_READERWRITERQUEUE
  rivals.emplace_back();
#else
  absent += "moodycamel::ReaderWriterQueue (libreaderwriterqueue-dev) ";
#endif
#ifdef PRG_HAS_BOOST_SPSC
  rivals.emplace_back();
#else
  absent += "boost::lockfree::spsc_queue (libboost-dev) ";
#endif
  constexpr int kTurns = 8;
  const double seconds = b.options().seconds / kTurns / 8;
  for (int i = 0; i < kTurns; ++i) {
    turn<OurRing>(b, ours, seconds);
    [[maybe_unused]] std::size_t at = 0;
#ifdef PRG_HAS_READERWRITERQUEUE
    turn<MoodyQueue>(b, rivals[at++], seconds);
#endif
#ifdef PRG_HAS_BOOST_SPSC
    turn<BoostQueue>(b, rivals[at++], seconds);
#endif
    turn<LockedQueue>(b, locked, seconds);
  }
  const Rival *through = &locked, *round = &locked;
  Twins twins_through, twins_round;
  for (const Rival& r : rivals) {
    if (r.through.ps->percentile(50) < through->through.ps->percentile(50)) through = &r;
    if (r.round.ps->percentile(50) < round->round.ps->percentile(50)) round = &r;
    twins_through.add(r.name, r.through);
    twins_round.add(r.name, r.round);
  }
  twins_through.add(locked.name, locked.through);
  twins_round.add(locked.name, locked.round);
  const std::string notes = "\"slot_bytes\": 64, \"slots\": 4096, \"bytes\": 262144, \"threads\": 2";
  twins_through.skip(absent), twins_round.skip(absent);
  b.report("ring_spsc", ours.through, through->name, through->through, notes, twins_through);
  b.report("ring_round_trip", ours.round, round->name, round->round, notes, twins_round);
}
