// Python view of a live run: everything one engine process owns, made before the loop, held until it is over.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "bindings/shard_factory.h"
#include "core/bytes.h"
#include "core/pin.h"
#include "engine/live_engine.h"
#include "engine/snapshotter.h"
#include "journal/recover.h"

namespace py = pybind11;
using namespace peregrine;
using bindings::get;

namespace {

engine::Endpoint endpoint_from(const py::dict& d, const char* key) {
  engine::Endpoint e;
  if (!d.contains(key) || d[key].is_none()) return e;
  const std::string text = get<std::string>(d, key);
  if (!engine::parse_endpoint(text, e)) throw py::value_error(std::string(key) + ": '" + text + "' is not address:port");
  return e;
}

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
  c.engine_cpu = get<int>(d, "engine_cpu");
  c.refuse_bad_placement = get<bool>(d, "refuse_bad_placement");
  c.stage_sample = get<u32>(d, "stage_sample");
  c.run_for_ns = get<i64>(d, "run_for_ns");
  c.supervisor_timeout_ns = get<i64>(d, "supervisor_timeout_ns");
  c.noise_ns = get<i64>(d, "noise_ns");
  return c;
}

py::dict percentiles(const Histogram& h) {
  py::dict d;
  d["p50"] = h.percentile(50);
  d["p90"] = h.percentile(90);
  d["p99"] = h.percentile(99);
  d["p99_9"] = h.percentile(99.9);
  d["max"] = h.count == 0 ? 0 : h.max;
  d["count"] = h.count;
  return d;
}

// A wall clock set back a little between two runs is waited for; more is for a person to look at.
constexpr TimeNs kMaxBehindNs = 2'000'000'000;

// SIGINT, SIGTERM and SIGUSR1 while a run is on. Real handlers, not a signalfd: a library's helper thread (of numpy's
// linear algebra, say) may have been started with nothing blocked, and takes a signal from under a signalfd. A handler
// does the same wherever it runs: it writes the number into a pipe.
class SignalCatcher {
 public:
  SignalCatcher() {
    if (::pipe2(pipe_, O_CLOEXEC | O_NONBLOCK) != 0) throw py::value_error("no pipe for signals: too many open files?");
    writer_ = pipe_[1];
    struct sigaction act{};
    act.sa_handler = [](int number) {
      const int saved = errno;
      const u8 byte = static_cast<u8>(number);
      [[maybe_unused]] const ssize_t n = ::write(writer_, &byte, 1);
      errno = saved;
    };
    act.sa_flags = SA_RESTART;
    for (std::size_t i = 0; i < 3; ++i) ::sigaction(kSignals[i], &act, &before_[i]);
  }
  ~SignalCatcher() {
    for (std::size_t i = 0; i < 3; ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }
  SignalCatcher(const SignalCatcher&) = delete;
  SignalCatcher& operator=(const SignalCatcher&) = delete;

  // On the thread that is to take them: the engine's own threads have them blocked.
  static void unblock() {
    sigset_t set;
    sigemptyset(&set);
    for (const int s : kSignals) sigaddset(&set, s);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  }
  // The next signal's number, 0 when none came within `timeout_ms`.
  int wait(int timeout_ms) const {
    pollfd p{pipe_[0], POLLIN, 0};
    u8 number = 0;
    if (::poll(&p, 1, timeout_ms) <= 0 || ::read(pipe_[0], &number, 1) != 1) return 0;
    return number;
  }

 private:
  static constexpr int kSignals[3] = {SIGINT, SIGTERM, SIGUSR1};
  static inline std::atomic<int> writer_{-1};
  int pipe_[2] = {-1, -1};
  struct sigaction before_[3] {};
};

class LiveRun {
 public:
  LiveRun(const py::dict& shard_spec, const py::list& policies, u16 quorum, const py::dict& live_spec,
          const py::dict& journal_spec, const std::string& segment_name, i64 units_per_currency, u64 signal_address,
          const py::object& stage)
      : factory_(bindings::shard_factory(shard_spec, policies, quorum, stage)),
        shard_(factory_.make()),
        clock_(TscClock::calibrate()) {
    for (u32 s = 0; s < kMaxPolicies && !have_action_map_; ++s) {
      have_action_map_ = shard_->policies().active(s);
      if (have_action_map_) action_map_hash_ = shard_->policies().policy(s).action_map_hash();
    }
    make_segment(segment_name, units_per_currency, get<bool>(live_spec, "mlock"));
    open_journal(journal_spec);
    runner_ = std::make_unique<engine::StepRunner>(*shard_, journal_.appender.get());
    if (signal_address != 0) runner_->set_signal(UserSignal::from_address(signal_address));
    journal_cpu_ = get<int>(live_spec, "journal_cpu");
    live_ = std::make_unique<engine::LiveEngine>(live_config_from(live_spec), *runner_, *journal_.appender, *telemetry_,
                                                 &segment_, &commands_, clock_);
    if (const std::string error = live_->open(); !error.empty()) throw py::value_error(error);
  }
  ~LiveRun() { segment_.close(true); }

  // Blocks until stopped, without the GIL. SIGINT and SIGTERM stop, SIGUSR1 kills: block them in every thread first.
  py::dict run() {
    engine::StopReason why;
    journal::JournalError error;
    bool closed = false;
    {
      const py::gil_scoped_release release;
      journal_.writer->start();
      if (snapshotter_ != nullptr) snapshotter_->start();
      std::atomic<bool> over{false};
      const SignalCatcher caught;
      std::thread signals([this, &over, &caught] {
        SignalCatcher::unblock();
        watch_signals(over, caught);
      });
      why = live_->run();
      over.store(true);
      signals.join();
      closed = journal_.writer->close(error);
      if (snapshotter_ != nullptr) snapshotter_->stop();
    }
    py::dict d = summary();
    static constexpr const char* kWhy[] = {"", "time", "asked", "signal", "journal", "placement"};
    d["stopped_by"] = kWhy[static_cast<u8>(why)];
    d["placement_error"] = live_->placement_error();
    d["lock_notes"] = lock_notes_;
    d["journal_closed"] = closed;
    d["journal_error"] = closed ? "" : error.text();
    d["snapshots"] = snapshotter_ != nullptr ? snapshotter_->snapshots() : 0;
    d["snapshot_error"] = snapshotter_ != nullptr ? snapshotter_->error() : "";
    return d;
  }

  void stop() { live_->request_stop(engine::StopReason::kAsked); }
  void kill() { live_->request_kill(); }
  void supervisor_beat() { live_->supervisor_beat(); }

  // A command for the hot thread; False while the one before is on its way. `policy`: for bank swaps.
  bool command(u16 kind, const py::bytes& body, u64 key, const py::object& policy) {
    auto c = std::make_unique<engine::CommandMessage>();
    const std::string b = body;
    c->kind = static_cast<journal::CommandKind>(kind);
    c->idempotency_key = key;
    c->body.assign(b.begin(), b.end());
    if (!policy.is_none()) {
      const py::dict p = policy.cast<py::dict>();
      c->slot = get<u32>(p, "slot");
      c->policy = std::make_unique<Policy>(bindings::policy_from(p, shard_->config().features));
    }
    if (c->kind == journal::CommandKind::kBankSwap) check_bank_swap(*c);
    return live_->post(std::move(c));
  }

  // Safe only before run() and after it: the hot thread owns the shard meanwhile.
  py::dict summary() const {
    py::dict d = bindings::shard_summary(*shard_);
    py::dict latency;
    for (u32 i = 0; i < static_cast<u32>(engine::Hist::kCount); ++i) {
      static constexpr const char* kNames[] = {
#define X(name) #name,
          PEREGRINE_HISTOGRAMS(X)
#undef X
      };
      latency[kNames[i]] = percentiles(telemetry_->hist(static_cast<engine::Hist>(i)));
    }
    d["latency"] = latency;
    const FeedReceiver::Stats& f = live_->feed().stats();
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
    feed["kernel_drops"] = live_->kernel_drops();
    d["feed"] = feed;
    d["journal_records"] = journal_.appender->next_seq() - 1;
    d["intents_refused"] = runner_->intents_refused();
    d["reconnects"] = telemetry_->get(engine::Counter::reconnects);
    d["started_ns"] = telemetry_->get(engine::Counter::started_ns);
    d["now_ns"] = live_->now_ns();
    d["recovered"] = recovered_;
    d["recovered_from_snapshot_seq"] = recovered_from_snapshot_seq_;
    d["recovered_inputs"] = recovered_inputs_;
    d["recovery_notes"] = recovery_notes_;
    d["recovery_ns"] = recovery_ns_;
    return d;
  }
  py::dict book(int levels) const { return bindings::book_summary(shard_->market(), levels); }
  std::string hgrm(const std::string& name, double unit) const {
    static constexpr const char* kNames[] = {
#define X(name) #name,
        PEREGRINE_HISTOGRAMS(X)
#undef X
    };
    for (u32 i = 0; i < static_cast<u32>(engine::Hist::kCount); ++i) {
      if (name == kNames[i]) return telemetry_->hist(static_cast<engine::Hist>(i)).to_hgrm(unit);
    }
    throw py::key_error(name);
  }

 private:
  // What is staged here must be what a replay will find in the command's body. A body of the slot alone swaps back.
  void check_bank_swap(const engine::CommandMessage& c) const {
    const std::vector<u8>& b = c.body;
    if (b.size() < 4 || load_le<u32>(b.data()) >= kMaxPolicies) throw py::value_error("bank swap: the body begins with the slot, 0 to 7");
    if (c.policy == nullptr) {
      if (b.size() != 4) throw py::value_error("bank swap: an artifact in the body, but no policy made from it");
      return;
    }
    if (load_le<u32>(b.data()) != c.slot) throw py::value_error("bank swap: slot of the body and of the policy differ");
    if (b.size() < 8 || load_le<u32>(b.data() + 4) != b.size() - 8 ||
        !(Sha256::of(b.data() + 8, b.size() - 8) == c.policy->artifact_hash())) {
      throw py::value_error("bank swap: the body must carry the artifact the policy was made from (slot, bytes, artifact)");
    }
    if (have_action_map_ && !(c.policy->action_map_hash() == action_map_hash_)) {
      throw py::value_error("bank swap: its action map differs from that of the other policies");
    }
  }

  void make_segment(const std::string& name, i64 units_per_currency, bool lock) {
    std::vector<std::string> symbols;
    for (const engine::InstrumentSpec& s : shard_->config().instruments) symbols.push_back(s.symbol);
    RegionSpec region;
    region.name = "telemetry";
    region.bytes = engine::Telemetry::bytes_needed(symbols.size());
    region.version = 1;
    region.lock = lock;
    RegionSpec commands = command_region(64);
    commands.lock = lock;
    Error error = name.empty() ? Segment::create_anonymous({region, commands}, {}, segment_)
                               : Segment::create(name, {region, commands}, {}, segment_);
    if (error.ok()) error = CommandReader::create(segment_, commands_);
    if (!error.ok()) throw py::value_error(error.text);
    for (u32 i = 0; i < segment_.region_count(); ++i) {
      if (const u32 code = segment_.region_at(i).lock; code >= 1000) {
        lock_notes_.push_back(std::string(segment_.region_at(i).name) + ": " + std::strerror(static_cast<int>(code - 1000)));
      }
    }
    telemetry_ = std::make_unique<engine::Telemetry>(segment_.region("telemetry"), symbols, units_per_currency);
  }

  void open_journal(const py::dict& d) {
    const TimeNs began_ns = clock_.now_ns();
    header_ = get<py::bytes>(d, "header");
    journal::RecoverOptions recover;
    recover.dir = get<std::string>(d, "dir");
    recover.ring_name = get<std::string>(d, "ring_name");
    recover.now_ns = clock_.now_ns();
    recover.header = Bytes(reinterpret_cast<const u8*>(header_.data()), header_.size());
    recover.cut_damaged_tail = get<bool>(d, "cut_damaged_tail");
    journal::RingOptions ring;
    ring.ring_bytes = get<u64>(d, "ring_bytes");
    journal::WriterOptions writer;
    writer.segment_bytes = get<u64>(d, "segment_bytes");
    const std::string sync = get<std::string>(d, "sync");
    writer.sync = sync == "none"      ? journal::SyncPolicy::kNever
                  : sync == "segment" ? journal::SyncPolicy::kOnClose
                                      : journal::SyncPolicy::kInterval;
    writer.sync_interval_ns = get<i64>(d, "sync_interval_ns");
    journal::JournalError error;
    if (!journal::open_journal(recover, ring, ring.ring_bytes / 16, writer, journal_, error)) {
      throw py::value_error(error.text());
    }
    recovered_ = !journal_.recovered.fresh;
    recovery_notes_ = journal_.recovered.notes;
    if (const TimeNs behind = journal_.recovered.last_ts_ns - clock_.now_ns(); behind > kMaxBehindNs) {
      throw py::value_error("this machine's clock is " + std::to_string(behind / 1'000'000'000) + " s behind the journal in " +
                            recover.dir + ": set it right first, a journal's time never runs backwards");
    }
    while (clock_.now_ns() < journal_.recovered.last_ts_ns) ::usleep(1000);
    if (recovered_) rebuild(recover.dir, get<bool>(d, "use_snapshots"));
    recovery_ns_ = recovered_ ? clock_.now_ns() - began_ns : 0;
    follow(d, recover.dir);
  }

  // Walks the shard to where the dead run was: the same inputs, the same state.
  void rebuild(const std::string& dir, bool use_snapshots) {
    engine::Rebuilt rebuilt;
    const std::string error = engine::rebuild_shard({dir, use_snapshots}, factory_, rebuilt);
    if (!error.empty()) throw py::value_error(error);
    shard_ = std::move(rebuilt.shard);
    artifacts_ = std::move(rebuilt.artifacts);
    recovered_from_snapshot_seq_ = rebuilt.snapshot_seq;
    recovered_inputs_ = rebuilt.replay.inputs;
    recovery_notes_.insert(recovery_notes_.end(), rebuilt.notes.begin(), rebuilt.notes.end());
  }

  // A second shard in the same state follows the journal and leaves snapshots.
  void follow(const py::dict& d, const std::string& dir) {
    engine::SnapshotterOptions options;
    options.dir = dir;
    options.every_records = get<u64>(d, "snapshot_every_records");
    options.keep = get<u32>(d, "snapshots_kept");
    options.cpu = get<int>(d, "snapshot_cpu");
    if (options.every_records == 0) return;
    engine::Rebuilt twin;
    twin.shard = factory_.make();
    twin.initial = engine::InitialPolicies::of(twin.shard->policies());
    twin.artifacts = artifacts_;
    if (recovered_) {
      std::vector<u8> state;
      std::string error = engine::save_shard(*shard_, twin.initial, artifacts_, state) ? "" : "an artifact is missing";
      if (error.empty()) error = engine::load_shard(*twin.shard, factory_, state, shard_->state_hash(), twin.artifacts);
      if (!error.empty()) throw py::value_error("the recovered state cannot be copied: " + error);
    }
    snapshotter_ = std::make_unique<engine::Snapshotter>(options, factory_, std::move(twin), journal_.recovered.next_seq);
  }

  void watch_signals(std::atomic<bool>& over, const SignalCatcher& caught) {
    name_this_thread("signals");
    while (!over.load()) {
      const int number = caught.wait(50);
      if (number == SIGUSR1) live_->request_kill();
      if (number == SIGINT || number == SIGTERM) live_->request_stop(engine::StopReason::kSignal);
    }
  }

  std::string header_;
  engine::ShardFactory factory_;
  std::unique_ptr<engine::Shard> shard_;
  engine::ArtifactStore artifacts_;  // that came by command in the runs before
  TscClock clock_;
  Segment segment_;
  CommandReader commands_;
  std::vector<std::string> lock_notes_;
  std::unique_ptr<engine::Telemetry> telemetry_;
  journal::OpenJournal journal_;
  std::unique_ptr<engine::StepRunner> runner_;
  std::unique_ptr<engine::LiveEngine> live_;
  std::unique_ptr<engine::Snapshotter> snapshotter_;
  u64 recovered_from_snapshot_seq_ = 0, recovered_inputs_ = 0;
  TimeNs recovery_ns_ = 0;
  std::vector<std::string> recovery_notes_;
  Sha256Digest action_map_hash_{};  // the set's, fixed for the run
  bool have_action_map_ = false;
  int journal_cpu_ = -1;
  bool recovered_ = false;
};

}  // namespace

void bind_live(py::module_& m) {
  py::class_<LiveRun>(m, "LiveRun", "One live engine: shard, journal, shared memory and sockets.")
      .def(py::init<const py::dict&, const py::list&, u16, const py::dict&, const py::dict&, const std::string&, i64, u64,
                    const py::object&>(),
           py::arg("shard"), py::arg("policies"), py::arg("quorum"), py::arg("live"), py::arg("journal"),
           py::arg("segment_name"), py::arg("units_per_currency"), py::arg("signal_address") = 0,
           py::arg("stage") = py::none())
      .def("run", &LiveRun::run, "Trades until stopped; returns the summary.")
      .def("stop", &LiveRun::stop, "Asks for a clean stop: cancel, flush, return.")
      .def("kill", &LiveRun::kill, "No new order from the next input on; cancels all.")
      .def("supervisor_beat", &LiveRun::supervisor_beat)
      .def("command", &LiveRun::command, py::arg("kind"), py::arg("body") = py::bytes(), py::arg("key") = 0,
           py::arg("policy") = py::none())
      .def("summary", &LiveRun::summary, "Only before run() and after it.")
      .def("book", &LiveRun::book, py::arg("levels") = 10)
      .def("hgrm", &LiveRun::hgrm, py::arg("name"), py::arg("unit") = 1.0);
}
