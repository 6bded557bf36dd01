// A whole pipelined engine under ThreadSanitizer: feed, two shard and session threads, journals and their writers,
// against the simulated venue on loopback, through orders, a kill from another thread and a clean end. All the while the
// two shards change places: a command moves each to the other's thread and back.
// The venue's sources are included here because this program is linked with the engine's objects only.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/live_engine.h"
#include "journal/recover.h"
#include "venue/day.cpp"
#define fail fail_in_day_file  // net.cpp has one too
#include "venue/day_file.cpp"
#undef fail
#include "venue/drop_copy.cpp"
#include "venue/exchange.cpp"
#include "venue/exchange_ouch.cpp"
#include "venue/exchange_out.cpp"
#include "venue/faults.cpp"
#include "venue/flow.cpp"
#include "venue/lines.cpp"
#include "venue/login.cpp"
#include "venue/matching.cpp"
#include "venue/net.cpp"
#include "venue/server.cpp"
#include "venue/server_io.cpp"

using namespace peregrine;
using engine::ShardParts;

namespace {

#define CHECK(x) \
  do { \
    if (!(x)) std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x), std::_Exit(1); \
  } while (0)

constexpr u32 kJoinBid = 1, kActions = 5;

// A policy that always asks for one action.
Policy constant_policy(u32 action, const FeatureParams& features) {
  const u16 index[1] = {0};
  const i16 m[1] = {1};
  const u8 s[1] = {0};
  const i8 weights[kActions] = {};
  i32 bias[kActions] = {};
  bias[action] = 1000;
  PolicySpec spec;
  spec.n_inputs = 1;
  spec.feature_index = index, spec.quant_m = m, spec.quant_s = s;
  spec.n_layers = 1;
  spec.layer[0] = {1, kActions, false, weights, bias, nullptr};
  spec.schema_hash = schema_hash(features);
  const PolicyContext context{FeatureEngine::kFeatures, kActions, spec.schema_hash, spec.action_map_hash};
  Policy policy;
  const PolicyError error = Policy::load(spec, context, policy);
  if (!error.ok) std::fprintf(stderr, "%s\n", error.message);
  CHECK(error.ok);
  return policy;
}

engine::ShardConfig shard_config(const std::string& symbol, TimeNs midnight_ns) {
  engine::ShardConfig c;
  engine::InstrumentSpec spec;
  spec.symbol = symbol;
  spec.tactic.order_qty_lots = 100;
  spec.tactic.max_inventory_lots = 1'000'000;
  spec.tactic.increment_ticks = 100;
  spec.tactic.max_away_ticks = 500;
  spec.tactic.min_resting_ns = 1'000'000;
  spec.tactic.max_resting_ns = 1'000'000'000;
  c.instruments = {spec};
  c.market.midnight_ns = midnight_ns;
  c.market.max_instruments = c.gate.max_instruments = 1;
  RiskLimits l;
  l.collar_ticks = 100'000, l.collar_bps = 5'000, l.max_order_lots = 1'000;
  l.max_order_notional = l.max_working_notional = l.max_account_notional = l.max_gross = l.max_credit = l.max_loss =
      l.max_drawdown = i64{1} << 50;
  l.max_working_orders = l.max_account_orders = 100, l.max_long_lots = l.max_short_lots = 1'000'000;
  l.max_executions = 60, l.execution_window_ns = 1'000'000, l.max_quote_age_ns = 60'000'000'000;
  l.max_messages = 1'000, l.message_window_ns = 1'000'000'000, l.cancel_reserve = 100;
  c.limits = {l};
  return c;
}

struct OneShard {
  engine::Shard shard;
  journal::OpenJournal journal;
  std::unique_ptr<u8, decltype(&std::free)> memory{nullptr, &std::free};
  std::unique_ptr<engine::Telemetry> telemetry;
  std::unique_ptr<engine::StepRunner> runner;

  OneShard(const std::string& symbol, TimeNs midnight_ns, const std::string& dir, TimeNs now) : shard(shard_config(symbol, midnight_ns)) {
    PolicySet::SlotConfig slot;
    slot.weight = 1;
    CHECK(shard.policies().stage(0, constant_policy(kJoinBid, shard.config().features)).ok);
    CHECK(shard.policies().set_slot(0, slot).ok && shard.policies().swap(0) && shard.policies().set_quorum(128));
    std::filesystem::create_directories(dir);
    journal::RecoverOptions recover;
    recover.dir = dir;
    recover.ring_name = "peregrine-tsan-" + symbol + "-" + std::to_string(::getpid());
    recover.now_ns = now;
    journal::RingOptions ring;
    ring.ring_bytes = 4u << 20;
    journal::JournalError error;
    if (!journal::open_journal(recover, ring, ring.ring_bytes / 16, {}, journal, error)) {
      std::fprintf(stderr, "%s\n", error.text().c_str());
      std::_Exit(1);
    }
    const std::size_t bytes = (engine::Telemetry::bytes_needed(1) + 4095) / 4096 * 4096;
    memory.reset(static_cast<u8*>(std::aligned_alloc(4096, bytes)));
    std::memset(memory.get(), 0, bytes);
    telemetry = std::make_unique<engine::Telemetry>(memory.get(), std::vector<std::string>{symbol}, 10'000);
    runner = std::make_unique<engine::StepRunner>(shard, journal.appender.get());
  }
};

engine::Endpoint endpoint(const std::string& text) {
  engine::Endpoint e;
  CHECK(engine::parse_endpoint(text, e));
  return e;
}

}  // namespace

int main() {
  TscClock clock = TscClock::calibrate();
  const TimeNs midnight_ns = clock.now_ns() / 86'400'000'000'000 * 86'400'000'000'000;
  const std::filesystem::path dir = std::filesystem::temp_directory_path() / ("peregrine-tsan-" + std::to_string(::getpid()));
  venue::ServerConfig vc;
  vc.exchange.symbols = {{.symbol = "AAA"}, {.symbol = "BBB"}};
  vc.exchange.ports = {{.user = "ONE", .password = "X", .firm = "AAAA"}, {.user = "TWO", .password = "X", .firm = "AAAA"}};
  vc.exchange.midnight_ns = midnight_ns;
  vc.flow.rate_per_s = 500;
  vc.flow.target_orders = 40;
  venue::VenueServer server(vc);
  server.start();
  {
    OneShard a("AAA", midnight_ns, dir / "shard-00", clock.now_ns()), b("BBB", midnight_ns, dir / "shard-01", clock.now_ns());
    const engine::Endpoint ouch = endpoint(server.addresses().ouch);
    const std::vector<ShardParts> parts = {
        {a.runner.get(), a.journal.appender.get(), a.telemetry.get(), nullptr, nullptr, {}, {ouch, "ONE", "X"}},
        {b.runner.get(), b.journal.appender.get(), b.telemetry.get(), nullptr, nullptr, {}, {ouch, "TWO", "X"}}};
    engine::LiveConfig live;
    live.topology = engine::Topology::kPipelined;
    live.itch_a = endpoint(server.addresses().itch_a);
    live.itch_b = endpoint(server.addresses().itch_b);
    live.retransmit = endpoint(server.addresses().retransmit);
    live.glimpse = endpoint(server.addresses().glimpse);
    live.username = "ONE", live.password = "X";
    live.idle = engine::IdleMode::kSleep;
    live.noise_ns = 0;
    engine::LiveEngine engine(live, parts, clock);
    CHECK(engine.open().empty());
    a.journal.writer->start();
    b.journal.writer->start();
    std::thread hot([&] { engine.run(); });
    const auto seen = [&](engine::Counter c, i64 least) {
      for (int i = 0; i < 3'000; ++i, ::usleep(10'000)) {
        if (a.telemetry->get(c) >= least && b.telemetry->get(c) >= least) return true;
      }
      return false;
    };
    std::atomic<bool> moving{true};
    std::atomic<u32> moves{0};
    std::thread mover([&] {
      for (u32 n = 0; moving.load(); ++n) {
        auto command = std::make_unique<engine::CommandMessage>();
        command->kind = journal::CommandKind::kMove;
        const u32 thread = (n / 2 + n) % 2;  // 0 1 1 0: each shard to and fro, now apart, now together
        command->body.resize(sizeof thread);
        std::memcpy(command->body.data(), &thread, sizeof thread);
        if (engine.post(n % 2, std::move(command))) moves.fetch_add(1);
        ::usleep(2'000);
      }
    });
    CHECK(seen(engine::Counter::acks, 3));
    server.drop_connections();
    CHECK(seen(engine::Counter::reconnects, 1) && seen(engine::Counter::session_ready, 1));
    const i64 acks = std::max(a.telemetry->get(engine::Counter::acks), b.telemetry->get(engine::Counter::acks));
    CHECK(seen(engine::Counter::acks, acks + 2));
    for (int i = 0; i < 3'000 && moves.load() < 100; ++i) ::usleep(10'000);
    engine.request_kill();
    CHECK(seen(engine::Counter::trading_state, 5));
    engine.request_stop(engine::StopReason::kAsked);
    hot.join();
    moving.store(false);
    mover.join();
    CHECK(moves.load() >= 100);
    journal::JournalError error;
    CHECK(a.journal.writer->close(error) && b.journal.writer->close(error));
    CHECK(a.shard.working_orders() == 0 && b.shard.working_orders() == 0);
    std::printf("%u moves, orders %lld and %lld, events %lld and %lld\n", moves.load(), static_cast<long long>(a.telemetry->get(engine::Counter::orders)),
                static_cast<long long>(b.telemetry->get(engine::Counter::orders)),
                static_cast<long long>(a.telemetry->get(engine::Counter::events)),
                static_cast<long long>(b.telemetry->get(engine::Counter::events)));
  }
  venue::PortSummary one, two;
  server.call([&](venue::Exchange& x, TimeNs) { one = x.summary(0), two = x.summary(1); });
  CHECK(one.open_orders == 0 && two.open_orders == 0 && one.accepted > 0 && two.accepted > 0);
  server.stop();
  std::filesystem::remove_all(dir);
  return 0;
}
