#include "engine/live_engine.h"

#include <poll.h>
#include <sched.h>

#include "core/noise.h"

namespace peregrine::engine {

namespace {

std::vector<std::vector<std::string>> symbols_of(const std::vector<ShardParts>& shards) {
  std::vector<std::vector<std::string>> out;
  for (const ShardParts& p : shards) {
    std::vector<std::string>& symbols = out.emplace_back();
    for (const InstrumentSpec& s : p.runner->shard().config().instruments) symbols.push_back(s.symbol);
  }
  return out;
}

std::vector<ShardParts> one_shard(const LiveConfig& c, StepRunner& runner, journal::Appender& appender,
                                  Telemetry& telemetry, Segment* segment, CommandReader* commands) {
  return {ShardParts{&runner, &appender, &telemetry, segment, commands, {}, {c.ouch, c.username, c.password}}};
}

// The longest record of a ring: a feed message is short, a session packet is up to 64 KiB.
constexpr u64 kLongestFeedBytes = 4096;
constexpr u64 kLongestAnswerBytes = 65536 + 64;

}  // namespace

LiveEngine::Link::Link(const LiveConfig& c)
    : feed("feed to shard", c.feed_ring_bytes, kLongestFeedBytes, c.max_lag_ns),
      answers("session to shard", c.session_ring_bytes, kLongestAnswerBytes),
      wire("shard to session", c.session_ring_bytes) {}

LiveEngine::LiveEngine(const LiveConfig& config, StepRunner& runner, journal::Appender& appender,
                       Telemetry& telemetry, Segment* segment, CommandReader* commands, const TscClock& clock)
    : LiveEngine(config, one_shard(config, runner, appender, telemetry, segment, commands), clock) {}

LiveEngine::LiveEngine(const LiveConfig& config, const std::vector<ShardParts>& shards, const TscClock& clock)
    : config_(config), segment_(shards[0].segment) {
  const bool pipelined = config.topology == Topology::kPipelined;
  for (const ShardParts& p : shards) {
    PRG_ASSERT(p.runner != nullptr && p.appender != nullptr && p.telemetry != nullptr);
    shards_.emplace_back();
  }
  const u32 n_clocks = pipelined ? static_cast<u32>(shards.size()) + 2 : 1;
  for (u32 i = 0; i < n_clocks; ++i) clocks_.push_back(std::make_unique<ThreadClock>(clock));
  ThreadClock& feed_clock = *clocks_[pipelined ? shards.size() : 0];
  ThreadClock& session_clock = *clocks_[pipelined ? shards.size() + 1 : 0];
  feed_ = std::make_unique<FeedStage>(config_, symbols_of(shards), feed_clock, control_);
  for (std::size_t s = 0; s < shards.size(); ++s) {
    ThreadClock& own = *clocks_[pipelined ? s : 0];
    shards_[s] = std::make_unique<ShardStage>(config_, shards[s], s == 0, own, control_);
    sessions_.push_back(std::make_unique<SessionStage>(config_, shards[s].port, session_clock));
    if (pipelined) {
      const u32 thread = static_cast<u32>(s) / config.shards_per_thread;
      owner_[s].store(thread, std::memory_order_relaxed);  // before any thread is started
      shards_[s]->set_thread(thread);
      shards_[s]->allow_moves(shard_threads());
      links_.push_back(std::make_unique<Link>(config_));
      feed_->router().attach(s, links_[s]->feed);
      sessions_[s]->attach(links_[s]->answers);
      shards_[s]->attach(links_[s]->wire);
    } else {
      feed_->router().attach(s, *shards_[s]);
      sessions_[s]->attach(*shards_[s]);
      shards_[s]->attach(*sessions_[s]);
    }
  }
}

LiveEngine::~LiveEngine() = default;

std::string LiveEngine::open() { return feed_->open(); }

u32 LiveEngine::shard_threads() const {
  const u32 k = config_.shards_per_thread;
  return (static_cast<u32>(shards_.size()) + k - 1) / k;
}

StopReason LiveEngine::run() {
  return config_.topology == Topology::kInline ? run_inline() : run_pipelined();
}

void LiveEngine::start_stages() {
  for (const auto& clock : clocks_) clock->tick();
  feed_->start();
  for (const auto& shard : shards_) shard->start();
  for (const auto& session : sessions_) session->start();
  if (segment_ != nullptr) segment_->set_state(EngineState::kTrading);
}

void LiveEngine::start() { start_stages(); }

bool LiveEngine::round() {
  ThreadClock& clock = *clocks_[0];
  bool busy = feed_->poll();
  for (std::size_t s = 0; s < shards_.size(); ++s) {
    clock.tick();
    shards_[s]->look(rested_);
    busy |= sessions_[s]->poll();
    clock.tick();
    busy |= shards_[s]->poll();
  }
  clock.discipline_when_due();
  rested_ = !busy;
  return busy;
}

bool LiveEngine::over() const {
  for (const auto& shard : shards_) {
    if (!shard->over()) return false;
  }
  return true;
}

StopReason LiveEngine::finish() {
  feed_->stop();
  for (const auto& clock : clocks_) clock->tick();
  for (const auto& shard : shards_) shard->finish();
  if (segment_ != nullptr) segment_->set_state(EngineState::kEnded);
  return static_cast<StopReason>(control_.stop.load());
}

// Sleeps until one of the sockets has something, a millisecond at most.
void LiveEngine::idle_on(const int* fds, int n) const {
  switch (config_.idle) {
    case IdleMode::kSpin: cpu_relax(); break;
    case IdleMode::kYield: ::sched_yield(); break;
    case IdleMode::kSleep: {
      pollfd wait[FeedStage::kFds + FeedRouter::kMaxShards];
      nfds_t used = 0;
      for (int i = 0; i < n; ++i) {
        if (fds[i] >= 0) wait[used++] = pollfd{fds[i], POLLIN, 0};
      }
      if (config_.topology == Topology::kInline) {
        ::poll(wait, used, 1);
        break;
      }
      const timespec most{0, 200'000};  // a ring wakes nobody: a thread that waits for one looks more often
      ::ppoll(wait, used, &most, nullptr);
      break;
    }
  }
}

void LiveEngine::idle_inline() {
  for (const auto& shard : shards_) shard->add_idle_poll();
  int fds[FeedStage::kFds + FeedRouter::kMaxShards];
  feed_->fds(fds);
  int n = FeedStage::kFds;
  for (const auto& session : sessions_) fds[n++] = session->fd();
  idle_on(fds, n);
}

std::vector<LiveEngine::ShardQueue> LiveEngine::queues() const {
  std::vector<ShardQueue> out;
  std::vector<QueueUse> own;
  feed_->queues(own);
  for (const QueueUse& q : own) out.push_back({-1, q});
  for (std::size_t s = 0; s < shards_.size(); ++s) {
    own.clear();
    if (!links_.empty()) {
      own.push_back(links_[s]->feed.use());
      own.push_back({"held while rebuilding", config_.hold_bytes, feed_->router().stats(s).held_high, 0});
      own.push_back(links_[s]->wire.use());
      own.push_back(links_[s]->answers.use());
    }
    shards_[s]->queues(own);
    sessions_[s]->queues(own);
    for (const QueueUse& q : own) out.push_back({static_cast<int>(s), q});
  }
  return out;
}

}  // namespace peregrine::engine
