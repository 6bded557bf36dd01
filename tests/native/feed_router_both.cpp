// The hand-over from the feed to the shards of a pipelined engine: whose message it is, what happens when a shard does
// not keep up, one step after the other; then a feed thread and two shard threads with a shard that stalls, judged
// message by message.
//
//   feed_router_both [messages]
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "core/bytes.h"
#include "core/rng.h"
#include "engine/feed_router.h"
#include "engine/input.h"
#include "engine/live_engine.h"
#include "engine/stage_ring.h"

using namespace peregrine;
using namespace peregrine::engine;
using journal::FeedState;
using journal::RecordType;

namespace {

#define CHECK(x) \
  do { \
    if (!(x)) std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), std::_Exit(1); \
  } while (0)

constexpr u64 kRing = 512 * 1024;
constexpr TimeNs kMs = 1'000'000;

// ---- messages: an add names its stock, everything else goes by locate

std::vector<u8> add(u16 locate, const char* stock) {
  std::vector<u8> m(36, 0);
  m[0] = 'A';
  store_be16(m.data() + 1, locate);
  store_alpha(m.data() + 24, 8, stock, std::strlen(stock));
  return m;
}
std::vector<u8> del(u16 locate) {
  std::vector<u8> m(19, 0);
  m[0] = 'D';
  store_be16(m.data() + 1, locate);
  return m;
}
std::vector<u8> snapshot_end(u64 next) {
  std::vector<u8> m(21, ' ');
  m[0] = 'G';
  soup::store_sequence(m.data() + 1, next);
  return m;
}

// What a shard got, and whether it may be believed: while whole, its own messages follow one another.
struct Shard1 final : InputSink {
  u16 locate = 0;
  bool whole = false, live = false;
  u64 next_own = 0;  // index of the next own message, by `own`
  u64 taken = 0, stale = 0, foreign = 0, snapshots = 0;
  u64 last_seq = 0;
  std::vector<RecordType> order;
  bool keep_order = false;
  u64 (*own_index)(u64 seq) = nullptr;  // how many own messages have a sequence below

  bool put(RecordType type, const Stamps&, Bytes head, Bytes body) override {
    if (keep_order) order.push_back(type);
    if (type == RecordType::kFeedState) {
      journal::FeedStateChange c;
      std::memcpy(&c, head.data(), sizeof c);
      live = c.state == static_cast<u8>(FeedState::kLive);
      if (c.state == static_cast<u8>(FeedState::kStale)) {
        whole = false;
        ++stale;
      }
      return true;
    }
    journal::FeedHead h;
    std::memcpy(&h, head.data(), sizeof h);
    if (type == RecordType::kSnapshot) {
      if (h.feed_seq == 1) ++snapshots;
      if (body[0] != 'G') return true;
      u64 next = 0;
      CHECK(decode_snapshot_end(body, next));
      whole = true;
      last_seq = next - 1;
      if (own_index != nullptr) next_own = own_index(next);
      return true;
    }
    if (load_be16(body.data() + 1) != locate) {
      ++foreign;
      return true;
    }
    ++taken;
    if (!whole) return true;
    CHECK(h.feed_seq > last_seq);
    if (own_index != nullptr) CHECK(own_index(h.feed_seq) == next_own++);
    last_seq = h.feed_seq;
    return true;
  }
  bool put_closed() override { return true; }
  u64 room_bytes() const override { return UINT64_MAX; }
  void overrun(u32) override {}
  bool put_overrun_mark(u32) override { return true; }
};

struct Service final : FeedRouter::Transport {
  int opened = 0, closed = 0;
  bool open = false;
  void open_rebuild() override {
    ++opened;
    open = true;
  }
  void close_rebuild() override {
    ++closed;
    open = false;
  }
};

void say_live(FeedRouter& r) { r.on_state({static_cast<u8>(FeedState::kLive), kFeedStart, {}, 0, 0}); }

// ---- routing

void routing() {
  Service service;
  FeedRouter router({{"AAA", "CCC"}, {"BBB"}}, 0, 1'000 * kMs, kMs, service);
  Shard1 a, b;
  a.locate = 1, b.locate = 2;
  router.attach(0, a);
  router.attach(1, b);
  TimeNs now = 1'000 * kMs;
  router.begin_packet(1, now);
  router.on_block(1, 0, add(1, "AAA"));  // both are new here: a first sign of life
  CHECK(a.taken == 1 && b.foreign == 1);
  u64 seq = 2;
  const auto send = [&](std::vector<u8> m) {
    now += kMs;
    router.begin_packet(1, now);
    router.on_block(seq++, 0, m);
  };
  send(add(2, "BBB"));
  send(del(1));
  send(del(2));
  CHECK(a.taken == 2 && b.taken == 2 && a.foreign == 0 && b.foreign == 1);
  send(add(7, "ZZZ"));  // nobody's, by name and from then on by locate
  send(del(7));
  send(del(9));         // never named
  CHECK(router.skipped() == 3 && a.foreign == 0);
  std::vector<u8> system(12, 0);
  system[0] = 'S';
  send(system);
  CHECK(a.foreign == 1 && b.foreign == 2);  // locate 0: everybody
  // A quiet shard gets the next message, whatever it is, and then none before it has been quiet again.
  for (int i = 0; i < 200; ++i) send(del(1));
  CHECK(b.foreign >= 2 + 3 && b.foreign <= 2 + 4);
}

// ---- feed → shard full

struct Overrun {
  Service service;
  FeedRouter router{{{"AAA"}, {"BBB"}}, kRing, 1'000 * kMs, kMs, service};
  InputRing ring{"feed to shard", kRing, 4096};
  Shard1 slow, other;
  ThreadClock clock{TscClock::from_kernel()};
  TimeNs now = 1'000 * kMs;
  u64 seq = 1;

  Overrun() {
    slow.locate = 1, other.locate = 2;
    slow.keep_order = true;
    router.attach(0, ring);
    router.attach(1, other);
    send(add(1, "AAA"));
    send(add(2, "BBB"));
    say_live(router);
  }
  void send(const std::vector<u8>& m) {
    router.begin_packet(1, now);
    router.on_block(seq++, 0, m);
  }
  bool poll() {
    now += kMs;
    return router.poll(now, seq);
  }
  void drain() {
    while (ring.drain(slow, clock, 64) > 0) {
    }
  }
  void snapshot(u64 next) {
    router.on_rebuild_packet('S', add(1, "AAA"), now);
    router.on_rebuild_packet('S', add(2, "BBB"), now);  // of the other shard: not for this one
    router.on_rebuild_packet('S', snapshot_end(next), now);
  }
  void fill() {
    const u64 before = router.stats(0).overruns;
    while (router.stats(0).overruns == before) send(del(1));
  }
};

void a_full_feed_ring_is_told_first_and_rebuilt() {
  Overrun o;
  o.drain();
  o.slow.order.clear();
  const u64 taken = o.slow.taken;
  o.fill();
  CHECK(!o.router.flowing(0) && o.router.flowing(1));
  o.send(del(1));  // dropped: the shard will know
  o.send(del(2));
  CHECK(o.other.taken == 2);
  o.poll();
  // The first thing the shard hears is that its books are stale; what waited in the ring is never stepped.
  o.drain();
  CHECK(o.slow.order.size() == 1 && o.slow.order[0] == RecordType::kFeedState && o.slow.stale == 1);
  CHECK(o.slow.taken == taken && o.ring.skipped() > 5'000);
  o.poll(), o.poll();  // mark, then the rebuild
  CHECK(o.service.opened == 1);
  const u64 from = o.seq;
  o.send(del(1));
  o.send(del(1));
  o.snapshot(from + 1);         // it stands for the first of the two that were held
  CHECK(o.service.closed == 1);
  o.send(del(1));
  o.poll();
  o.drain();
  CHECK(o.router.flowing(0) && o.slow.live && o.slow.whole && o.slow.snapshots == 1);
  CHECK(o.slow.taken == taken + 2 && o.slow.last_seq == o.seq - 1);
  o.send(del(1));
  o.drain();
  CHECK(o.slow.taken == taken + 3);
  CHECK(o.router.stats(0).overruns == 1 && o.router.stats(0).rebuilt == 1);
  CHECK(o.ring.use().times_full == 1 && o.ring.use().high_water > kRing - 8192);
}

void a_snapshot_older_than_what_is_held_is_asked_for_again() {
  Overrun o;
  o.drain();
  o.fill();
  o.drain();
  o.poll(), o.poll();
  CHECK(o.service.opened == 1);
  const u64 from = o.seq;
  o.send(del(1));
  o.snapshot(from - 1);
  CHECK(o.service.closed == 1 && !o.router.flowing(0));
  o.poll(), o.poll();
  CHECK(o.service.opened == 2);
  o.snapshot(o.seq);
  o.poll();
  o.drain();
  CHECK(o.router.flowing(0) && o.slow.live && o.slow.whole);
}

void holding_too_much_begins_again() {
  Overrun o;
  o.drain();
  o.fill();
  o.drain();
  o.poll(), o.poll();
  CHECK(o.service.opened == 1);
  o.fill();  // nothing comes of the snapshot, the live messages go on
  CHECK(o.router.stats(0).overruns == 2 && o.service.closed == 1);
  CHECK(o.router.stats(0).held_high > kRing - 8192);
  o.drain();
  CHECK(o.slow.stale == 2);
  o.poll(), o.poll(), o.poll();
  CHECK(o.service.opened == 2);
  o.snapshot(o.seq);
  o.poll();
  o.drain();
  CHECK(o.router.flowing(0) && o.slow.live);
}

void a_gap_of_the_whole_feed_ends_a_rebuild() {
  Overrun o;
  o.drain();
  o.fill();
  o.drain();
  o.poll(), o.poll();
  o.router.on_state({static_cast<u8>(FeedState::kStale), kFeedGap, {}, 0, 0});
  CHECK(o.service.closed == 1 && o.other.stale == 1);
  o.poll();
  CHECK(o.service.opened == 1);  // not before the feed is live again
  o.router.on_snapshot_block(1, snapshot_end(o.seq));
  say_live(o.router);
  o.poll(), o.poll();
  CHECK(o.service.opened == 2);
  o.snapshot(o.seq);
  o.poll();
  o.drain();
  CHECK(o.router.flowing(0) && o.slow.live && o.other.live);
}

void what_waited_too_long_is_not_traded_on() {
  Service service;
  FeedRouter router({{"AAA"}}, kRing, 1'000 * kMs, kMs, service);
  InputRing ring("feed to shard", kRing, 4096, 1'000 * kMs);  // longer than a busy machine stands still by itself
  Shard1 shard;
  shard.locate = 1;
  shard.keep_order = true;
  router.attach(0, ring);
  ThreadClock clock{TscClock::from_kernel()};
  u64 seq = 1;
  const auto send = [&] {
    router.begin_packet(clock.tsc.ticks(), clock.tick());
    router.on_block(seq++, 0, add(1, "AAA"));
  };
  const auto drain = [&] {
    while (ring.drain(shard, clock, 64) > 0) {
    }
  };
  send();
  say_live(router);
  drain();
  CHECK(shard.live && shard.taken == 1 && !ring.behind());
  for (int i = 0; i < 100; ++i) send();
  ::usleep(1'100'000);
  shard.order.clear();
  drain();
  CHECK(shard.order.size() == 1 && shard.stale == 1 && shard.taken == 1 && ring.behind());
  send();  // after it, and still not stepped: the books are thrown away first
  drain();
  CHECK(shard.taken == 1);
  CHECK(!router.poll(clock.tick(), seq) && router.stats(0).overruns == 1 && !ring.behind());
  drain();
  CHECK(shard.stale == 1);  // told once
  for (int i = 0; i < 100 && !service.open; ++i, ::usleep(1000)) router.poll(clock.tick(), seq);
  CHECK(service.opened == 1);
  router.on_rebuild_packet('S', snapshot_end(seq), clock.now_ns);
  router.poll(clock.tick(), seq);
  send();
  drain();
  CHECK(shard.live && shard.whole && shard.taken == 2 && shard.stale == 1);
}

// ---- a feed thread, two shard threads, one of which stalls: every message is delivered, or known to be missing

constexpr u32 kPattern = 7;  // messages 0, 2, 3 of each seven are AAA's, the rest BBB's
constexpr bool kIsA[kPattern] = {true, false, true, true, false, false, false};

u64 own_of_a(u64 seq) {  // how many of AAA's have a sequence below, counted from 1
  u64 n = (seq - 1) / kPattern * 3;
  for (u64 i = 0; i < (seq - 1) % kPattern; ++i) n += kIsA[i];
  return n;
}
u64 own_of_b(u64 seq) { return seq - 1 - own_of_a(seq); }

void threads(u64 messages) {
  Service service;
  FeedRouter router({{"AAA"}, {"BBB"}}, kRing, 1'000 * kMs, kMs / 10, service);
  InputRing rings[2] = {{"feed to shard", kRing, 4096}, {"feed to shard", kRing, 4096}};
  Shard1 shards[2];
  shards[0].locate = 1, shards[1].locate = 2;
  shards[0].own_index = own_of_a, shards[1].own_index = own_of_b;
  router.attach(0, rings[0]);
  router.attach(1, rings[1]);
  std::atomic<u64> published{0};
  std::atomic<bool> over{false};
  std::atomic<int> flowing{0};
  std::atomic<u64> overruns{0};

  std::thread feed([&] {
    ThreadClock clock{TscClock::from_kernel()};
    const std::vector<u8> a = del(1), b = del(2);
    u64 seq = 1;
    clock.tick();
    router.begin_packet(1, clock.now_ns);
    router.on_snapshot_block(1, add(1, "AAA"));
    router.on_snapshot_block(2, add(2, "BBB"));
    router.on_snapshot_block(3, snapshot_end(1));
    say_live(router);
    const auto service_once = [&] {
      router.poll(clock.tick(), seq);
      if (!service.open || !router.rebuild_room()) return;
      router.on_rebuild_packet('S', add(1, "AAA"), clock.now_ns);
      router.on_rebuild_packet('S', add(2, "BBB"), clock.now_ns);
      router.on_rebuild_packet('S', snapshot_end(seq), clock.now_ns);
    };
    while (seq <= messages) {
      router.begin_packet(clock.tsc.ticks(), clock.tick());
      for (int i = 0; i < 20 && seq <= messages; ++i, ++seq) router.on_block(seq, 0, kIsA[(seq - 1) % kPattern] ? a : b);
      published.store(seq - 1, std::memory_order_release);
      service_once();
      overruns.store(router.stats(0).overruns, std::memory_order_release);
      if (seq % 500 < 20) ::usleep(100);  // a pace the other shard keeps
    }
    while (!over.load(std::memory_order_acquire)) {
      service_once();
      flowing.store(router.flowing(0) + router.flowing(1), std::memory_order_release);
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> takers;
  for (int s = 0; s < 2; ++s) {
    takers.emplace_back([&, s] {
      ThreadClock clock{TscClock::from_kernel()};
      Rng rng(static_cast<u64>(s) + 1);
      const u64 all = s == 0 ? own_of_a(messages + 1) : own_of_b(messages + 1);
      while (s == 0 && overruns.load(std::memory_order_acquire) == 0) std::this_thread::yield();  // one for sure
      for (;;) {
        const int n = rings[s].drain(shards[s], clock, 64);
        if (s == 0 && n > 0 && rng.below(400) == 0) ::usleep(20'000);  // it does not keep up
        if (n == 0) std::this_thread::yield();
        // Whole, live, everything seen: the end.
        if (n == 0 && shards[s].whole && shards[s].live && shards[s].next_own == all &&
            published.load(std::memory_order_acquire) == messages && flowing.load(std::memory_order_acquire) == 2)
          break;
      }
    });
  }
  for (std::thread& t : takers) t.join();
  over.store(true, std::memory_order_release);
  feed.join();
  std::printf("shard A: %llu of %llu messages, %llu overruns, %llu rebuilt; shard B: %llu of %llu, %llu overruns\n",
              static_cast<unsigned long long>(shards[0].taken), static_cast<unsigned long long>(own_of_a(messages + 1)),
              static_cast<unsigned long long>(router.stats(0).overruns), static_cast<unsigned long long>(router.stats(0).rebuilt),
              static_cast<unsigned long long>(shards[1].taken), static_cast<unsigned long long>(own_of_b(messages + 1)),
              static_cast<unsigned long long>(router.stats(1).overruns));
  CHECK(router.stats(0).overruns > 0 && shards[0].stale == router.stats(0).overruns);
  CHECK(router.stats(0).rebuilt > 0 && shards[0].taken > 0 && shards[1].taken > messages / 7);
}

}  // namespace

int main(int argc, char** argv) {
  routing();
  a_full_feed_ring_is_told_first_and_rebuilt();
  a_snapshot_older_than_what_is_held_is_asked_for_again();
  holding_too_much_begins_again();
  a_gap_of_the_whole_feed_ends_a_rebuild();
  what_waited_too_long_is_not_traded_on();
  threads(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000);
  return 0;
}
