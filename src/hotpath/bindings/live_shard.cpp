#include "bindings/live_shard.h"

#include "core/bytes.h"

namespace peregrine::bindings {

namespace {

// A wall clock that stands further behind the journal than this is told of.
constexpr TimeNs kWorthSayingNs = 2'000'000'000;
constexpr u64 kCommandSlots = 64;

}  // namespace

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

engine::Endpoint endpoint_from(const py::dict& d, const char* key) {
  engine::Endpoint e;
  if (!d.contains(key) || d[key].is_none()) return e;
  const std::string text = get<std::string>(d, key);
  if (!engine::parse_endpoint(text, e)) throw py::value_error(std::string(key) + ": '" + text + "' is not address:port");
  return e;
}

const char* histogram_name(u32 i) {
  static constexpr const char* kNames[] = {
#define X(name) #name,
      PEREGRINE_HISTOGRAMS(X)
#undef X
  };
  return kNames[i];
}

LiveShard::LiveShard(const py::dict& spec, const py::object& stage)
    : factory_(shard_factory(get<py::dict>(spec, "shard"), get<py::list>(spec, "policies"), get<u16>(spec, "quorum"), stage)),
      shard_(factory_.make()),
      port_{endpoint_from(spec, "ouch"), get<std::string>(spec, "username"), get<std::string>(spec, "password")} {
  for (u32 s = 0; s < kMaxPolicies && !have_action_map_; ++s) {
    have_action_map_ = shard_->policies().active(s);
    if (have_action_map_) action_map_hash_ = shard_->policies().policy(s).action_map_hash();
  }
}

std::string LiveShard::region_name(const char* base, std::size_t index) {
  if (index == 0) return base;
  return std::string(base) + (index < 10 ? "-0" : "-") + std::to_string(index);
}

void LiveShard::add_regions(std::size_t index, bool lock, std::vector<RegionSpec>& out) const {
  RegionSpec telemetry;
  telemetry.name = region_name("telemetry", index);
  telemetry.bytes = engine::Telemetry::bytes_needed(shard_->config().instruments.size());
  telemetry.version = 1;
  telemetry.lock = lock;
  out.push_back(telemetry);
  RegionSpec commands = command_region(kCommandSlots, region_name(kCommandRegion, index).c_str());
  commands.lock = lock;
  out.push_back(commands);
  out.push_back(engine::CommandAcks::region(region_name(engine::kAcksRegion, index), lock));
}

void LiveShard::take_regions(std::size_t index, Segment& segment, i64 units_per_currency) {
  std::vector<std::string> symbols;
  for (const engine::InstrumentSpec& s : shard_->config().instruments) symbols.push_back(s.symbol);
  const Error error = CommandReader::create(segment, commands_, region_name(kCommandRegion, index).c_str());
  if (!error.ok()) throw py::value_error(error.text);
  acks_ = engine::CommandAcks(segment.region(region_name(engine::kAcksRegion, index)));
  telemetry_ = std::make_unique<engine::Telemetry>(segment.region(region_name("telemetry", index)), symbols, units_per_currency);
}

void LiveShard::open_journal(const py::dict& d, TscClock& clock) {
  const TimeNs began_ns = clock.now_ns();
  header_ = get<py::bytes>(d, "header");
  journal::RecoverOptions recover;
  recover.dir = get<std::string>(d, "dir");
  recover.ring_name = get<std::string>(d, "ring_name");
  recover.now_ns = clock.now_ns();
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
  // A wall clock that was set back must not keep an engine from its open orders: time goes on where the journal's ends.
  if (const TimeNs behind = journal_.recovered.last_ts_ns - clock.now_ns(); behind > kWorthSayingNs) {
    recovery_notes_.push_back("this machine's clock is " + std::to_string(behind / 1'000'000'000) +
                              " s behind the journal: the engine's time goes on from its last record");
  }
  clock.start_at_least(journal_.recovered.last_ts_ns);
  if (recovered_) rebuild(recover.dir, get<bool>(d, "use_snapshots"));
  recovery_ns_ = recovered_ ? clock.now_ns() - began_ns : 0;
  follow(d, recover.dir);
}

// Walks the shard to where the dead run was: the same inputs, the same state.
void LiveShard::rebuild(const std::string& dir, bool use_snapshots) {
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
void LiveShard::follow(const py::dict& d, const std::string& dir) {
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

engine::ShardParts LiveShard::parts(Segment* segment, u64 signal_address) {
  runner_ = std::make_unique<engine::StepRunner>(*shard_, journal_.appender.get());
  if (signal_address != 0) runner_->set_signal(UserSignal::from_address(signal_address));
  return {runner_.get(), journal_.appender.get(), telemetry_.get(), segment, &commands_, acks_, port_};
}

void LiveShard::attach_device(const py::dict& spec, const TscClock& clock) {
  device_ = std::make_unique<DeviceHost>(spec, clock);
  device_->prepare(shard_->policies());
  runner_->set_device(device_->port());
}

void LiveShard::start() {
  journal_.writer->start();
  if (device_ != nullptr) device_->start();
  if (snapshotter_ != nullptr) snapshotter_->start();
}

bool LiveShard::close(journal::JournalError& error) {
  if (device_ != nullptr) device_->stop();
  const bool closed = journal_.writer->close(error);
  if (snapshotter_ != nullptr) snapshotter_->stop();
  return closed;
}

std::unique_ptr<engine::CommandMessage> LiveShard::command(u16 kind, const std::string& body, u64 key,
                                                           const py::object& policy, const std::string& origin) const {
  if (origin.size() > UINT16_MAX) throw py::value_error("a command's origin has at most 65535 bytes");
  auto c = std::make_unique<engine::CommandMessage>();
  c->kind = static_cast<journal::CommandKind>(kind);
  c->idempotency_key = key;
  c->body.assign(body.begin(), body.end());
  if (!policy.is_none()) {
    const py::dict p = policy.cast<py::dict>();
    c->slot = get<u32>(p, "slot");
    c->policy = std::make_unique<Policy>(policy_from(p, shard_->config().features));
  }
  if (c->kind == journal::CommandKind::kBankSwap) check_bank_swap(*c);
  c->body.insert(c->body.end(), origin.begin(), origin.end());
  c->origin_bytes = static_cast<u16>(origin.size());
  return c;
}

// What is staged here must be what a replay will find in the command's body. A body of the slot alone swaps back.
void LiveShard::check_bank_swap(const engine::CommandMessage& c) const {
  const std::vector<u8>& b = c.body;
  if (b.size() < 4 || load_le<u32>(b.data()) >= kMaxPolicies) {
    throw py::value_error("bank swap: the body begins with the slot, 0 to 7");
  }
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

py::dict LiveShard::summary() const {
  py::dict d = shard_summary(*shard_);
  py::dict latency;
  for (u32 i = 0; i < static_cast<u32>(engine::Hist::kCount); ++i) {
    latency[histogram_name(i)] = percentiles(telemetry_->hist(static_cast<engine::Hist>(i)));
  }
  d["latency"] = latency;
  d["journal_records"] = journal_.appender->next_seq() - 1;
  d["intents_refused"] = runner_->intents_refused();
  d["reconnects"] = telemetry_->get(engine::Counter::reconnects);
  d["overruns"] = telemetry_->get(engine::Counter::overruns);
  d["started_ns"] = telemetry_->get(engine::Counter::started_ns);
  d["now_ns"] = telemetry_->get(engine::Counter::now_ns);
  d["recovered"] = recovered_;
  d["recovered_from_snapshot_seq"] = recovered_from_snapshot_seq_;
  d["recovered_inputs"] = recovered_inputs_;
  d["recovery_notes"] = recovery_notes_;
  d["recovery_ns"] = recovery_ns_;
  d["state_snapshots"] = snapshotter_ != nullptr ? snapshotter_->snapshots() : 0;
  d["snapshot_error"] = snapshotter_ != nullptr ? snapshotter_->error() : "";
  d["device"] = device_ != nullptr ? py::object(device_->summary()) : py::none();
  return d;
}

}  // namespace peregrine::bindings
