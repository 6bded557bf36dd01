// The feed receiver under any datagrams, timers and re-request answers: what it delivers is numbered without a hole
// except where it says so, and the bytes of a message are those of a packet that carried it.
#include "fuzz.h"
#include "market/feed_receiver.h"

using namespace peregrine;

namespace {

struct Sink final : FeedSink {
  u64 next = 0;
  bool may_jump = true;
  void on_block(u64 seq, u8 line, Bytes msg) override {
    FUZZ_CHECK(line <= kLineRetransmission);
    FUZZ_CHECK(may_jump || seq == next);
    may_jump = false;
    next = seq + 1;
    fuzz::touch(msg);
  }
  void on_snapshot_block(u64, Bytes) override { FUZZ_CHECK(false); }
  void on_state(const journal::FeedStateChange& s) override {
    FUZZ_CHECK(s.state <= static_cast<u8>(journal::FeedState::kEnded));
    if (s.state == static_cast<u8>(journal::FeedState::kStale)) may_jump = true;
  }
  void request(u64 seq, u16 count) override { FUZZ_CHECK(seq > 0 && count > 0); }
  void open_snapshot() override { FUZZ_CHECK(false); }
  void close_snapshot() override {}
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  fuzz::Input in(data, size);
  const u8 setup = in.byte();
  FeedReceiverConfig c;
  c.window_messages = 32;
  c.lines = static_cast<u8>(1 + (setup & 1));
  c.join = static_cast<FeedReceiverConfig::Join>((setup >> 1) % 3);
  c.snapshot_service = false;
  c.request_service = (setup & 8) != 0;
  c.max_jump_messages = 1000;
  Sink sink;
  FeedReceiver receiver(c, sink);
  receiver.start(0);
  TimeNs now = 0;
  u64 at = 1;  // where the stream is: packets are built near it, so that they meet
  u8 buffer[2048];
  for (int steps = 0; !in.done() && steps < 300; ++steps) {
    const u8 how = in.byte();
    now += TimeNs{how & 7} * 1'500'000;
    switch (how >> 5) {
      case 0: receiver.on_timer(now); break;
      case 1: {  // raw
        const u8 line = in.byte();
        const fuzz::Exact exact(in.take(in.byte()));
        receiver.on_packet(line, exact.view(), now);
        break;
      }
      case 2: {  // whole but anywhere
        mold::Header h{mold::make_session("S"), in.u64be(), in.u16be()};
        mold::encode(h, buffer);
        const Bytes rest = in.take(in.byte());
        std::memcpy(buffer + mold::kHeaderBytes, rest.data(), rest.size());
        const fuzz::Exact exact(Bytes(buffer, mold::kHeaderBytes + rest.size()));
        receiver.on_packet(how & 3, exact.view(), now);
        break;
      }
      case 3: now += TimeNs{in.byte()} * 100'000'000; break;
      default: {  // a good packet near the present place
        const u8 where = in.byte();
        mold::PacketBuilder b(buffer, sizeof buffer);
        const u64 seq = at + (where & 7) > 3 ? at + (where & 7) - 3 : 1;
        b.start(mold::make_session("S"), seq);
        for (int k = how >> 3 & 3; k > 0; --k) b.add(in.take(where >> 4));
        if (where & 8) at = seq + b.count();
        const fuzz::Exact exact(where == 255 ? b.end_of_session(mold::make_session("S"), seq) : b.finish());
        receiver.on_packet(how & 3, exact.view(), now);
      }
    }
    FUZZ_CHECK(receiver.next_timer_ns() >= 0);
    FUZZ_CHECK(sink.may_jump || receiver.next_seq() == sink.next);
  }
  const u64 hash = receiver.state_hash();
  FUZZ_CHECK(hash == receiver.state_hash());
  return 0;
}
