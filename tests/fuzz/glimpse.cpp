// GLIMPSE: any snapshot packets, mixed with live messages, through receiver and books as the engine wires them. A
// snapshot begins at 1, counts up, and live messages go on exactly where its last message says.
#include "fuzz.h"
#include "market/feed_receiver.h"
#include "market/market.h"

using namespace peregrine;

namespace {

struct Sink final : FeedSink {
  explicit Sink(Market& m) : market(m) {}
  Market& market;
  Event event;
  u64 snapshot_n = 0, next = 1;
  bool open = false;
  void on_block(u64 seq, u8, Bytes msg) override {
    FUZZ_CHECK(!open && seq == next);
    next = seq + 1;
    market.on_message(msg, seq, 0, event);
  }
  void on_snapshot_block(u64 n, Bytes msg) override {
    FUZZ_CHECK(open && n == snapshot_n + 1);
    snapshot_n = n;
    market.on_snapshot_message(msg, n, 0, event);
    if (msg.empty() || msg[0] != 'G') return;
    next = 0;
    for (std::size_t i = 1; i < 21; ++i)
      if (msg[i] != ' ') next = next * 10 + (msg[i] - '0');
  }
  void on_state(const journal::FeedStateChange&) override {}
  void request(u64, u16) override {}
  void open_snapshot() override {
    open = true;
    snapshot_n = 0;
  }
  void close_snapshot() override { open = false; }
};

std::vector<u8> add_order(fuzz::Input& in) {
  std::vector<u8> m(36, ' ');
  m[0] = 'A';
  store_be16(&m[1], in.byte() & 3);
  store_be64(&m[11], in.byte() & 31);
  const u8 b = in.byte();
  m[19] = b & 1 ? 'S' : 'B';
  store_be32(&m[20], b >> 1);
  std::memcpy(&m[24], "SYMBOL A", 8);
  m[31] = static_cast<u8>('A' + (b & 3));
  store_be32(&m[32], in.byte() & 15);
  return m;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  fuzz::Input in(data, size);
  MarketConfig mc;
  mc.max_instruments = 4;
  mc.max_orders = 16;
  mc.max_levels = 12;
  mc.max_own_orders = 2;
  mc.max_prints = 4;
  mc.auto_instruments = true;
  Market market(mc);
  FeedReceiverConfig c;
  c.window_messages = 32;
  c.max_jump_messages = 1000;
  c.snapshot_retries = in.byte() & 3;
  Sink sink(market);
  FeedReceiver receiver(c, sink);
  receiver.start(0);
  TimeNs now = 0;
  u8 buffer[512];
  for (int steps = 0; !in.done() && steps < 300; ++steps) {
    const u8 how = in.byte();
    now += TimeNs{how & 7} * 40'000'000;
    switch (how >> 5) {
      case 0: receiver.on_timer(now); break;
      case 1: {  // raw
        const u8 type = in.byte();
        const fuzz::Exact exact(in.take(in.byte()));
        receiver.on_snapshot_packet(type, exact.view(), now);
        break;
      }
      case 2: receiver.on_snapshot_closed(now); break;
      case 3: now += TimeNs{in.byte()} * 100'000'000; break;
      case 4: {  // the end, mostly with a number
        u8 g[24];
        std::memset(g, ' ', sizeof g);
        g[0] = 'G';
        const u8 n = in.byte();
        g[19] = static_cast<u8>('0' + n / 16), g[20] = static_cast<u8>('0' + n % 10);
        if (how & 8) g[1 + n % 20] = in.byte();
        const fuzz::Exact exact(Bytes(g, how & 16 ? 21 : n % 24));
        receiver.on_snapshot_packet('S', exact.view(), now);
        break;
      }
      case 5: {  // a live packet
        mold::PacketBuilder b(buffer, sizeof buffer);
        b.start(mold::make_session("S"), in.byte() & 63);
        for (int k = how & 3; k > 0; --k) b.add(add_order(in));
        const fuzz::Exact exact(b.finish());
        receiver.on_packet(how >> 2 & 1, exact.view(), now);
        break;
      }
      case 6: receiver.resync(now); break;
      default: {
        const std::vector<u8> m = add_order(in);
        receiver.on_snapshot_packet('S', m, now);
      }
    }
    FUZZ_CHECK(receiver.snapshot_open() || !sink.open);
  }
  market.check();
  const u64 hash = market.state_hash() ^ receiver.state_hash();
  FUZZ_CHECK(hash == (market.state_hash() ^ receiver.state_hash()));
  return 0;
}
