// One world: the loop that moves time, the process's deaths and its recoveries.
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "venue/simulation.h"

namespace peregrine::venue {

namespace {
constexpr TimeNs kLeastStepNs = 1'000;
constexpr TimeNs kTailNs = 150'000'000;     // after the engine's end: late bytes still arrive
constexpr TimeNs kPatienceNs = 8'000'000'000;  // an engine that has not drained by then never will
}  // namespace

World::World(const WorldConfig& config, const CrashPlan& plan, std::vector<u8>& telemetry)
    : config_(config),
      plan_(plan),
      telemetry_(telemetry),
      now_ns_(config.start_ns),
      rng_(config.seed * 977 + plan.number * 3 + static_cast<u64>(plan.cut)),
      network_(config.network, config.seed * 31 + 5, now_ns_),
      venue_(config.venue, network_, now_ns_),
      judge_(*config.blueprint, venue_, 0),
      start_at_ns_(config.start_ns + 1'000'000),
      stop_at_ns_(config.start_ns + config.trade_ns) {
  network_.set_hook(this);
  if (plan.cut == CutAt::kRecord) target_ = plan.number;
  send_target_ = plan.cut == CutAt::kSend;
  shared_port_ = plan.new_disk || plan.operator_cancels > 0;
  if (plan.cut == CutAt::kFullDisk) {
    journal::DiskFaults full;
    full.space_bytes = static_cast<i64>(plan.number);
    disk_.faults().set(full);
    disk_full_ = true;
  }
  clear_place();
}

void World::clear_place() {
  std::error_code ignored;
  for (const std::string& dir : {config_.place.dir, config_.place.ring_dir}) {
    std::filesystem::remove_all(dir, ignored);
    std::filesystem::create_directories(dir, ignored);
  }
}

// ---- the end of a process

bool World::past_target() const {
  return target_ != 0 && engine_ != nullptr && engine_->appender().next_seq() > target_;
}

void World::before_effect() {
  if (!past_target()) return;
  if (config_.mutant == SimulationMutant::kSendBeforeJournal) return;  // the bytes are already on their way
  throw ProcessKilled{};
}

void World::after_send(u16 port, std::size_t taken) {
  if (port != kOuchPort || taken == 0) return;
  ++sends_;
  if (past_target() || (send_target_ && sends_ == plan_.number)) throw ProcessKilled{};
}

// The process is gone. With a target its ring ends right after that record, whatever it had appended since.
void World::end_process(bool exact) {
  then_ = {};
  if (target_ != 0) {
    if (engine_->appender().next_seq() - 1 == target_ && exact) then_ = {target_, engine_->shard().state_hash()};
    engine_->cut_ring(target_);
  } else if (exact) {
    then_ = {engine_->appender().next_seq() - 1, engine_->shard().state_hash()};
  }
  if (result_.recoveries == 0) result_.last_record = engine_->appender().next_seq() - 1;
  network_.kill(plan_.power_cut);
  engine_.reset();
  if (plan_.power_cut) {
    disk_.faults().lose_unsynced(config_.seed * 7 + plan_.number, plan_.keep_none);
    std::error_code ignored;
    std::filesystem::remove_all(config_.place.ring_dir, ignored);
    std::filesystem::create_directories(config_.place.ring_dir, ignored);
    judge_.power_was_cut(now_ns_);
    then_ = {};
  }
  if (plan_.new_disk) {
    clear_place();
    judge_.journal_was_lost(now_ns_ + plan_.down_ns);  // nothing of before is under way by then
    then_ = {};
  }
  target_ = 0;
  send_target_ = false;
  start_at_ns_ = now_ns_ + plan_.down_ns;
  stop_at_ns_ = std::max(stop_at_ns_, start_at_ns_ + config_.after_ns);
}

void World::start_engine() {
  const bool again = result_.first_record != 0;
  if (again && plan_.recovery_call >= 0) {
    disk_.kill_after(plan_.recovery_call);
    plan_.recovery_call = -1;
  }
  engine_ = std::make_unique<EngineProcess>(*config_.blueprint, network_.ops(), &now_ns_, telemetry_);
  std::string error;
  bool killed = false;
  try {
    error = engine_->start(config_.place, disk_, cut_damaged_, then_);
  } catch (const ProcessKilled&) {
    killed = true;
  }
  disk_.kill_after(-1);
  if (!error.empty() || killed) {
    const bool damaged = engine_->damaged();
    network_.kill(false);
    engine_.reset();
    if (killed) {
      start_at_ns_ = now_ns_ + plan_.down_ns;
    } else if (damaged && plan_.power_cut && !cut_damaged_) {
      cut_damaged_ = true;  // an operator's decision: un-synced sectors were lost in the middle
      ++result_.operator_cuts;
      start_at_ns_ = now_ns_ + plan_.down_ns;
    } else {
      judge_.found((again ? "recovery refused: " : "the engine does not start: ") + error);
    }
    return;
  }
  const journal::RecoverResult& recovered = engine_->recovered();
  if (!again) {
    result_.first_record = recovered.next_seq;
  } else {
    ++result_.recoveries;
    if (plan_.again_after > 0) target_ = recovered.next_seq - 1 + plan_.again_after;
    plan_.again_after = 0;
  }
  round_due_ns_ = now_ns_;
  drain_due_ns_ = now_ns_;
}

// ---- life

void World::live() {
  try {
    // Stopped when it agrees with the venue, not in the middle of a reconnect or with bytes waiting for the socket: a
    // stopped engine leaves as soon as nothing of its own works any more.
    const OrderSession& session = engine_->shard().session();
    const bool calm = session.phase() == SessionPhase::kReady && !session.blocked();
    if (now_ns_ >= stop_at_ns_ && calm) engine_->live().request_stop(engine::StopReason::kAsked);
    engine_->live().round();
    if (session.phase() <= SessionPhase::kLoggingIn) replay_end_ = venue_.exchange().port_store(0).next_seq();
    if (shared_port_ && session.next_sequence() < replay_end_) judge_.replaying(now_ns_);
    if (past_target()) throw ProcessKilled{};
    const bool over = engine_->live().over();
    if (past_target()) throw ProcessKilled{};
    if (now_ns_ >= drain_due_ns_) {
      drain_due_ns_ = now_ns_ + config_.drain_every_ns;
      while (engine_->writer().drain_once(now_ns_) > 0) {
      }
    }
    if (disk_full_ && now_ns_ >= stop_at_ns_) return full_disk_over();
    if (over) return finish_engine();
    if (now_ns_ > stop_at_ns_ + kPatienceNs) {
      const engine::Shard& shard = engine_->shard();
      judge_.found("not drained: session " + std::string(session_phase_name(shard.session().phase())) + ", " +
                   (shard.session().blocked() ? "blocked, " : "") + std::to_string(shard.working_orders()) +
                   " orders open, last alarm " + std::to_string(shard.last_alarm().code) + " (" +
                   std::to_string(shard.last_alarm().a) + ", " + std::to_string(shard.last_alarm().b) + ")");
    }
  } catch (const ProcessKilled&) {
    end_process(true);
  }
  round_due_ns_ = now_ns_ + config_.round_ns;
}

// The journal could not be written: whoever runs it makes room and starts it again.
void World::full_disk_over() {
  disk_full_ = false;
  disk_.faults().set({});
  end_process(true);
}

void World::finish_engine() {
  const engine::Shard& shard = engine_->shard();
  const engine::StopReason why = engine_->live().finish();
  if (why != engine::StopReason::kAsked || shard.working_orders() != 0 || shard.gate().killed()) {
    judge_.found("no calm end: stopped for " + std::to_string(static_cast<int>(why)) + ", " +
                 std::to_string(shard.working_orders()) + " orders open" + (shard.gate().killed() ? ", killed" : "") +
                 ", last alarm " + std::to_string(shard.last_alarm().code));
  }
  if (past_target()) throw ProcessKilled{};
  if (result_.recoveries == 0) result_.last_record = engine_->appender().next_seq() - 1;
  if (result_.recoveries == 0) result_.sends = sends_;
  finished_ = true;
  judge_.observe(engine_.get(), now_ns_);
  journal::JournalError error;
  if (!engine_->writer().close(error)) judge_.found("the journal cannot be closed: " + error.text());
  start_at_ns_ = INT64_MAX;
}

void World::advance() {
  TimeNs due = std::min(venue_.due_ns(), network_.venue_due_ns());
  if (engine_ != nullptr && !finished_) {
    due = std::min({due, network_.engine_due_ns(), round_due_ns_});
  } else {
    const TimeNs half = start_at_ns_ - plan_.down_ns / 2;
    due = std::min(due, plan_.operator_cancels > 0 && result_.first_record != 0 && half > now_ns_ ? half : start_at_ns_);
  }
  now_ns_ = std::max(now_ns_ + kLeastStepNs, due);
}

WorldResult World::run() {
  venue_.start();
  TimeNs end_ns = INT64_MAX;
  bool calm = false;
  while (judge_.finding().empty() && now_ns_ < end_ns) {
    advance();
    venue_.step();
    if (now_ns_ >= config_.reset_at_ns) {
      network_.reset_streams(kOuchPort);
      config_.reset_at_ns = INT64_MAX;
    }
    if (!calm && now_ns_ >= stop_at_ns_) {  // whoever wants to see an end must let it end
      NetworkFaults quiet = network_.faults();
      quiet.refuse_ppm = quiet.reset_ppm = 0;
      network_.set_faults(quiet);
      calm = true;
    }
    if (engine_ == nullptr) {
      if (result_.first_record != 0 && now_ns_ >= start_at_ns_ - plan_.down_ns / 2) {
        for (; plan_.operator_cancels > 0; --plan_.operator_cancels) venue_.mass_cancel_by_hand(0);
      }
      if (now_ns_ >= start_at_ns_) start_engine();
    } else if (!finished_) {
      live();
    }
    judge_.observe(finished_ ? nullptr : engine_.get(), now_ns_);
    if (finished_ && end_ns == INT64_MAX) {
      end_ns = now_ns_ + kTailNs;
      venue_.stop_flow();
    }
  }
  if (finished_ && judge_.finding().empty()) {
    judge_.final_state(*engine_);
    const u64 hash = engine_->shard().state_hash();
    result_.fills = engine_->shard().counters().fills;
    result_.orders = engine_->shard().counters().orders;
    judge_.journal(config_.place.dir, hash);
  } else if (engine_ != nullptr && !finished_) {
    journal::JournalError ignored;  // what there is goes to disk, for whoever looks at it
    engine_->writer().close(ignored);
  }
  result_.finding = judge_.finding();
  result_.fingerprint = judge_.fingerprint();
  result_.records = judge_.records();
  result_.late_bytes = network_.late_bytes();
  return result_;
}

}  // namespace peregrine::venue
