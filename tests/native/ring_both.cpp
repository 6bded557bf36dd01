// Stress of everything that two threads share without a lock: each message carries a checksum, each side counts.
//
//   ring_both [spsc|shared|record|broadcast|lapped|seqlock|histogram|all] [messages]
//
// Default: all, 10^7 messages (10^6 under a sanitizer). Exit code 1 and a line on stderr at the first fault.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/crc32c.h"
#include "core/hash.h"
#include "core/histogram.h"
#include "core/ring_broadcast.h"
#include "core/ring_record.h"
#include "core/ring_spsc.h"
#include "core/rng.h"
#include "core/seqlock.h"

using namespace peregrine;

namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr u64 kDefaultMessages = 1'000'000;
#else
constexpr u64 kDefaultMessages = 10'000'000;
#endif

#define CHECK(expr, ...)                                              \
  do {                                                                \
    if (!(expr)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #expr); \
      std::fprintf(stderr, __VA_ARGS__);                              \
      std::fputc('\n', stderr);                                       \
      std::_Exit(1);                                                  \
    }                                                                 \
  } while (0)

using ull = unsigned long long;

// Memory of one ring, aligned to pages as a region of a segment is.
class Block {
 public:
  explicit Block(u64 bytes) : bytes_((bytes + 4095) / 4096 * 4096), at_(std::aligned_alloc(4096, bytes_)) {
    std::memset(at_, 0xA5, bytes_);  // a ring must not rely on zeroed memory
  }
  ~Block() { std::free(at_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void* at() const { return at_; }
  u64 bytes() const { return bytes_; }

 private:
  u64 bytes_;
  void* at_;
};

// Spins a while, then lets others run: the machine may have fewer cores than we have threads.
class Backoff {
 public:
  void wait() {
    if (++spins_ < 64) {
      cpu_relax();
    } else {
      std::this_thread::yield();
    }
  }
  void reset() { spins_ = 0; }

 private:
  int spins_ = 0;
};

struct Message {
  u64 word[7];
  u64 checksum;

  static Message of(u64 seq) {
    Message m;
    u64 sum = 0;
    for (u64 i = 0; i < 7; ++i) {
      m.word[i] = i == 0 ? seq : (seq + i) * 0x9E3779B97F4A7C15ull;
      sum = (sum << 9 | sum >> 55) ^ m.word[i];
    }
    m.checksum = sum;
    return m;
  }
  bool whole() const {
    u64 sum = 0;
    for (u64 w : word) sum = (sum << 9 | sum >> 55) ^ w;
    return sum == checksum;
  }
};
static_assert(sizeof(Message) == 64);

void require(const Error& e) { CHECK(e.ok(), "%s", e.text); }

void done(const char* name, u64 messages, TimeNs began, const char* more = "") {
  const double seconds = static_cast<double>(monotonic_ns() - began) * 1e-9;
  std::printf("%-9s %llu messages in %.2f s, %.1f M/s%s\n", name, static_cast<ull>(messages), seconds,
              static_cast<double>(messages) * 1e-6 / seconds, more);
  std::fflush(stdout);
}

// `shared_handle`: both threads on one handle, as inside one process; else each attaches its own, as two do.
void stress_spsc(u64 messages, bool shared_handle) {
  constexpr u64 kSlots = 1024;
  Block memory(SpscRing::bytes_needed(64, kSlots));
  SpscRing producer_handle, consumer_handle;
  require(SpscRing::create(memory.at(), memory.bytes(), 64, kSlots, producer_handle));
  require(SpscRing::attach(memory.at(), memory.bytes(), consumer_handle));
  SpscRing& in = producer_handle;
  SpscRing& out = shared_handle ? producer_handle : consumer_handle;
  const TimeNs began = monotonic_ns();
  std::thread producer([&] {
    Rng rng(1);
    Backoff backoff;
    for (u64 seq = 0; seq < messages;) {
      u64 want = 1 + rng.below(32);
      if (want > messages - seq) want = messages - seq;
      u8* first = nullptr;
      const u64 got = in.try_reserve_n(want, first);
      if (got == 0) {
        backoff.wait();
        continue;
      }
      backoff.reset();
      for (u64 i = 0; i < got; ++i) {
        const Message m = Message::of(seq + i);
        std::memcpy(first + 64 * i, &m, 64);
      }
      in.commit(got);
      seq += got;
    }
  });
  Rng rng(2);
  Backoff backoff;
  for (u64 seq = 0; seq < messages;) {
    const u8* first = nullptr;
    const u64 got = out.peek_n(1 + rng.below(32), first);
    if (got == 0) {
      backoff.wait();
      continue;
    }
    backoff.reset();
    for (u64 i = 0; i < got; ++i) {
      Message m;
      std::memcpy(&m, first + 64 * i, 64);
      CHECK(m.word[0] == seq + i, "got message %llu, expected %llu", static_cast<ull>(m.word[0]),
            static_cast<ull>(seq + i));
      CHECK(m.whole(), "torn message %llu", static_cast<ull>(seq + i));
    }
    out.consume(got);
    seq += got;
  }
  producer.join();
  CHECK(out.peek() == nullptr && out.size() == 0, "%llu slots left over", static_cast<ull>(out.size()));
  CHECK(in.written() == messages && in.consumed() == messages, "%llu written", static_cast<ull>(in.written()));
  done(shared_handle ? "shared" : "spsc", messages, began);
}

void stress_record(u64 messages) {
  Block memory(RecordRing::bytes_needed(1 << 14));
  RecordRing in, out;
  require(RecordRing::create(memory.at(), memory.bytes(), 1 << 14, in));
  require(RecordRing::attach(memory.at(), memory.bytes(), out));
  const TimeNs began = monotonic_ns();
  std::thread producer([&] {
    Rng rng(3);
    Backoff backoff;
    u8 payload[300];
    for (u64 seq = 0; seq < messages; ++seq) {
      const u64 n = 12 + rng.below(200);
      std::memcpy(payload, &seq, 8);
      for (u64 i = 8; i < n - 4; ++i) payload[i] = static_cast<u8>(seq * 7 + i);
      const u32 crc = crc32c(0, payload, n - 4);
      std::memcpy(payload + n - 4, &crc, 4);
      while (!in.try_push(static_cast<u32>(seq % 5), Bytes(payload, n))) backoff.wait();
      backoff.reset();
    }
  });
  Backoff backoff;
  for (u64 seq = 0; seq < messages; ++seq) {
    RecordRing::Record r;
    while (!out.peek(r)) backoff.wait();
    backoff.reset();
    u64 found;
    u32 crc;
    std::memcpy(&found, r.payload.data(), 8);
    std::memcpy(&crc, r.payload.data() + r.payload.size() - 4, 4);
    CHECK(found == seq && r.kind == seq % 5, "got record %llu, expected %llu", static_cast<ull>(found),
          static_cast<ull>(seq));
    CHECK(crc == crc32c(0, r.payload.data(), r.payload.size() - 4), "torn record %llu", static_cast<ull>(seq));
    out.consume();
  }
  producer.join();
  CHECK(out.empty(), "records left over");
  done("record", messages, began);
}

// A payload as long as the slot allows: the number of the message in each word, so that any mix is seen.
struct Payload {
  static constexpr u64 kMaxWords = 255;
  u64 word[kMaxWords];

  void fill(u64 seq, u64 words) {
    for (u64 i = 0; i < words; ++i) word[i] = seq * 0x9E3779B97F4A7C15ull + i;
  }
  bool whole(u64 seq, u64 words) const {
    u64 wrong = 0;
    for (u64 i = 0; i < words; ++i) wrong |= word[i] ^ (seq * 0x9E3779B97F4A7C15ull + i);
    return wrong == 0;
  }
};

// With two long slots every reader is always at the slot being written; with many it is lapped now and then.
void stress_broadcast(const char* name, u64 messages, u32 slot_bytes, u64 slots) {
  constexpr int kReaders = 2;
  Block memory(BroadcastShape::bytes_needed(slot_bytes, slots));
  BroadcastWriter writer;
  require(BroadcastWriter::create(memory.at(), memory.bytes(), slot_bytes, slots, writer));
  const u64 words = writer.payload_bytes() / 8;
  std::atomic<int> ready{0};
  u64 received[kReaders] = {}, lost[kReaders] = {};
  std::vector<std::thread> readers;
  const TimeNs began = monotonic_ns();
  for (int r = 0; r < kReaders; ++r) {
    readers.emplace_back([&, r] {
      BroadcastReader reader;
      require(BroadcastReader::attach(memory.at(), memory.bytes(), reader));
      ready.fetch_add(1);
      Backoff backoff;
      Payload payload;
      u64 got = 0;
      while (reader.position() < messages) {
        if (!reader.poll(&payload)) {
          backoff.wait();
          continue;
        }
        backoff.reset();
        CHECK(payload.whole(reader.position() - 1, words), "reader %d: torn or misplaced message %llu", r,
              static_cast<ull>(reader.position() - 1));
        ++got;
      }
      received[r] = got;
      lost[r] = reader.lost();
    });
  }
  while (ready.load() < kReaders) std::this_thread::yield();
  Payload payload;
  for (u64 seq = 0; seq < messages; ++seq) {
    payload.fill(seq, words);
    writer.publish(&payload, 8 * words);
    // Now and then the readers catch up, else they would only ever see laps.
    if (seq % (16 * slots) == 0) std::this_thread::yield();
  }
  for (std::thread& t : readers) t.join();
  u64 all = 0;
  for (int r = 0; r < kReaders; ++r) {
    CHECK(received[r] + lost[r] == messages, "reader %d: %llu received + %llu lost of %llu", r,
          static_cast<ull>(received[r]), static_cast<ull>(lost[r]), static_cast<ull>(messages));
    all += received[r];
  }
  CHECK(all > 0, "no reader saw any message");
  char more[96];
  std::snprintf(more, sizeof(more), " (readers saw %.1f %% and %.1f %%)",
                100.0 * static_cast<double>(received[0]) / static_cast<double>(messages),
                100.0 * static_cast<double>(received[1]) / static_cast<double>(messages));
  done(name, messages, began, more);
}

void stress_seqlock(u64 messages) {
  Seqlock<Message> lock;
  lock.store(Message::of(0));
  std::atomic<bool> stop{false};
  std::atomic<u64> loads{0};
  std::vector<std::thread> readers;
  const TimeNs began = monotonic_ns();
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      u64 last = 0, n = 0;
      Backoff backoff;
      while (!stop.load(std::memory_order_acquire) || n == 0) {
        Message m;
        if (!lock.try_load(m)) {
          backoff.wait();
          continue;
        }
        backoff.reset();
        CHECK(m.whole(), "reader %d: torn value", r);
        CHECK(m.word[0] >= last, "reader %d: value %llu after %llu", r, static_cast<ull>(m.word[0]),
              static_cast<ull>(last));
        last = m.word[0];
        ++n;
      }
      loads.fetch_add(n);
    });
  }
  for (u64 seq = 1; seq <= messages; ++seq) {
    lock.store(Message::of(seq));
    if (seq % 4096 == 0) std::this_thread::yield();
  }
  stop.store(true, std::memory_order_release);
  for (std::thread& t : readers) t.join();
  Message last;
  CHECK(lock.try_load(last) && last.word[0] == messages, "the last write is not there");
  CHECK(lock.writes() == messages + 1, "%llu writes counted", static_cast<ull>(lock.writes()));
  char more[64];
  std::snprintf(more, sizeof(more), " (%llu whole reads)", static_cast<ull>(loads.load()));
  done("seqlock", messages, began, more);
}

// A reader takes snapshots while the owner records: no data race, counts never fall, nothing is lost at the end.
void stress_histogram(u64 messages) {
  auto histogram = std::make_unique<Histogram>();
  std::atomic<bool> stop{false};
  const TimeNs began = monotonic_ns();
  std::thread reader([&] {
    auto copy = std::make_unique<Histogram>();
    u64 last = 0;
    while (!stop.load(std::memory_order_acquire)) {
      histogram->snapshot_into(*copy);
      CHECK(copy->count >= last, "count fell from %llu to %llu", static_cast<ull>(last), static_cast<ull>(copy->count));
      last = copy->count;
      std::this_thread::yield();
    }
  });
  Rng rng(5);
  for (u64 i = 0; i < messages; ++i) histogram->record(static_cast<i64>(rng.below(1'000'000)));
  stop.store(true, std::memory_order_release);
  reader.join();
  auto copy = std::make_unique<Histogram>();
  histogram->snapshot_into(*copy);
  CHECK(copy->count == messages, "%llu values left of %llu", static_cast<ull>(copy->count),
        static_cast<ull>(messages));
  done("histogram", messages, began);
}

}  // namespace

int main(int argc, char** argv) {
  const char* which = argc > 1 ? argv[1] : "all";
  const u64 messages = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : kDefaultMessages;
  CHECK(messages > 0, "'%s' is not a number of messages", argc > 2 ? argv[2] : "");
  bool known = false;
  const auto wanted = [&](const char* name) {
    const bool yes = std::strcmp(which, "all") == 0 || std::strcmp(which, name) == 0;
    known = known || yes;
    return yes;
  };
  if (wanted("spsc")) stress_spsc(messages, false);
  if (wanted("shared")) stress_spsc(messages, true);
  // The checked work of these is heavier: fewer messages say as much.
  if (wanted("record")) stress_record(messages / 10 + 1);
  if (wanted("broadcast")) stress_broadcast("broadcast", messages, 128, 256);
  if (wanted("lapped")) stress_broadcast("lapped", messages / 4 + 1, 2048, 2);
  if (wanted("seqlock")) stress_seqlock(messages);
  if (wanted("histogram")) stress_histogram(messages);
  CHECK(known, "no stress named '%s'; spsc, shared, record, broadcast, lapped, seqlock, histogram or all", which);
  return 0;
}
