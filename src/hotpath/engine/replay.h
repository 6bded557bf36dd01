// Feeds a journal's inputs through a shard again and holds what it decides against what the journal says it decided.
//
// Recovery is the same walk: after the last record the shard is where the dead process was. Outputs that a step makes
// beyond the last journaled intent of a crashed run were never sent; the RECOVERED record that follows tells the shard.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/shard.h"
#include "journal/reader.h"

namespace peregrine::engine {

struct Divergence {
  u64 input_seq = 0;   // the input whose step decided something else
  u64 record_seq = 0;  // the output record that differs, or the input after which one is missing
  u16 type = 0;        // RecordType of the output: the journal's, or the replay's where the journal has none
  u16 replayed_type = 0;  // RecordType of what the replay made in its place, 0 = nothing
  std::string reason;  // "differs", "not made again", "made, but not in the journal"
  std::vector<u8> journaled, replayed;                    // payloads; empty = none
  std::vector<u8> decision_journaled, decision_replayed;  // last DecisionHead + features + logits of each side
  u16 input_type = 0;
  std::vector<u8> input;
};

struct ReplayResult {
  u64 records = 0, inputs = 0, outputs = 0, orders = 0, state_hashes = 0, recoveries = 0, unsent = 0;
  u64 last_seq = 0;
  i64 first_ts_ns = 0, last_ts_ns = 0;
  u32 generation = 0;
  bool identical = true;
  bool diverged = false;
  Divergence first;
};

class Replay final : private ShardOutput {
 public:
  // Called before a bank swap is stepped, to stage the artifact the command carries.
  using StagePolicy = std::function<void(u32 slot, Bytes artifact)>;

  explicit Replay(Shard& shard, StagePolicy stage = {}) : shard_(shard), stage_(std::move(stage)) {}

  // One record of the journal, in order; kHeader records are passed over.
  void on_record(const journal::RecordHeader& header, Bytes payload);
  // After the last record: what the last step made must have been journaled, unless the run ended in a crash there.
  void finish(bool crashed);
  const ReplayResult& result() const { return result_; }
  // Between two steps: all that the last input made has been matched, and nothing differs so far.
  bool quiescent() const { return matched_ == produced_.size() && result_.identical; }

 private:
  struct Produced {
    u16 type;
    std::vector<u8> payload;
  };
  void intent(const journal::IntentHead& head, Bytes ouch) override;
  void decision(const journal::DecisionHead& head, const i32* features, const i32* logits) override;
  void state_hash(const journal::StateHash& hash) override;
  void produce(journal::RecordType type, std::initializer_list<Bytes> parts);
  void step_input(const journal::RecordHeader& header, Bytes payload);
  void compare(const journal::RecordHeader& header, Bytes payload);
  void diverge(u64 record_seq, u16 type, const char* reason, Bytes journaled, const Produced* made);
  void leftovers(const journal::RecordHeader& next);

  Shard& shard_;
  StagePolicy stage_;
  ReplayResult result_;
  std::vector<Produced> produced_;
  std::size_t matched_ = 0;
  u64 input_seq_ = 0;
  u16 input_type_ = 0;
  std::vector<u8> input_;
  std::vector<u8> decision_journaled_, decision_replayed_;
};

}  // namespace peregrine::engine
