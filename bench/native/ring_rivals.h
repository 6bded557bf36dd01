// Queues that others wrote for the same job, each where its header is installed (Debian: libreaderwriterqueue-dev,
// libboost-dev). The bench measures beside each and says which are absent.
#pragma once

#include <mutex>
#include <queue>

#if __has_include(<readerwriterqueue/readerwriterqueue.h>)
#include <readerwriterqueue/readerwriterqueue.h>
#define PRG_HAS_READERWRITERQUEUE 1
#endif
#if __has_include(<boost/lockfree/spsc_queue.hpp>)
#include <boost/lockfree/spsc_queue.hpp>
#define PRG_HAS_BOOST_SPSC 1
#endif

#include "core/ring_spsc.h"
#include "harness.h"

namespace peregrine::bench {

struct alignas(64) Slot {
  u64 word[8];
};
inline constexpr u64 kSlots = 4096;

struct OurRing {
  static constexpr const char* kName = "SpscRing";
  OurRing() : memory_(SpscRingOf<Slot>::bytes_needed(kSlots) + 128) {
    const auto at = reinterpret_cast<std::uintptr_t>(memory_.data());
    u8* aligned = memory_.data() + (128 - at % 128) % 128;
    if (SpscRingOf<Slot>::create(aligned, SpscRingOf<Slot>::bytes_needed(kSlots), kSlots, ring_).failed()) fail("ring");
  }
  bool try_push(const Slot& s) { return ring_.try_push(s); }
  bool try_pop(Slot& s) {
    const Slot* p = ring_.peek();
    if (p == nullptr) return false;
    s = *p;
    ring_.consume();
    return true;
  }

 private:
  std::vector<u8> memory_;
  SpscRingOf<Slot> ring_;
};

struct LockedQueue {
  static constexpr const char* kName = "std::queue under std::mutex";
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

#ifdef PRG_HAS_READERWRITERQUEUE
struct MoodyQueue {
  static constexpr const char* kName = "moodycamel::ReaderWriterQueue";
  MoodyQueue() : queue_(kSlots) {}
  bool try_push(const Slot& s) { return queue_.try_enqueue(s); }
  bool try_pop(Slot& s) { return queue_.try_dequeue(s); }

 private:
  moodycamel::ReaderWriterQueue<Slot> queue_;
};
#endif

#ifdef PRG_HAS_BOOST_SPSC
struct BoostQueue {
  static constexpr const char* kName = "boost::lockfree::spsc_queue";
  bool try_push(const Slot& s) { return queue_.push(s); }
  bool try_pop(Slot& s) { return queue_.pop(s); }

 private:
  boost::lockfree::spsc_queue<Slot, boost::lockfree::capacity<kSlots>> queue_;
};
#endif

}  // namespace peregrine::bench
