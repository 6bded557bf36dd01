#include "venue/simulation_engine.h"

#include <cstring>

#include "core/assert.h"

namespace peregrine::venue {

std::unique_ptr<engine::Shard> make_shard(const EngineBlueprint& b) {
  auto shard = std::make_unique<engine::Shard>(b.shard);
  for (const auto& p : b.policies) {
    Policy policy;
    PolicyError error = Policy::load(p->spec, p->context, policy);
    if (error.ok) error = shard->policies().stage(p->slot, std::move(policy));
    if (error.ok) error = shard->policies().set_slot(p->slot, p->config);
    PRG_ASSERT(error.ok && shard->policies().swap(p->slot));
  }
  PRG_ASSERT(shard->policies().set_quorum(b.quorum));
  return shard;
}

// ---- the disk

struct DiskCalls {
  static const journal::FileOps& below(void* context) {
    SimulatedDisk& d = *static_cast<SimulatedDisk*>(context);
    d.count();
    return d.disk_.ops();
  }
  static int open(void* c, const char* path, int flags, int mode) {
    const journal::FileOps& o = below(c);
    return o.open(o.context, path, flags, mode);
  }
  static ssize_t pwrite(void* c, int fd, const void* data, std::size_t bytes, u64 offset) {
    const journal::FileOps& o = below(c);
    return o.pwrite(o.context, fd, data, bytes, offset);
  }
  static int fallocate(void* c, int fd, u64 offset, u64 bytes) {
    const journal::FileOps& o = below(c);
    return o.fallocate(o.context, fd, offset, bytes);
  }
  static int ftruncate(void* c, int fd, u64 bytes) {
    const journal::FileOps& o = below(c);
    return o.ftruncate(o.context, fd, bytes);
  }
  static int fdatasync(void* c, int fd) {
    const journal::FileOps& o = below(c);
    return o.fdatasync(o.context, fd);
  }
  static int rename(void* c, const char* from, const char* to) {
    const journal::FileOps& o = below(c);
    return o.rename(o.context, from, to);
  }
  static int sync_directory(void* c, const char* path) {
    const journal::FileOps& o = below(c);
    return o.sync_directory(o.context, path);
  }
  // Never a place to die: it runs while a dying process unwinds.
  static int close(void* c, int fd) {
    const journal::FileOps& o = static_cast<SimulatedDisk*>(c)->disk_.ops();
    return o.close(o.context, fd);
  }
};

SimulatedDisk::SimulatedDisk() : disk_({}, true) {
  ops_ = {this,
          DiskCalls::open,
          DiskCalls::pwrite,
          DiskCalls::fallocate,
          DiskCalls::ftruncate,
          DiskCalls::fdatasync,
          DiskCalls::rename,
          DiskCalls::sync_directory,
          DiskCalls::close};
}

// ---- the process

namespace {

std::vector<std::string> symbols_of(const EngineBlueprint& b) {
  std::vector<std::string> symbols;
  for (const engine::InstrumentSpec& s : b.shard.instruments) symbols.push_back(s.symbol);
  return symbols;
}

u8* telemetry_memory(std::vector<u8>& memory, const EngineBlueprint& b) {
  memory.resize(engine::Telemetry::bytes_needed(b.shard.instruments.size()) + kCacheLine);
  const auto at = reinterpret_cast<std::uintptr_t>(memory.data());
  return memory.data() + (kCacheLine - at % kCacheLine) % kCacheLine;
}

}  // namespace

EngineProcess::EngineProcess(const EngineBlueprint& blueprint, const NetOps& net, const TimeNs* now_ns,
                             std::vector<u8>& telemetry)
    : blueprint_(blueprint),
      net_(net),
      clock_(TscClock::from_variable(now_ns)),
      started_ns_(*now_ns),
      shard_(make_shard(blueprint)),
      telemetry_(telemetry_memory(telemetry, blueprint), symbols_of(blueprint), 10'000) {}

std::string EngineProcess::start(const JournalPlace& place, SimulatedDisk& disk, bool cut_damaged_tail,
                                 const StateThen& then) {
  journal::RecoverOptions recover;
  recover.dir = place.dir;
  recover.ring_name = place.ring_name;
  recover.ring_dir = place.ring_dir;
  recover.now_ns = started_ns_;
  recover.header = Bytes(blueprint_.header.data(), blueprint_.header.size());
  recover.cut_damaged_tail = cut_damaged_tail;
  recover.ops = &disk.ops();
  journal::RingOptions ring;
  ring.ring_bytes = place.ring_bytes;
  journal::WriterOptions writer;
  writer.segment_bytes = place.segment_bytes;
  writer.sync = place.sync;
  writer.sync_interval_ns = place.sync_interval_ns;
  writer.allocate_ahead = false;
  journal::JournalError error;
  if (!journal::open_journal(recover, ring, place.ring_bytes / 16, writer, journal_, error)) {
    damaged_ = journal::is_corruption(error.fault);
    return error.text();
  }
  if (!journal_.recovered.fresh) {
    if (std::string wrong = replay(place.dir, then); !wrong.empty()) return wrong;
  }
  runner_ = std::make_unique<engine::StepRunner>(*shard_, journal_.appender.get());
  if (blueprint_.shard.device.placement != engine::DevicePlacement::kNone) {
    device_ = std::make_unique<SimulatedDevice>(static_cast<u64>(started_ns_), shard_->policies(), clock_);
    runner_->set_device(device_.get());
  }
  engine::LiveConfig live = blueprint_.live;
  live.net = &net_;
  live_ = std::make_unique<engine::LiveEngine>(live, *runner_, *journal_.appender, telemetry_, nullptr, nullptr, clock_);
  if (std::string wrong = live_->open(); !wrong.empty()) return wrong;
  live_->start();
  return {};
}

std::string EngineProcess::replay(const std::string& dir, const StateThen& then) {
  engine::Replay replay(*shard_);
  journal::ReaderOptions options;
  options.ring = false;
  journal::JournalError error;
  const std::unique_ptr<journal::Reader> reader = journal::Reader::open(dir, options, error);
  if (reader == nullptr) return error.text();
  journal::RecordView view;
  journal::ReadResult r;
  while ((r = reader->next(view)) == journal::ReadResult::kRecord) {
    if (then.seq != 0 && view.header.seq == then.seq + 1 && shard_->state_hash() != then.state_hash) {
      return "state after recovery differs from the state the dead engine had at record " + std::to_string(then.seq);
    }
    replay.on_record(view.header, view.payload);
  }
  if (r == journal::ReadResult::kCorrupt) return reader->error().text();
  replay.finish(false);
  if (!replay.result().identical) {
    return "the journal does not replay to what it recorded: record " + std::to_string(replay.result().first.record_seq) +
           " " + replay.result().first.reason;
  }
  return {};
}

void EngineProcess::cut_ring(u64 seq) {
  journal::Ring& ring = *journal_.appender->ring();
  journal::RingHeader& h = ring.header();
  u64 at = h.written.load();
  const u64 head = h.head.load();
  while (at < head) {
    journal::RecordHeader record;
    std::memcpy(&record, ring.at(at), sizeof record);
    if (record.seq > seq) break;
    at += record.length;
  }
  h.head.store(at);
  h.next_seq.store(seq + 1);
}

}  // namespace peregrine::venue
