// From the instant a packet was meant to be sent to the instant its order arrives, over loopback UDP and TCP, through
// the live loop on its pinned thread: journal, gate, sockets and all. Twin: a bare loop on the same core that answers
// each packet with an order's worth of bytes.
//
// Open loop: packets leave on a fixed beat, and a stall counts against every packet it delayed. Which packet caused an
// order is read from the journal afterwards, so a late order is never taken for the next packet's quick one.
#include <atomic>
#include <thread>

#include "engine/live_engine.h"
#include "journal/reader.h"
#include "journal/recover.h"
#include "pipeline.h"
#include "sockets.h"

using namespace peregrine;
using namespace peregrine::bench;

namespace {

constexpr i64 kBeatNs = 200'000;
constexpr std::size_t kOrderBytes = 53;  // an enter order with its appendage, framed

struct Wait {
  u64 meant_ticks = 0;
  u64 sent_ticks = 0;
};

// The exchange at the other end of the sockets, driven by the load generator's own loop.
class LoadGenerator final : private venue::ExchangeSink {
 public:
  LoadGenerator(const Spec& spec, Bench& b, TimeNs midnight_ns, u16 feed_port)
      : b_(b), listener_(tcp_listening()), udp_(udp_bound()), to_(loopback(feed_port)), now_(b.clock().now_ns()),
        exchange_(exchange_config_from(spec, midnight_ns), this), flow_(flow_params(spec), exchange_) {
    session_ = mold::make_session(exchange_.config().session);
    waits_.reserve(1u << 20);
    exchange_.start(now_);
    exchange_.set_session_state(venue::SessionState::kOpen, now_);
  }
  u16 order_port() const { return port_of(listener_.get()); }

  // The feed begins: directory, states and the first books.
  void open_feed() {
    flow_.begin(now_);
    flow_.seed_books(now_);
    send_feed(Wait{});
  }
  // Serves the order session and, while `beating`, sends an event of the flow at each beat until the clock says end.
  void run(u64 end_ticks, bool beating, const std::atomic<bool>& over) {
    const u64 beat = static_cast<u64>(kBeatNs * 1e-9 * static_cast<double>(b_.clock().frequency_hz()));
    u64 next = b_.ticks() + beat;
    bool ready = false;
    while (!over.load(std::memory_order_relaxed)) {
      const u64 t = b_.ticks();
      if (t >= end_ticks) break;
      if (beating && !ready) {  // the packet is made before its time
        now_ = flow_.next_ns() > now_ ? flow_.next_ns() : now_;
        flow_.step();
        ready = true;
      }
      if (beating && t >= next) {
        send_feed(Wait{next, t});
        next += beat;
        ready = false;
      }
      serve();
    }
  }
  bool connected() const { return line_.get() >= 0; }
  const Wait* wait_of(u64 feed_seq) const {
    return feed_seq < waits_.size() && waits_[feed_seq].meant_ticks != 0 ? &waits_[feed_seq] : nullptr;
  }
  u64 arrived_ticks(u32 number) const { return number < arrived_.size() ? arrived_[number] : 0; }
  u64 packets() const { return packets_; }

 private:
  static venue::FlowParams flow_params(const Spec& spec) {
    venue::FlowParams p = flow_params_from(spec);
    p.rate_per_s = static_cast<u32>(1'000'000'000 / kBeatNs);
    return p;
  }
  void itch(u64 seq, u16, Bytes m) override {
    if (feed_.empty()) first_seq_ = seq;
    feed_.emplace_back(m.begin(), m.end());
  }
  void ouch(venue::PortIx, u64, Bytes m) override {
    u8 packet[512];
    const std::size_t n = soup::frame(soup::kSequenced, m, packet);
    out_.insert(out_.end(), packet, packet + n);
  }
  void send_feed(const Wait& wait) {
    if (feed_.empty()) return;
    u8 buffer[mold::kMaxPayloadBytes];
    mold::PacketBuilder packet(buffer, sizeof buffer);
    packet.start(session_, first_seq_);
    for (std::size_t i = 0; i < feed_.size(); ++i) {
      const Bytes m(feed_[i].data(), feed_[i].size());
      if (!packet.add(m)) {
        send_packet(packet.finish());
        packet.start(session_, first_seq_ + i);
        packet.add(m);
      }
      if (waits_.size() <= first_seq_ + i) waits_.resize(first_seq_ + i + 1);
      waits_[first_seq_ + i] = wait;
    }
    send_packet(packet.finish());
    feed_.clear();
  }
  void send_packet(Bytes p) {
    ++packets_;
    if (::sendto(udp_.get(), p.data(), p.size(), 0, reinterpret_cast<const sockaddr*>(&to_), sizeof to_) < 0) {
      fail("a feed packet could not be sent");
    }
  }
  void serve() {
    if (line_.get() < 0) {
      line_.reset(accept_one(listener_.get()));
      return;
    }
    u8 buffer[65536];
    const ssize_t n = ::recv(line_.get(), buffer, sizeof buffer, 0);
    if (n > 0) {
      const u64 t = b_.ticks();
      framer_.push(Bytes(buffer, static_cast<std::size_t>(n)), [&](Bytes p) { on_packet(p, t); });
      if (!feed_.empty()) send_feed(Wait{});  // what an order changed in the book: answered, but not on the beat
    }
    if (!out_.empty()) {
      const ssize_t took = ::send(line_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
      if (took > 0) out_.erase(out_.begin(), out_.begin() + took);
    }
  }
  void on_packet(Bytes p, u64 ticks) {
    if (p[0] == soup::kLoginRequest) {
      soup::LoginRequest login;
      if (!soup::decode(p.subspan(1), login)) fail("a login that cannot be read");
      soup::LoginAccepted accepted;
      const std::string& s = exchange_.config().session;
      accepted.session = soup::make_session(s.data(), s.size());
      accepted.sequence = login.sequence == 0 ? exchange_.port_store(0).next_seq() : login.sequence;
      u8 payload[soup::kLoginAcceptedBytes], packet[64];
      soup::encode(accepted, payload);
      const std::size_t n = soup::frame(soup::kLoginAccepted, Bytes(payload, sizeof payload), packet);
      out_.insert(out_.end(), packet, packet + n);
    } else if (p[0] == soup::kUnsequenced && p.size() > 1) {
      const bool long_enough = p.size() >= 10;
      const u32 number = !long_enough ? 0 : p[1] == 'O' ? load_be32(p.data() + 2) : p[1] == 'U' ? load_be32(p.data() + 6) : 0;
      if (number != 0) {
        if (arrived_.size() <= number) arrived_.resize(number + std::size_t{4096});
        arrived_[number] = ticks;
      }
      exchange_.on_ouch(0, p.subspan(1), now_);
    }
  }

  Bench& b_;
  Fd listener_, udp_, line_;
  sockaddr_in to_;
  TimeNs now_;
  venue::Exchange exchange_;
  venue::Flow flow_;
  mold::Session session_;
  soup::Framer framer_;
  std::vector<std::vector<u8>> feed_;
  std::vector<u8> out_;
  std::vector<Wait> waits_;  // by feed sequence
  std::vector<u64> arrived_;  // by order number
  u64 first_seq_ = 0;
  u64 packets_ = 0;
};

// The twin: an echo on the engine's core, the same beat, packets and answers of the same size. It answers one packet in
// `every`: the kernel's way out of TCP is warm only for who sends often, and the engine sends for one packet in dozens.
void echo(Bench& b, double seconds, u64 every, Figure& open_loop) {
  const Fd feed(udp_bound()), listener(tcp_listening()), udp(udp_bound());
  const sockaddr_in to = loopback(port_of(feed.get())), order_to = loopback(port_of(listener.get()));
  std::atomic<bool> over{false};
  std::thread thread([&] {
    Bench::pin(b.options().cpu);
    const Fd line(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(line.get(), reinterpret_cast<const sockaddr*>(&order_to), sizeof order_to) != 0) fail("connect");
    tune_tcp(line.get());
    u8 packet[2048], idle[64];
    u64 packets = 0;
    while (!over.load(std::memory_order_relaxed)) {
      const ssize_t n = ::recv(feed.get(), packet, sizeof packet, 0);
      if (n > 0) {
        if (++packets % every != 0) continue;
        if (::send(line.get(), packet, kOrderBytes, MSG_NOSIGNAL) != static_cast<ssize_t>(kOrderBytes)) fail("echo");
      } else {
        (void)!::recv(line.get(), idle, sizeof idle, 0);  // the engine polls its session too
      }
    }
  });
  int accepted = -1;
  while (accepted < 0) accepted = accept_one(listener.get());
  const Fd line(accepted);
  const u64 hz = b.clock().frequency_hz();
  const u64 beat = static_cast<u64>(kBeatNs * 1e-9 * static_cast<double>(hz));
  const u64 start = b.ticks();
  const u64 end = start + static_cast<u64>(seconds * static_cast<double>(hz));
  u64 next = start + beat;
  u8 packet[64] = {}, answers[65536];
  std::size_t held = 0;
  while (next < end) {
    const u64 t = b.ticks();
    if (t >= next) {
      std::memcpy(packet, &next, sizeof next);
      ::sendto(udp.get(), packet, 60, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
      next += beat;
    }
    const ssize_t n = ::recv(line.get(), answers + held, sizeof answers - held, 0);
    if (n <= 0) continue;
    const u64 now = b.ticks();
    held += static_cast<std::size_t>(n);
    std::size_t at = 0;
    for (; held - at >= kOrderBytes; at += kOrderBytes) {
      u64 meant;
      std::memcpy(&meant, answers + at, sizeof meant);
      open_loop.record(b.ps(now - meant), 1);
    }
    std::memmove(answers, answers + at, held - at);
    held -= at;
  }
  over.store(true);
  thread.join();
}

}  // namespace

int main(int argc, char** argv) {
  Bench b(parse(argc, argv));
  b.settle();
  Bench::pin(b.options().other_cpu);  // this thread makes the load; the journal's writer inherits its place
  const Spec spec(b.options().spec);
  const double seconds = b.options().seconds;
  Figure twin, seldom;
  echo(b, seconds / 4, 1, twin);

  const TimeNs midnight = b.clock().now_ns() / 86'400'000'000'000 * 86'400'000'000'000;
  const u16 feed_port = free_udp_port();
  LoadGenerator load(spec, b, midnight, feed_port);
  engine::ShardConfig config = shard_config_from(spec);
  config.market.midnight_ns = midnight;
  engine::Shard shard(config);
  load_default_policy(shard, spec);

  journal::OpenJournal journal;
  journal::RecoverOptions recover;
  recover.dir = b.options().dir + "/journal";
  recover.ring_name = "peregrine-bench-wire-" + std::to_string(::getpid());
  recover.now_ns = b.clock().now_ns();
  journal::RingOptions ring;
  ring.ring_bytes = 64u << 20;
  journal::WriterOptions writer;
  journal::JournalError error;
  if (!journal::open_journal(recover, ring, ring.ring_bytes / 16, writer, journal, error)) fail(error.text());
  engine::StepRunner runner(shard, journal.appender.get());
  const std::size_t bytes = (engine::Telemetry::bytes_needed(1) + 4095) / 4096 * 4096;
  const std::unique_ptr<u8, decltype(&std::free)> memory(static_cast<u8*>(std::aligned_alloc(4096, bytes)), &std::free);
  std::memset(memory.get(), 0, bytes);
  engine::Telemetry telemetry(memory.get(), {config.instruments[0].symbol}, 10'000);
  engine::LiveConfig live;
  live.itch_a = {"127.0.0.1", feed_port};
  live.ouch = {"127.0.0.1", load.order_port()};
  live.username = "BENCH1";
  live.password = "bench";
  live.feed.join = FeedReceiverConfig::Join::kFromFirst;
  live.feed.lines = 1;
  live.feed.snapshot_service = live.feed.request_service = false;
  live.idle = engine::IdleMode::kSpin;
  live.engine_cpus = {b.options().cpu};
  live.noise_ns = 0;
  engine::LiveEngine engine(live, runner, *journal.appender, telemetry, nullptr, nullptr, b.clock());
  if (const std::string why = engine.open(); !why.empty()) fail(why);
  journal.writer->start();
  std::atomic<bool> over{false}, never{false};
  std::thread hot([&] {
    engine.run();
    over.store(true);
  });
  const double hz = static_cast<double>(b.clock().frequency_hz());
  const auto until = [&](double s) { return b.ticks() + static_cast<u64>(s * hz); };
  for (int i = 0; i < 100 && !load.connected(); ++i) load.run(until(0.02), false, never);
  load.run(until(0.1), false, never);  // login, account query, mass cancel
  load.open_feed();
  load.run(until(0.2), true, never);  // warm
  load.run(until(seconds / 2), true, never);
  engine.request_stop(engine::StopReason::kAsked);
  load.run(until(5), false, over);
  hot.join();
  if (!journal.writer->close(error)) fail(error.text());

  echo(b, seconds / 4, 1, twin);

  // Which packet caused which order: the last feed message before the intent.
  Figure figure, closed;
  const std::unique_ptr<journal::Reader> reader = journal::Reader::open(recover.dir, {}, error);
  if (reader == nullptr) fail(error.text());
  journal::RecordView view;
  u64 feed_seq = 0, off_beat = 0;
  bool feed_last = false;
  while (reader->next(view) == journal::ReadResult::kRecord) {
    const auto type = static_cast<journal::RecordType>(view.header.type);
    if (type == journal::RecordType::kFeed) {
      feed_seq = load_le<u64>(view.payload.data());
      feed_last = true;
    } else if (type == journal::RecordType::kSession || type == journal::RecordType::kTimer) {
      feed_last = false;
    } else if (type == journal::RecordType::kIntent) {
      journal::IntentHead head;
      std::memcpy(&head, view.payload.data(), sizeof head);
      if (head.kind > static_cast<u8>(journal::IntentKind::kReplace)) continue;
      const u64 arrived = load.arrived_ticks(head.user_ref_num);
      const Wait* wait = load.wait_of(feed_seq);
      if (arrived == 0 || wait == nullptr || !feed_last) {
        ++off_beat;
        continue;
      }
      figure.record(b.ps(arrived - wait->meant_ticks), 1);
      closed.record(b.ps(arrived - wait->sent_ticks), 1);
    }
  }
  if (figure.items < 20) {
    const engine::ShardCounters& c = shard.counters();
    fail("only " + std::to_string(figure.items) + " orders came from packets on the beat (session " +
         session_phase_name(shard.session().phase()) + ", feed " + std::to_string(static_cast<int>(engine.feed().state())) +
         ", connections " + std::to_string(c.connections) + ", events " + std::to_string(c.events) + ", decisions " +
         std::to_string(c.decisions) + ", orders " + std::to_string(c.orders) + ", refused " +
         std::to_string(c.risk_rejects) + ", off the beat " + std::to_string(off_beat) + ")");
  }
  const u64 every = load.packets() / figure.items > 0 ? load.packets() / figure.items : 1;
  echo(b, seconds / 2, every, seldom);
  Twins twins;
  twins.add("the echo, answering 1 packet in " + std::to_string(every) + " as the engine does", seldom);
  const auto hist = [&](engine::Hist h, double p) { return std::to_string(telemetry.hist(h).percentile(p)); };
  const auto closed_ns = [&](double p) { return std::to_string(closed.ps->percentile(p) / 1000); };
  b.report("wire_to_wire_inline", figure, "raw UDP to TCP echo", twin,
           "\"beat_ns\": " + std::to_string(kBeatNs) + ", \"packets\": " + std::to_string(load.packets()) +
               ", \"orders\": " + std::to_string(figure.items) + ", \"orders_off_beat\": " + std::to_string(off_beat) +
               ", \"symbols\": 1, \"live_orders\": " + std::to_string(shard.market().live_orders()) +
               ", \"kernel_drops\": " + std::to_string(engine.kernel_drops()) + ", \"gaps\": " +
               std::to_string(engine.feed().stats().gaps) + ", \"closed_loop_p50_ns\": " + closed_ns(50) +
               ", \"closed_loop_p99_ns\": " + closed_ns(99) + ", \"live_tick_to_order_p50_ns\": " +
               hist(engine::Hist::tick_to_order, 50) + ", \"live_tick_to_order_p99_ns\": " +
               hist(engine::Hist::tick_to_order, 99) + ", \"live_send_p50_ns\": " + hist(engine::Hist::send, 50),
           twins);
}
