// Random damage on everything that parses market data, under the sanitizers: nothing may be read out of bounds,
// overflow, or leave a book in pieces. A few seconds, by seed.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "core/rng.h"
#include "market/feed_receiver.h"
#include "market/itch.h"
#include "market/itch_file.h"
#include "market/market.h"
#include "market/moldudp64.h"
#include "market/pcap.h"

using namespace peregrine;

namespace {

// A copy on the heap of exactly the given size: one byte too far is seen.
struct Exact {
  explicit Exact(Bytes b) : size(b.size()), data(std::make_unique<u8[]>(b.size())) {
    if (size > 0) std::memcpy(data.get(), b.data(), size);
  }
  Bytes view() const { return {data.get(), size}; }
  std::size_t size;
  std::unique_ptr<u8[]> data;
};

u64 g_sum = 0;  // keeps what was read from being optimised away

void touch(Bytes b) {
  for (u8 c : b) g_sum += c;
}

// A plausible message of a random type; refs and locates from small ranges so that they meet.
std::vector<u8> message(Rng& rng) {
  static constexpr char kTypes[] = "AAAAFEECXDDUUPQBIRHYhJSLVWKNO";
  const u8 type = static_cast<u8>(kTypes[rng.below(sizeof kTypes - 1)]);
  std::vector<u8> m(itch::message_length(type));
  for (u8& b : m) b = static_cast<u8>(rng.next());
  m[0] = type;
  store_be16(&m[1], static_cast<u16>(rng.below(5)));
  if (m.size() >= 19) store_be64(&m[11], rng.below(200));
  if (m.size() >= 24) store_be32(&m[19], static_cast<u32>(rng.below(300)));
  if (type == 'A' || type == 'F' || type == 'P') {
    m[19] = rng.below(20) == 0 ? 'X' : (rng.below(2) == 0 ? 'B' : 'S');
    store_be32(&m[20], static_cast<u32>(rng.below(300)));
    std::memcpy(&m[24], "SYMBOL A", 8);
    m[31] = static_cast<u8>('A' + rng.below(4));
    store_be32(&m[32], static_cast<u32>(rng.below(50)));
  }
  if (type == 'U') {
    store_be64(&m[19], rng.below(200));
    store_be32(&m[27], static_cast<u32>(rng.below(300)));
    store_be32(&m[31], static_cast<u32>(rng.below(50)));
  }
  return m;
}

void damage(Rng& rng, std::vector<u8>& b) {
  for (u64 k = rng.below(4); k > 0 && !b.empty(); --k) b[rng.below(b.size())] = static_cast<u8>(rng.next());
  if (rng.below(4) == 0 && !b.empty()) b.resize(rng.below(b.size()));
  if (rng.below(16) == 0) b.push_back(static_cast<u8>(rng.next()));
}

void fuzz_market(u64 seed) {
  Rng rng(seed);
  MarketConfig c;
  c.max_instruments = 4;
  c.max_orders = 32 + static_cast<u32>(rng.below(100));
  c.max_levels = 16 + static_cast<u32>(rng.below(40));
  c.max_own_orders = 8;
  c.max_prints = 16;
  c.auto_instruments = rng.below(4) != 0;
  Market market(c);
  market.add_instrument("SYMBOL A");
  Event event;
  for (u64 n = 0; n < 4000; ++n) {
    std::vector<u8> m = message(rng);
    if (rng.below(5) == 0) damage(rng, m);
    const Exact exact({m.data(), m.size()});
    const Bytes coming[] = {exact.view()};
    market.prefetch(coming, 0);
    if (rng.below(500) == 0) {
      market.on_snapshot_message(exact.view(), 1 + rng.below(2), 0, event);
    } else {
      market.on_message(exact.view(), n, 0, event);
    }
    if (rng.below(50) == 0) market.track_own(rng.below(200));
    if (rng.below(50) == 0) market.untrack_own(rng.below(200));
    if (n % 128 == 0) market.check();
    if (n % 64 == 0) g_sum += market.state_hash();
    Level levels[10];
    if (event.instrument < market.instruments()) g_sum += static_cast<u64>(market.levels(event.instrument, event.side, levels, 10));
  }
  market.check();
}

void fuzz_stream(u64 seed) {
  Rng rng(seed);
  std::vector<u8> buffer;
  for (int i = 0; i < 200; ++i) {
    const std::vector<u8> m = message(rng);
    buffer.push_back(0);
    buffer.push_back(static_cast<u8>(m.size()));
    buffer.insert(buffer.end(), m.begin(), m.end());
  }
  damage(rng, buffer);
  const Exact exact({buffer.data(), buffer.size()});
  MarketConfig c;
  c.auto_instruments = true;
  c.max_orders = 256;
  c.max_levels = 128;
  Market market(c);
  const StreamResult r = apply_stream(market, exact.view(), 1, UINT64_MAX, [](Market::Outcome, const Event&, Bytes) {});
  if (r.consumed > exact.size) std::abort();
  market.check();
}

struct CheckingSink final : FeedSink {
  u64 next = 0;
  void on_block(u64 seq, u8, Bytes msg) override {
    if (next != 0 && seq != next) {
      std::fprintf(stderr, "block %llu, expected %llu\n", static_cast<unsigned long long>(seq),
                   static_cast<unsigned long long>(next));
      std::exit(1);
    }
    next = seq + 1;
    touch(msg);
  }
  void on_snapshot_block(u64, Bytes msg) override {
    touch(msg);
    next = 0;
  }
  void on_state(const journal::FeedStateChange& s) override {
    if (s.state == static_cast<u8>(journal::FeedState::kStale)) next = 0;
  }
  void request(u64 seq, u16 count) override { g_sum += seq + count; }
  void open_snapshot() override {}
  void close_snapshot() override {}
};

void fuzz_feed(u64 seed) {
  Rng rng(seed);
  FeedReceiverConfig c;
  c.window_messages = 64;
  c.lines = static_cast<u8>(1 + rng.below(2));
  c.join = static_cast<FeedReceiverConfig::Join>(rng.below(3));
  c.snapshot_service = rng.below(2) == 0;
  c.request_service = rng.below(4) != 0;
  c.max_jump_messages = 1000;
  CheckingSink sink;
  FeedReceiver receiver(c, sink);
  receiver.start(0);
  TimeNs now = 0;
  u64 at = 1 + rng.below(3);
  for (int i = 0; i < 3000; ++i) {
    now += static_cast<TimeNs>(rng.below(40'000'000));
    u8 raw[2048];
    mold::PacketBuilder b(raw, sizeof raw);
    b.start(mold::make_session("S"), at + rng.below(8) - (at > 4 ? rng.below(4) : 0));
    for (u64 k = rng.below(6); k > 0; --k) {
      const std::vector<u8> m = message(rng);
      b.add({m.data(), m.size()});
    }
    if (rng.below(2) == 0) at += rng.below(4);
    const Bytes packet = b.finish();
    std::vector<u8> bytes(packet.begin(), packet.end());
    if (rng.below(6) == 0) damage(rng, bytes);
    const Exact exact({bytes.data(), bytes.size()});
    receiver.on_packet(static_cast<u8>(rng.below(4)), exact.view(), now);
    if (rng.below(20) == 0) {
      u8 g[40];
      for (u8& x : g) x = static_cast<u8>('0' + rng.below(10));
      for (int k = 1; k < 18; ++k) g[k] = rng.below(300) == 0 ? static_cast<u8>(rng.next()) : ' ';
      g[0] = rng.below(3) == 0 ? 'G' : 'R';
      const Exact payload({g, rng.below(40)});
      receiver.on_snapshot_packet(static_cast<u8>("SSSSAHJZ+"[rng.below(9)]), payload.view(), now);
    }
    if (rng.below(300) == 0) receiver.on_snapshot_closed(now);
    if (rng.below(3) == 0) receiver.on_timer(now);
    if (receiver.state() == journal::FeedState::kEnded) break;
  }
  g_sum += receiver.state_hash();
}

void fuzz_pcap(u64 seed) {
  Rng rng(seed);
  std::vector<u8> file(24);
  store_le<u32>(&file[0], rng.below(2) == 0 ? 0xA1B2C3D4u : 0xA1B23C4Du);
  file[20] = 1;
  for (u64 k = rng.below(6); k > 0; --k) {
    std::vector<u8> frame(14 + 20 + 20 + rng.below(60));
    for (u8& b : frame) b = static_cast<u8>(rng.next());
    const bool vlan = rng.below(2) == 0;
    std::size_t ip = 14;
    store_be16(&frame[12], vlan ? 0x8100 : 0x0800);
    if (vlan) store_be16(&frame[16], 0x0800), ip = 18;
    frame[ip] = rng.below(8) == 0 ? 0x4F : 0x45;
    store_be16(&frame[ip + 2], static_cast<u16>(rng.below(frame.size() + 20)));
    store_be16(&frame[ip + 6], 0);
    frame[ip + 9] = rng.below(2) == 0 ? 17 : 6;
    std::size_t at = file.size();
    file.resize(at + 16);
    store_le<u32>(&file[at + 8], static_cast<u32>(frame.size()));
    store_le<u32>(&file[at + 12], static_cast<u32>(frame.size()));
    file.insert(file.end(), frame.begin(), frame.end());
  }
  damage(rng, file);
  const Exact exact({file.data(), file.size()});
  pcap::Reader reader(exact.view());
  pcap::Packet p;
  while (reader.next(p)) {
    touch(p.payload);
    if (p.payload_offset + p.payload.size() > exact.size) std::abort();
    mold::Header h;
    if (!mold::well_formed(p.payload, h)) continue;
    mold::BlockIterator it(p.payload, h);
    for (Bytes msg; it.next(msg);) touch(msg);
  }
}

void fuzz_codecs(u64 seed) {
  Rng rng(seed);
  for (int i = 0; i < 2000; ++i) {
    std::vector<u8> m = message(rng);
    damage(rng, m);
    const Exact exact({m.data(), m.size()});
    if (m.empty()) continue;
    itch::with_type(m[0], [&]<class T>() {
      T t;
      if (!itch::decode(exact.view(), t)) return;
      u8 again[itch::kMaxLength];
      const std::size_t n = itch::encode(t, again);
      if (std::memcmp(again, exact.data.get(), n) != 0) {
        std::fprintf(stderr, "type %c does not encode to the bytes it came from\n", m[0]);
        std::exit(1);
      }
    });
    mold::Header h;
    if (mold::well_formed(exact.view(), h)) ++g_sum;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const u64 seeds = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 40;
  for (u64 seed = 1; seed <= seeds; ++seed) {
    fuzz_codecs(seed);
    fuzz_market(seed);
    fuzz_feed(seed);
    for (u64 k = 0; k < 50; ++k) fuzz_stream(seed * 1000 + k);
    for (u64 k = 0; k < 200; ++k) fuzz_pcap(seed * 1000 + k);
  }
  std::printf("market_asan: %llu seeds good (%llx)\n", static_cast<unsigned long long>(seeds),
              static_cast<unsigned long long>(g_sum));
  return 0;
}
