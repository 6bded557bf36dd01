// The order session's transport against a peer that reads slowly, in small pieces, and hangs up: whole bytes in order,
// what a socket did not take is kept and goes first, and every loss is told once. Loopback only.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/rng.h"
#include "engine/soup_client.h"

using namespace peregrine;
using namespace peregrine::engine;

namespace {

#define CHECK(x) \
  do { \
    if (!(x)) std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), std::exit(1); \
  } while (0)

struct Handler final : SoupHandler {
  u32 connected = 0, lost = 0, flushes = 0;
  u64 flushed_bytes = 0;
  LostReason why{};
  std::vector<std::string> packets;
  SoupClient* client = nullptr;
  void on_connected() override {
    ++connected;
    client->login(soup::blank_session(), 1, 0);
  }
  void on_packet(Bytes p) override { packets.emplace_back(reinterpret_cast<const char*>(p.data()), p.size()); }
  void on_lost(LostReason r) override {
    ++lost;
    why = r;
  }
  void on_flushed(u32, i32 result) override {
    ++flushes;
    if (result > 0) flushed_bytes += static_cast<u64>(result);
  }
};

struct Peer {
  int listener = -1, fd = -1;
  u16 port = 0;
  Peer() {
    listener = ::socket(AF_INET, SOCK_STREAM, 0);
    const int tiny = 4096;
    ::setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &tiny, sizeof tiny);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(::bind(listener, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0 && ::listen(listener, 4) == 0);
    socklen_t n = sizeof a;
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&a), &n);
    port = ntohs(a.sin_port);
  }
  ~Peer() {
    hang_up();
    ::close(listener);
  }
  void accept() { CHECK((fd = ::accept(listener, nullptr, nullptr)) >= 0); }
  void hang_up() {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  // At most `most` bytes, without waiting.
  std::vector<u8> read(std::size_t most) {
    std::vector<u8> out(most);
    const ssize_t n = ::recv(fd, out.data(), most, MSG_DONTWAIT);
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
  }
  void write(const std::string& bytes) { CHECK(::send(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size())); }
};

std::string packet(char type, const std::string& payload) {
  std::string s{'\0', '\0', type};
  s += payload;
  store_be16(reinterpret_cast<u8*>(s.data()), static_cast<u16>(payload.size() + 1));
  return s;
}

SoupClientConfig config_for(const Peer& peer) {
  SoupClientConfig c;
  c.peer = Endpoint{"127.0.0.1", peer.port};
  c.username = "DEMO01";
  c.password = "secret";
  c.reconnect_delay_ns = 1000;
  c.heartbeat_idle_ns = 1'000'000'000'000;
  c.send_buffer_bytes = 1u << 18;
  return c;
}

void connect(SoupClient& client, Peer& peer, TimeNs& now) {
  client.start();
  for (int i = 0; i < 100'000 && !client.connected(); ++i) client.poll(now += 1000);
  CHECK(client.connected());
  peer.accept();
}

// Everything handed over arrives once and in order, however little the socket takes at a time.
void slow_reader(u64 seed) {
  Rng rng(seed);
  Peer peer;
  Handler handler;
  SoupClient client(config_for(peer), handler);
  handler.client = &client;
  TimeNs now = 1;
  connect(client, peer, now);
  const int small = 4096;
  ::setsockopt(client.fd(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  std::vector<u8> sent, got;
  const std::vector<u8> login = [&] {
    std::vector<u8> all;
    while (all.size() < soup::kLoginRequestBytes + 3) {
      const std::vector<u8> piece = peer.read(7);
      all.insert(all.end(), piece.begin(), piece.end());
    }
    return all;
  }();
  CHECK(login[2] == soup::kLoginRequest && load_be16(login.data()) == soup::kLoginRequestBytes + 1);
  u64 taken_now = 0, refused = 0;
  u8 next = 0;
  for (int round = 0; round < 4000; ++round) {
    std::vector<u8> bytes(1 + rng.below(400));
    for (u8& b : bytes) b = next++;
    const i32 taken = client.send(Bytes(bytes.data(), bytes.size()), now += 10);
    if (taken == -ENOBUFS) {
      ++refused;
      next = static_cast<u8>(next - bytes.size());
    } else {
      CHECK(taken >= 0 && static_cast<std::size_t>(taken) <= bytes.size());
      taken_now += static_cast<u64>(taken);
      sent.insert(sent.end(), bytes.begin(), bytes.end());
    }
    if (rng.below(3) == 0) {
      const std::vector<u8> piece = peer.read(rng.below(700));
      got.insert(got.end(), piece.begin(), piece.end());
    }
    client.poll(now += 10);
  }
  CHECK(handler.flushes > 0 && refused > 0);
  for (int i = 0; i < 10'000'000 && got.size() < sent.size(); ++i) {
    client.poll(now += 10);
    const std::vector<u8> piece = peer.read(5000);
    got.insert(got.end(), piece.begin(), piece.end());
  }
  CHECK(got == sent);
  CHECK(taken_now + handler.flushed_bytes == sent.size() && client.backlog_bytes() == 0);
}

// Packets arrive cut anywhere; a hang-up is told once; the next connection starts clean.
void cut_packets_and_hang_up(u64 seed) {
  Rng rng(seed);
  Peer peer;
  Handler handler;
  SoupClient client(config_for(peer), handler);
  handler.client = &client;
  TimeNs now = 1;
  connect(client, peer, now);
  std::string stream;
  std::vector<std::string> expected;
  for (int i = 0; i < 500; ++i) {
    const std::string payload(rng.below(90), static_cast<char>('a' + i % 26));
    stream += packet('S', payload) + packet('H', "");
    expected.push_back("S" + payload);
  }
  for (std::size_t at = 0; at < stream.size();) {
    const std::size_t n = std::min<std::size_t>(1 + rng.below(40), stream.size() - at);
    peer.write(stream.substr(at, n));
    at += n;
    client.poll(now += 10);
  }
  for (int i = 0; i < 100'000 && handler.packets.size() < expected.size(); ++i) client.poll(now += 10);
  CHECK(handler.packets == expected);
  peer.write(std::string("\0\x20S", 3) + "half");
  peer.hang_up();
  for (int i = 0; i < 100'000 && handler.lost == 0; ++i) client.poll(now += 10);
  CHECK(handler.lost == 1 && !client.connected() && handler.packets == expected);
  CHECK(client.send(Bytes(reinterpret_cast<const u8*>("x"), 1), now) == -ENOTCONN);
  for (int i = 0; i < 100'000 && !client.connected(); ++i) client.poll(now += 1000);
  peer.accept();
  peer.write(packet('S', "fresh"));
  for (int i = 0; i < 100'000 && handler.packets.size() == expected.size(); ++i) client.poll(now += 10);
  CHECK(handler.packets.back() == "Sfresh" && handler.connected == 2);
  peer.write(packet('Z', ""));
  for (int i = 0; i < 100'000 && handler.lost == 1; ++i) client.poll(now += 10);
  CHECK(handler.lost == 2 && handler.packets.back() == "Z");
}

// A peer that says nothing for the limit is given up; one that refuses is tried again.
void silence_and_refusal() {
  Handler handler;
  Peer peer;
  SoupClientConfig c = config_for(peer);
  c.silence_limit_ns = 1'000'000;
  SoupClient client(c, handler);
  handler.client = &client;
  TimeNs now = 1;
  connect(client, peer, now);
  client.poll(now += 2'000'000);
  CHECK(handler.lost == 1 && handler.why == LostReason::kSilence);

  Handler none;
  SoupClientConfig nobody = c;
  {
    Peer gone;
    nobody.peer.port = gone.port;
  }
  SoupClient refused(nobody, none);
  refused.start();
  for (int i = 0; i < 1000; ++i) refused.poll(now += 1000);
  CHECK(!refused.connected() && none.connected == 0 && none.lost == 0);
}

}  // namespace

int main() {
  for (u64 seed = 1; seed <= 5; ++seed) {
    slow_reader(seed);
    cut_packets_and_hang_up(seed);
  }
  silence_and_refusal();
  Endpoint e;
  for (const char* bad : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:7x", "localhost:7000", ":7000"}) {
    CHECK(!parse_endpoint(bad, e));
  }
  CHECK(parse_endpoint("10.1.2.3:65535", e) && e.port == 65'535 && e.host == "10.1.2.3");
  std::puts("engine transport: good");
  return 0;
}
