// The threads of a live engine: where they run, what each loop polls, how they begin and end together.
#include <sched.h>

#include <thread>

#include "core/noise.h"
#include "core/pin.h"
#include "engine/live_engine.h"

namespace peregrine::engine {

// One thread and how its placement went.
struct LiveEngine::Placed {
  std::string name;
  int cpu = -1;
  i32 tid = 0;
  std::string error;
};

void LiveEngine::place(Placed& slot) const {
  name_this_thread(slot.name.c_str());
  slot.tid = this_thread_id();
  if (slot.cpu < 0) return;
  Error error = pin_this_thread(slot.cpu);
  if (error.ok()) error = verify_pinned(slot.cpu);
  slot.error = error.text;
}

// Looks at every thread of the process: what shares a hot core is named.
void LiveEngine::judge_placement(std::vector<Placed>& slots) {
  const auto add = [this](const std::string& text) {
    if (!text.empty()) placement_error_ += placement_error_.empty() ? text : "; " + text;
  };
  std::vector<HotThread> hot;
  for (const Placed& slot : slots) {
    add(slot.error);
    if (slot.cpu >= 0 && slot.error.empty()) hot.push_back(HotThread{slot.tid, slot.cpu});
  }
  if (hot.empty() || !placement_error_.empty()) return;
  for (const std::string& conflict : placement_conflicts(hot, list_threads(), cpu_topology())) add(conflict);
}

StopReason LiveEngine::run_inline() {
  std::vector<Placed> slots(1);
  slots[0].name = "engine";
  slots[0].cpu = config_.engine_cpus.empty() ? -1 : config_.engine_cpus[0];
  place(slots[0]);
  judge_placement(slots);
  if (!placement_error_.empty() && config_.refuse_bad_placement) return StopReason::kPlacement;
  if (config_.noise_ns > 0) spin_noise(clocks_[0]->tsc, config_.noise_ns, shards_[0]->telemetry().hist(Hist::noise));
  start();
  do {
    if (!round()) idle_inline();
  } while (!over());
  return finish();
}

StopReason LiveEngine::run_pipelined() {
  const u32 n_shard_threads = shard_threads();
  std::vector<Placed> slots(n_shard_threads + 2);
  for (u32 t = 0; t < n_shard_threads; ++t) {
    slots[t].name = "shard-" + std::to_string(t);
    slots[t].cpu = t < config_.engine_cpus.size() ? config_.engine_cpus[t] : -1;
  }
  Placed& feed_slot = slots[n_shard_threads];
  Placed& session_slot = slots[n_shard_threads + 1];
  feed_slot.name = "feed";
  feed_slot.cpu = config_.feed_cpu;
  session_slot.name = "session";
  session_slot.cpu = config_.session_cpu;

  // Every thread is placed before one of them polls anything.
  const auto begin = [this](Placed& slot) {
    place(slot);
    threads_placed_.fetch_add(1, std::memory_order_release);
    while (go_.load(std::memory_order_acquire) == 0) ::sched_yield();
    return go_.load(std::memory_order_acquire) == 1;
  };
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    if (begin(feed_slot)) feed_loop();
  });
  threads.emplace_back([&] {
    if (begin(session_slot)) session_loop();
  });
  for (u32 t = 1; t < n_shard_threads; ++t) {
    threads.emplace_back([&, t] {
      if (begin(slots[t])) shard_loop(t);
    });
  }
  place(slots[0]);
  while (threads_placed_.load(std::memory_order_acquire) < threads.size()) ::sched_yield();
  judge_placement(slots);
  const bool refused = !placement_error_.empty() && config_.refuse_bad_placement;
  if (!refused) {
    if (config_.noise_ns > 0) spin_noise(clocks_[0]->tsc, config_.noise_ns, shards_[0]->telemetry().hist(Hist::noise));
    start_stages();
  }
  go_.store(refused ? 2 : 1, std::memory_order_release);
  if (!refused) shard_loop(0);
  for (std::thread& t : threads) t.join();
  return refused ? StopReason::kPlacement : finish();
}

void LiveEngine::feed_loop() {
  ThreadClock& clock = *clocks_[shards_.size()];
  int fds[FeedStage::kFds];
  while (shard_threads_over_.load(std::memory_order_acquire) < shard_threads()) {
    const bool busy = feed_->poll();
    clock.discipline_when_due();
    if (busy) continue;
    feed_->fds(fds);
    idle_on(fds, FeedStage::kFds);
  }
}

void LiveEngine::session_loop() {
  ThreadClock& clock = *clocks_[shards_.size() + 1];
  int fds[FeedRouter::kMaxShards];
  while (shard_threads_over_.load(std::memory_order_acquire) < shard_threads()) {
    bool busy = false;
    for (std::size_t s = 0; s < sessions_.size(); ++s) {
      clock.tick();
      busy |= links_[s]->wire.drain(*sessions_[s], links_[s]->answers, kWireBatch) > 0;
      clock.tick();
      busy |= sessions_[s]->poll();
      fds[s] = sessions_[s]->fd();
    }
    clock.discipline_when_due();
    if (!busy) idle_on(fds, static_cast<int>(sessions_.size()));
  }
}

// One look at a shard by the thread that owns it. A command may name another thread: from the store on the shard is its.
bool LiveEngine::turn(std::size_t s, u32 thread, bool rested) {
  ShardStage& shard = *shards_[s];
  ThreadClock& clock = *clocks_[s];
  if (shard.thread() != thread) shard.set_thread(thread);
  clock.tick();
  shard.look(rested);
  bool busy = links_[s]->answers.drain(shard, clock, kAnswerBatch) > 0;
  busy |= links_[s]->feed.drain(shard, clock, kFeedBatch) > 0;
  clock.tick();
  busy |= shard.poll();
  clock.discipline_when_due();
  if (shard.over() && !over_[s]) {
    over_[s] = true;
    shards_over_.fetch_add(1, std::memory_order_release);
  }
  if (!busy) shard.add_idle_poll();
  if (const u32 to = shard.take_move(); to != ShardStage::kStay) [[unlikely]] owner_[s].store(to, std::memory_order_release);
  return busy;
}

// Until every shard of the engine is over: one that is not may still come here.
void LiveEngine::shard_loop(u32 thread) {
  bool rested = true;
  while (shards_over_.load(std::memory_order_acquire) < shards_.size()) {
    bool busy = false;
    for (std::size_t s = 0; s < shards_.size(); ++s) {
      if (owner_[s].load(std::memory_order_acquire) == thread) busy |= turn(s, thread, rested);
    }
    rested = !busy;
    if (rested) idle_on(nullptr, 0);
  }
  shard_threads_over_.fetch_add(1, std::memory_order_release);
}

}  // namespace peregrine::engine
