// Python view of a live run: everything one engine process owns, made before the loop, held until it is over.
#include <atomic>
#include <cstring>
#include <thread>

#include "bindings/live_shard.h"
#include "bindings/signal_catcher.h"
#include "core/pin.h"

namespace py = pybind11;
using namespace peregrine;
using bindings::endpoint_from;
using bindings::get;
using bindings::LiveShard;

namespace {

engine::LiveConfig live_config_from(const py::dict& d) {
  engine::LiveConfig c;
  c.ouch = endpoint_from(d, "ouch");
  c.itch_a = endpoint_from(d, "itch_a");
  c.itch_b = endpoint_from(d, "itch_b");
  c.retransmit = endpoint_from(d, "retransmit");
  c.glimpse = endpoint_from(d, "glimpse");
  c.interface_address = get<std::string>(d, "interface");
  c.username = get<std::string>(d, "username");
  c.password = get<std::string>(d, "password");
  c.feed.lines = c.itch_b.port != 0 ? 2 : 1;
  c.feed.snapshot_service = c.glimpse.port != 0;
  c.feed.request_service = c.retransmit.port != 0;
  const std::string join = get<std::string>(d, "join");
  c.feed.join = join == "here"    ? FeedReceiverConfig::Join::kHere
                : join == "first" ? FeedReceiverConfig::Join::kFromFirst
                                  : FeedReceiverConfig::Join::kSnapshot;
  c.feed.window_messages = get<u32>(d, "window_messages");
  c.feed.arbitration_wait_ns = get<i64>(d, "arbitration_wait_ns");
  c.feed.request_timeout_ns = get<i64>(d, "request_timeout_ns");
  c.feed.request_retries = get<u32>(d, "request_retries");
  c.feed.max_request_messages = get<u16>(d, "max_request_messages");
  c.feed.silence_timeout_ns = get<i64>(d, "feed_silence_ns");
  c.feed.snapshot_timeout_ns = get<i64>(d, "snapshot_timeout_ns");
  c.feed.snapshot_retry_ns = get<i64>(d, "snapshot_retry_ns");
  c.feed.snapshot_retries = get<u32>(d, "snapshot_retries");
  c.heartbeat_ns = get<i64>(d, "heartbeat_ns");
  c.silence_ns = get<i64>(d, "session_silence_ns");
  c.reconnect_delay_ns = get<i64>(d, "reconnect_delay_ns");
  c.connect_timeout_ns = get<i64>(d, "connect_timeout_ns");
  const std::string idle = get<std::string>(d, "idle");
  c.idle = idle == "spin" ? engine::IdleMode::kSpin : idle == "yield" ? engine::IdleMode::kYield : engine::IdleMode::kSleep;
  c.topology = get<std::string>(d, "topology") == "pipelined" ? engine::Topology::kPipelined : engine::Topology::kInline;
  c.shards_per_thread = get<u32>(d, "shards_per_thread");
  c.feed_ring_bytes = get<u64>(d, "feed_ring_bytes");
  c.max_lag_ns = get<i64>(d, "max_lag_ns");
  c.hold_bytes = c.feed_ring_bytes;
  c.engine_cpus = get<std::vector<int>>(d, "engine_cpus");
  c.feed_cpu = get<int>(d, "feed_cpu");
  c.session_cpu = get<int>(d, "session_cpu");
  c.refuse_bad_placement = get<bool>(d, "refuse_bad_placement");
  c.stage_sample = get<u32>(d, "stage_sample");
  c.run_for_ns = get<i64>(d, "run_for_ns");
  c.supervisor_timeout_ns = get<i64>(d, "supervisor_timeout_ns");
  c.noise_ns = get<i64>(d, "noise_ns");
  c.stall_ns = get<i64>(d, "stall_ns");
  return c;
}

py::dict feed_summary(const engine::LiveEngine& live) {
  const FeedReceiver::Stats& f = live.feed().stats();
  py::dict feed;
  feed["packets_a"] = f.packets[0];
  feed["packets_b"] = f.packets[1];
  feed["packets_retransmitted"] = f.packets[2];
  feed["malformed"] = f.malformed;
  feed["delivered"] = f.delivered;
  feed["duplicates"] = f.duplicates;
  feed["gaps"] = f.gaps;
  feed["lost"] = f.lost;
  feed["requests"] = f.requests;
  feed["snapshots"] = f.snapshots;
  feed["silences"] = f.silences;
  feed["kernel_drops"] = live.kernel_drops();
  feed["next_seq"] = live.feed().next_seq();
  feed["of_no_shard"] = live.feed_stage().router().skipped();
  return feed;
}

py::list queue_list(const engine::LiveEngine& live) {
  py::list out;
  for (const auto& [shard, use] : live.queues()) {
    py::dict q;
    q["name"] = use.name;
    q["shard"] = shard < 0 ? py::object(py::none()) : py::object(py::int_(shard));
    q["capacity"] = use.capacity;
    q["high_water"] = use.high_water;
    q["times_full"] = use.times_full;
    q["unit"] = use.unit;
    out.append(q);
  }
  return out;
}

class LiveRun {
 public:
  LiveRun(const py::list& shards, const py::dict& live_spec, const std::string& segment_name, i64 units_per_currency,
          u64 signal_address, const py::object& stage)
      : clock_(TscClock::calibrate()) {
    if (shards.empty() || shards.size() > engine::FeedRouter::kMaxShards) {
      throw py::value_error("1 to " + std::to_string(engine::FeedRouter::kMaxShards) + " shards");
    }
    for (const py::handle h : shards) {
      shards_.push_back(std::make_unique<LiveShard>(py::reinterpret_borrow<py::dict>(h), stage));
    }
    make_segment(segment_name, units_per_currency, get<bool>(live_spec, "mlock"));
    std::vector<engine::ShardParts> parts;
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      shards_[i]->open_journal(get<py::dict>(py::reinterpret_borrow<py::dict>(shards[i]), "journal"), clock_);
      parts.push_back(shards_[i]->parts(&segment_, signal_address));
    }
    for (std::size_t i = 0; i < shards_.size(); ++i) {  // copies of the clock are taken once no journal can move it any more
      const py::dict spec = py::reinterpret_borrow<py::dict>(shards[i]);
      if (spec.contains("device")) shards_[i]->attach_device(get<py::dict>(spec, "device"), clock_);
    }
    live_ = std::make_unique<engine::LiveEngine>(live_config_from(live_spec), parts, clock_);
    if (const std::string error = live_->open(); !error.empty()) throw py::value_error(error);
  }
  ~LiveRun() { segment_.close(true); }

  // Blocks until stopped, without the GIL. SIGINT and SIGTERM stop, SIGUSR1 kills: block them in every thread first.
  py::dict run() {
    engine::StopReason why;
    bool closed = true;
    std::string journal_error;
    {
      const py::gil_scoped_release release;
      for (const auto& shard : shards_) shard->start();
      std::atomic<bool> over{false};
      const bindings::SignalCatcher caught;
      std::thread signals([this, &over, &caught] {
        bindings::SignalCatcher::unblock();
        watch_signals(over, caught);
      });
      why = live_->run();
      over.store(true);
      signals.join();
      for (const auto& shard : shards_) {
        journal::JournalError error;
        if (shard->close(error)) continue;
        closed = false;
        journal_error = error.text();
      }
    }
    py::dict d = summary();
    static constexpr const char* kWhy[] = {"", "time", "asked", "signal", "journal", "placement"};
    d["stopped_by"] = kWhy[static_cast<u8>(why)];
    d["placement_error"] = live_->placement_error();
    d["lock_notes"] = lock_notes_;
    d["journal_closed"] = closed;
    d["journal_error"] = journal_error;
    return d;
  }

  void stop() { live_->request_stop(engine::StopReason::kAsked); }
  void kill() { live_->request_kill(); }
  void supervisor_beat() { live_->supervisor_beat(); }

  // A command for a shard's thread; False while the one before is on its way. `policy`: for bank swaps.
  bool command(u16 kind, const py::bytes& body, u64 key, const py::object& policy, std::size_t shard, const py::bytes& origin) {
    return live_->post(shard, at(shard).command(kind, body, key, policy, origin));
  }
  bool snapshot_now(std::size_t shard) { return at(shard).request_snapshot(); }

  // Safe only before run() and after it: the hot threads own the shards meanwhile. With one shard its own summary
  // stands at the top too.
  py::dict summary() const {
    py::dict d = shards_.size() == 1 ? shards_[0]->summary() : py::dict();
    py::list shards;
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      py::dict s = shards_[i]->summary();
      const engine::LaneStats& lane = live_->feed_stage().router().stats(i);
      s["feed_delivered"] = lane.delivered;
      s["feed_dropped"] = lane.dropped;
      s["rebuilds"] = lane.rebuilds;
      s["rebuilt"] = lane.rebuilt;
      shards.append(s);
    }
    d["shards"] = shards;
    py::dict latency;
    for (u32 i = 0; i < static_cast<u32>(engine::Hist::kCount); ++i) latency[bindings::histogram_name(i)] = percentiles(i);
    d["latency"] = latency;
    d["feed"] = feed_summary(*live_);
    d["queues"] = queue_list(*live_);
    d["threads"] = live_->threads();
    // When a kill was asked for, and by whom: the word's own stamp, or the signal's.
    const ShmHeader& head = segment_.header();
    d["kill_word_ns"] = head.kill_pid != 0 ? head.kill_ns : 0;
    d["kill_word_pid"] = head.kill_pid;
    d["kill_signal_ns"] = kill_signal_ns_.load();
    d["started_ns"] = shards_[0]->telemetry().get(engine::Counter::started_ns);
    d["now_ns"] = live_->now_ns();
    return d;
  }
  py::dict book(int levels, std::size_t shard) const { return bindings::book_summary(at(shard).shard().market(), levels); }
  std::string hgrm(const std::string& name, double unit) const {
    for (u32 i = 0; i < static_cast<u32>(engine::Hist::kCount); ++i) {
      if (name == bindings::histogram_name(i)) return merged(i)->to_hgrm(unit);
    }
    throw py::key_error(name);
  }

 private:
  LiveShard& at(std::size_t shard) const {
    if (shard >= shards_.size()) throw py::index_error("no shard " + std::to_string(shard));
    return *shards_[shard];
  }
  // Over all shards.
  std::unique_ptr<Histogram> merged(u32 i) const {
    auto all = std::make_unique<Histogram>();
    for (const auto& shard : shards_) all->merge(shard->telemetry().hist(static_cast<engine::Hist>(i)));
    return all;
  }
  py::dict percentiles(u32 i) const { return bindings::percentiles(*merged(i)); }

  void make_segment(const std::string& name, i64 units_per_currency, bool lock) {
    std::vector<RegionSpec> regions;
    for (std::size_t i = 0; i < shards_.size(); ++i) shards_[i]->add_regions(i, lock, regions);
    const Error error = name.empty() ? Segment::create_anonymous(regions, {}, segment_)
                                     : Segment::create(name, regions, {}, segment_);
    if (!error.ok()) throw py::value_error(error.text);
    for (u32 i = 0; i < segment_.region_count(); ++i) {
      if (const u32 code = segment_.region_at(i).lock; code >= 1000) {
        lock_notes_.push_back(std::string(segment_.region_at(i).name) + ": " + std::strerror(static_cast<int>(code - 1000)));
      }
    }
    for (std::size_t i = 0; i < shards_.size(); ++i) shards_[i]->take_regions(i, segment_, units_per_currency);
  }

  void watch_signals(std::atomic<bool>& over, const bindings::SignalCatcher& caught) {
    name_this_thread("signals");
    TscClock clock = clock_;
    while (!over.load()) {
      const int number = caught.wait(50);
      if (number == SIGUSR1) {
        kill_signal_ns_.store(clock.now_ns());
        live_->request_kill();
      }
      if (number == SIGINT || number == SIGTERM) live_->request_stop(engine::StopReason::kSignal);
    }
  }

  TscClock clock_;
  std::atomic<TimeNs> kill_signal_ns_{0};
  Segment segment_;
  std::vector<std::string> lock_notes_;
  std::vector<std::unique_ptr<LiveShard>> shards_;
  std::unique_ptr<engine::LiveEngine> live_;
};

}  // namespace

void bind_live(py::module_& m) {
  py::class_<LiveRun>(m, "LiveRun", "One live engine: shards, journals, shared memory and sockets.")
      .def(py::init<const py::list&, const py::dict&, const std::string&, i64, u64, const py::object&>(),
           py::arg("shards"), py::arg("live"), py::arg("segment_name"), py::arg("units_per_currency"),
           py::arg("signal_address") = 0, py::arg("stage") = py::none(),
           "`shards`: dicts of shard, policies, quorum, journal, ouch, username and password, one a shard.")
      .def("run", &LiveRun::run, "Trades until stopped; returns the summary.")
      .def("stop", &LiveRun::stop, "Asks for a clean stop: cancel, flush, return.")
      .def("kill", &LiveRun::kill, "No new order from the next input on; cancels all.")
      .def("supervisor_beat", &LiveRun::supervisor_beat)
      .def("command", &LiveRun::command, py::arg("kind"), py::arg("body") = py::bytes(), py::arg("key") = 0,
           py::arg("policy") = py::none(), py::arg("shard") = 0, py::arg("origin") = py::bytes(),
           "A command for a shard's thread; False while the one before is on its way.")
      .def("snapshot_now", &LiveRun::snapshot_now, py::arg("shard") = 0,
           "Asks for a snapshot of the shard's state; False where none are made.")
      .def("summary", &LiveRun::summary, "Only before run() and after it.")
      .def("book", &LiveRun::book, py::arg("levels") = 10, py::arg("shard") = 0)
      .def("hgrm", &LiveRun::hgrm, py::arg("name"), py::arg("unit") = 1.0);
}
