// The venue's inbound doors under random and damaged bytes: order entry, re-requests, fault options, recordings.
// The venue's sources are included here because this program is linked with the engine's objects only.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/rng.h"
#include "venue/day.cpp"
#include "venue/day_file.cpp"
#include "venue/drop_copy.cpp"
#include "venue/exchange.cpp"
#include "venue/exchange_ouch.cpp"
#include "venue/exchange_out.cpp"
#include "venue/faults.cpp"
#include "venue/flow.cpp"
#include "venue/lines.cpp"
#include "venue/matching.cpp"

using namespace peregrine;
using namespace peregrine::venue;

namespace {

struct Sink final : ExchangeSink, DatagramSink {
  u64 messages = 0, packets = 0;
  void ouch(PortIx, u64, Bytes m) override { messages += m.size() > 0; }
  void itch(u64, u16, Bytes m) override { messages += m.size() > 0; }
  void datagram(int, Bytes p) override { packets += p.size() > 0; }
};

ExchangeConfig config() {
  ExchangeConfig c;
  c.symbols = {SymbolConfig{}, SymbolConfig{.symbol = "FLCN"}};
  c.ports = {{.user = "ONE", .password = "", .firm = "AAAA"},
             {.user = "TWO", .password = "", .firm = "BBBB", .cancel_on_disconnect = true},
             {.user = "COPY", .password = "", .firm = "AAAA", .drop_copy_of = "AAAA"}};
  c.holdings = {{"AAAA", {{"FLCN", 300}, {"GONE", -20}}}};
  c.max_orders = 512;
  return c;
}

// A request that is mostly well formed, so that damage lands deep.
std::vector<u8> request(Rng& rng, u32& urn) {
  u8 buffer[ouch::kMaxMessageBytes];
  std::size_t n = 0;
  ouch::AppendageBuilder app;
  if (rng.below(4) == 0) app.add_u32(ouch::kTagMinQuantity, static_cast<u32>(rng.below(200)));
  if (rng.below(4) == 0) app.add_char(ouch::kTagPostOnly, 'P');
  if (rng.below(6) == 0) app.add_u32(ouch::kTagExpireTime, static_cast<u32>(1 + rng.below(3)));
  const auto price = [&] { return rng.below(50) == 0 ? ouch::kMarketPrice : 990'000 + 100 * rng.below(200); };
  const u32 some = static_cast<u32>(rng.below(urn + 2));
  const u8 tifs[] = {'0', '3', '5', '6'}, displays[] = {'Y', 'N', 'A'}, sides[] = {'B', 'S', 'T', 'E'};
  switch (rng.below(8)) {
    case 0:
    case 1:
    case 2: {
      ouch::EnterOrder o;
      o.user_ref_num = ++urn;
      o.side = sides[rng.below(4)];
      o.quantity = static_cast<u32>(1 + rng.below(500));
      o.symbol = ouch::alpha<8>(rng.below(2) ? "PRGN" : "FLCN");
      o.price = price();
      o.tif = tifs[rng.below(4)];
      o.display = displays[rng.below(3)];
      o.appendage = app.bytes();
      n = ouch::encode(o, buffer);
      break;
    }
    case 3: {
      ouch::ReplaceOrder u;
      u.orig_ref_num = some;
      u.user_ref_num = ++urn;
      u.quantity = static_cast<u32>(rng.below(500));
      u.price = price();
      u.display = displays[rng.below(3)];
      u.appendage = app.bytes();
      n = ouch::encode(u, buffer);
      break;
    }
    case 4: {
      ouch::CancelOrder x;
      x.user_ref_num = some;
      x.quantity = static_cast<u32>(rng.below(3) == 0 ? rng.below(400) : 0);
      n = ouch::encode(x, buffer);
      break;
    }
    case 5: {
      ouch::ModifyOrder m;
      m.user_ref_num = some;
      m.side = sides[rng.below(4)];
      m.quantity = static_cast<u32>(rng.below(400));
      n = ouch::encode(m, buffer);
      break;
    }
    case 6: {
      ouch::AccountQuery q;
      n = ouch::encode(q, buffer);
      break;
    }
    default: {
      ouch::MassCancel c;
      c.user_ref_num = rng.below(20) == 0 ? ++urn : some;
      n = ouch::encode(c, buffer);
    }
  }
  std::vector<u8> out(buffer, buffer + n);
  if (rng.below(4) == 0) out[rng.below(out.size())] ^= static_cast<u8>(1u << rng.below(8));
  if (rng.below(8) == 0) out.resize(rng.below(out.size() + 1));
  if (rng.below(16) == 0) out.push_back(static_cast<u8>(rng.next()));
  return out;
}

int fuzz_orders(u64 seed) {
  Rng rng(seed);
  Sink sink;
  Exchange x(config(), &sink);
  TimeNs now = 34'200'000'000'000;
  x.set_session_state(SessionState::kOpen, now);
  FlowParams p;
  p.seed = seed;
  p.target_orders = 100;
  Flow flow(p, x);
  flow.seed_books(now);
  flow.begin(now);
  u32 urn[2] = {0, 0};
  for (int i = 0; i < 6000; ++i) {
    now += static_cast<TimeNs>(rng.below(2'000'000));
    const PortIx port = static_cast<PortIx>(rng.below(2));
    if (rng.below(3) == 0) flow.step();
    if (rng.below(400) == 0) x.on_disconnect(port, now);
    if (rng.below(500) == 0) x.halt(static_cast<u32>(rng.below(2)), "HPQT"[rng.below(4)], "T1", now);
    if (rng.below(100) == 0) x.halt(0, 'T', "", now);
    if (rng.below(300) == 0) x.bust(rng.below(200), 'E', now);
    const std::vector<u8> bytes = request(rng, urn[port]);
    x.on_ouch(port, bytes, now);
    if (x.next_user_ref_num(port) > urn[port]) urn[port] = x.next_user_ref_num(port) - 1;
    if (urn[port] > 0xF0000000u) break;  // damage used up the numbers
    if (i % 50 == 0) x.matching().check();
  }
  x.set_session_state(SessionState::kEnded, now);
  MessageStore snapshot;
  x.snapshot(snapshot, now);
  return x.matching().live_orders() == 0 && sink.messages > 500 ? 0 : 1;
}

int fuzz_requests(u64 seed) {
  Rng rng(seed);
  Sink sink;
  FaultPlan plan;
  if (!parse_faults("loss=5%,dup=5%,reorder=5%,corrupt=20%,delay=1ms@10%", plan).empty()) return 1;
  FeedLines lines(mold::make_session("PRG0000001"), plan.line, seed, 200, 1'000'000, &sink);
  MessageStore store;
  TimeNs now = 0;
  for (int i = 0; i < 4000; ++i) {
    now += 100'000;
    std::vector<u8> message(1 + rng.below(60), static_cast<u8>(i));
    lines.message(store.append(message), message, now);
    if (rng.below(3) == 0) lines.flush(now);
    lines.on_timer(now);
    u8 packet[24];
    mold::encode(
        mold::Request{mold::make_session("PRG0000001"), rng.below(store.size() + 3), static_cast<u16>(rng.next())},
        packet);
    if (rng.below(4) == 0) packet[rng.below(20)] ^= static_cast<u8>(1u << rng.below(8));
    lines.retransmit(Bytes(packet, rng.below(3) == 0 ? rng.below(24) : 20), store);
  }
  return sink.packets > 1000 ? 0 : 1;
}

int fuzz_text_and_files(u64 seed) {
  Rng rng(seed);
  const std::string alphabet = "lossredupdelayhatb.=%@+,0123456789msnPRGN";
  FaultPlan plan;
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (u64 n = rng.below(24); n > 0; --n) text.push_back(alphabet[rng.below(alphabet.size())]);
    parse_faults(text, plan);
  }
  for (int round = 0; round < 200; ++round) {
    Sink sink;
    Exchange x(config(), &sink);
    x.set_session_state(SessionState::kOpen, 0);
    std::vector<u8> file;
    const char types[] = "AFEXDUCPSRZ";
    for (int i = 0; i < 60; ++i) {
      const u8 type = static_cast<u8>(types[rng.below(11)]);
      std::size_t n = itch::message_length(type) + (rng.below(9) == 0 ? rng.below(4) : 0);
      if (rng.below(20) == 0) n = rng.below(60);
      file.push_back(0);
      file.push_back(static_cast<u8>(n));
      const std::size_t at = file.size();
      for (std::size_t k = 0; k < n; ++k)
        file.push_back(static_cast<u8>(k < 18 || rng.below(2) ? rng.below(3) : rng.next()));
      if (n > 0) file[at] = type;
    }
    if (rng.below(4) == 0) file.resize(rng.below(file.size()));
    RecordedFlow flow(file, 0, 0, 100, x);
    flow.begin(0);
    while (flow.next_ns() != INT64_MAX) flow.step();
    x.matching().check();
  }
  return 0;
}

void write_file(const std::string& path, const std::vector<u8>& bytes) {
  std::FILE* f = std::fopen(path.c_str(), "wb");
  if (f == nullptr || std::fwrite(bytes.data(), 1, bytes.size(), f) != bytes.size()) std::abort();
  std::fclose(f);
}

// A day on file, cut and damaged anywhere: followed to a state it once had, or refused; never anything else.
int fuzz_day(u64 seed) {
  Rng rng(seed);
  Sink sink;
  DayConfig c;
  c.exchange = config();
  c.flow.seed = seed;
  c.flow.target_orders = 100;
  const char* folder = std::getenv("TMPDIR");
  const std::string path = std::string(folder != nullptr ? folder : P_tmpdir) + "/peregrine-venue-day-" + std::to_string(::getpid());
  ::unlink(path.c_str());
  std::map<u64, u64> states;  // offset -> state
  {
    Day day(c, &sink);
    DayWriter writer(path, 0, 0, 0);
    TimeNs now = 34'200'000'000'000;
    writer.append(DayInput::kHeader, 0, now, encode_opening({day.fingerprint(), 0, "PRG0000001", {"a", "b", "c", "d", "e"}}));
    states[writer.offset()] = day.exchange().state_hash();
    const auto input = [&](DayInput kind, u16 port, Bytes payload) {
      writer.append(kind, port, now, payload);
      day.apply(kind, port, now, payload);
      states[writer.offset()] = day.exchange().state_hash();
    };
    input(DayInput::kStart, 0, {});
    const u8 open = static_cast<u8>(SessionState::kOpen);
    input(DayInput::kSession, 0, Bytes(&open, 1));
    u32 urn[2] = {0, 0};
    for (int i = 0; i < 800; ++i) {
      now += static_cast<TimeNs>(rng.below(2'000'000));
      const u16 port = static_cast<u16>(rng.below(2));
      if (day.flow_next_ns() <= now) input(DayInput::kFlow, 0, {});
      if (rng.below(90) == 0) input(DayInput::kDisconnect, port, {});
      if (rng.below(90) == 0) input(DayInput::kHalt, 0, halt_payload(static_cast<u32>(rng.below(3)), "HT"[rng.below(2)], false, "T1"));
      if (rng.below(90) == 0) input(DayInput::kBust, 0, bust_payload(rng.below(50), 'E'));
      if (rng.below(90) == 0) input(DayInput::kSnapshot, 0, {});
      if (rng.below(90) == 0) input(DayInput::kFlowFromNow, 0, {});
      const std::vector<u8> bytes = request(rng, urn[port]);
      input(DayInput::kOuch, port, bytes);
      if (day.exchange().next_user_ref_num(port) > urn[port]) urn[port] = day.exchange().next_user_ref_num(port) - 1;
      if (urn[port] > 0xF0000000u) break;
    }
  }
  std::vector<u8> whole;
  if (std::FILE* f = std::fopen(path.c_str(), "rb")) {
    whole.resize(states.rbegin()->first);
    if (std::fread(whole.data(), 1, whole.size(), f) != whole.size()) return 1;
    std::fclose(f);
  }
  int bad = 0;
  for (int i = 0; i < 40; ++i) {
    std::vector<u8> bytes = whole;
    if (i > 0 && rng.below(2)) bytes.resize(rng.below(bytes.size() + 1));
    const bool damaged = i > 0 && rng.below(2) && !bytes.empty();
    if (damaged) bytes[rng.below(bytes.size())] ^= static_cast<u8>(1u << rng.below(8));
    write_file(path, bytes);
    try {
      DayFollower follower(c, path);
      follower.catch_up();
      const u64 at = follower.reader().offset();
      bad += states.count(at) == 0 || states[at] != follower.day().exchange().state_hash();
      // Damage may only hide in the torn record at the end.
      bad += damaged && at + follower.reader().torn_bytes() != bytes.size();
    } catch (const std::runtime_error&) {
      bad += !damaged && bytes.size() > states.begin()->first;
    }
  }
  ::unlink(path.c_str());
  return bad;
}

}  // namespace

int main() {
  for (u64 seed = 1; seed <= 6; ++seed) {
    if (fuzz_orders(seed) != 0 || fuzz_requests(seed) != 0 || fuzz_text_and_files(seed) != 0 || fuzz_day(seed) != 0) {
      std::fprintf(stderr, "venue: seed %llu failed\n", static_cast<unsigned long long>(seed));
      return 1;
    }
  }
  std::puts("venue: inbound bytes held");
  return 0;
}
