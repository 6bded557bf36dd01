// The hand-over between a shard and its session, in a pipelined engine: the written rule of each full queue.
// Loopback only.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "engine/session_stage.h"
#include "engine/stage_ring.h"

using namespace peregrine;
using namespace peregrine::engine;
using journal::RecordType;

namespace {

#define CHECK(x) \
  do { \
    if (!(x)) std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), std::_Exit(1); \
  } while (0)

// ---- session → shard full: the socket is not read

struct Full final : InputSink {
  u64 room = 0;
  std::vector<std::string> packets;
  u32 ups = 0, downs = 0;
  SessionDoor* door = nullptr;
  bool put(RecordType type, const Stamps&, Bytes head, Bytes body) override {
    if (type == RecordType::kSession) packets.emplace_back(reinterpret_cast<const char*>(body.data()), body.size());
    if (type == RecordType::kSessionState) (head[0] != 0 ? ups : downs) += 1;
    return true;
  }
  bool put_closed() override { return true; }
  u64 room_bytes() const override { return room; }
  void overrun(u32) override {}
  bool put_overrun_mark(u32) override { return true; }
};

void a_full_way_back_leaves_the_bytes_with_the_venue() {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(::bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0 && ::listen(listener, 1) == 0);
  socklen_t n = sizeof at;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &n);
  LiveConfig config;
  config.silence_ns = 1'000'000'000'000;
  ThreadClock clock{TscClock::from_kernel()};
  SessionStage session(config, {{"127.0.0.1", ntohs(at.sin_port)}, "U", "P"}, clock);
  Full shard;
  shard.room = 1 << 20;
  session.attach(shard);
  session.start();
  for (int i = 0; i < 1000 && shard.ups == 0; ++i) clock.tick(), session.poll(), ::usleep(100);
  CHECK(shard.ups == 1);
  const int fd = ::accept(listener, nullptr, nullptr);
  CHECK(session.login({1, 1, {}, {}}));
  for (u32 i = 0; i < 1000; ++i) {
    const u8 packet[] = {0, 5, 'S', static_cast<u8>(i >> 24), static_cast<u8>(i >> 16), static_cast<u8>(i >> 8), static_cast<u8>(i)};
    CHECK(::send(fd, packet, sizeof packet, 0) == static_cast<ssize_t>(sizeof packet));
  }
  shard.room = 16 * 1024;  // what is kept for connection changes and send results
  for (int i = 0; i < 100; ++i) clock.tick(), session.poll();
  CHECK(shard.packets.empty());
  shard.room = 18 * 1024;  // a little: it comes in small reads
  for (int i = 0; i < 1000 && shard.packets.empty(); ++i) clock.tick(), session.poll();
  CHECK(!shard.packets.empty() && shard.packets.size() < 100);
  shard.room = 1 << 20;
  for (int i = 0; i < 1000 && shard.packets.size() < 1000; ++i) clock.tick(), session.poll(), ::usleep(100);
  CHECK(shard.packets.size() == 1000 && shard.downs == 0);
  for (u32 i = 0; i < 1000; ++i) {
    CHECK(load_be32(reinterpret_cast<const u8*>(shard.packets[i].data()) + 1) == i);
  }
  // Bytes made for a connection that is gone stay off the next one.
  const u8 old[] = {0, 2, 'U', 'O'};
  CHECK(session.send({1, 0, 7, 0}, Bytes(old, sizeof old)));
  session.settle();
  u8 got[256];
  const ssize_t all = ::recv(fd, got, sizeof got, MSG_DONTWAIT);
  CHECK(all == 49);  // the login and nothing else
  std::vector<QueueUse> queues;
  session.queues(queues);
  CHECK(queues.back().times_full == 1);
  ::close(fd);
  ::close(listener);
}

// ---- shard → session full: WireRing refuses, and what was taken comes out whole and in order

struct Door final : SessionDoor {
  std::vector<u32> numbers;
  int logins = 0, stops = 0, settled = 0;
  bool send(const WireHead& head, Bytes wire) override {
    CHECK(wire.size() == 1000);
    numbers.push_back(static_cast<u32>(head.last_intent_seq));
    return true;
  }
  void settle() override { ++settled; }
  bool login(const LoginHead&) override { return ++logins > 0; }
  bool stop() override { return ++stops > 0; }
};

void a_full_wire_ring_refuses() {
  WireRing ring("shard to session", 64 * 1024);
  Full back;
  back.room = 1 << 20;
  Door door;
  std::vector<u8> wire(1000, 7);
  u32 sent = 0;
  while (ring.send({sent + 1, 0, 1, 0}, wire)) ++sent;
  CHECK(sent > 50 && ring.use().times_full == 1);
  back.room = 100;
  CHECK(ring.drain(door, back, 1000) == 0);  // no room for the results: the bytes wait
  back.room = 1 << 20;
  CHECK(ring.drain(door, back, 1000) == static_cast<int>(sent));
  CHECK(door.numbers.size() == sent && door.settled == static_cast<int>(sent));
  for (u32 i = 0; i < sent; ++i) CHECK(door.numbers[i] == i + 1);
  CHECK(ring.login({}) && ring.stop() && ring.drain(door, back, 10) == 2 && door.logins == 1 && door.stops == 1);
}

}  // namespace

int main() {
  a_full_way_back_leaves_the_bytes_with_the_venue();
  a_full_wire_ring_refuses();
  return 0;
}
