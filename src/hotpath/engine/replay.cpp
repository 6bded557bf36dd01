#include "engine/replay.h"

#include <cstring>

namespace peregrine::engine {

using journal::RecordType;

namespace {
std::vector<u8> copy(Bytes b) { return std::vector<u8>(b.begin(), b.end()); }
}  // namespace

void Replay::produce(RecordType type, std::initializer_list<Bytes> parts) {
  Produced p{static_cast<u16>(type), {}};
  for (const Bytes part : parts) p.payload.insert(p.payload.end(), part.begin(), part.end());
  produced_.push_back(std::move(p));
}

void Replay::intent(const journal::IntentHead& head, Bytes ouch) { produce(RecordType::kIntent, {bytes_of(head), ouch}); }

void Replay::decision(const journal::DecisionHead& head, const i32* features, const i32* logits) {
  produce(RecordType::kDecision,
          {bytes_of(head), Bytes(reinterpret_cast<const u8*>(features), head.n_features * std::size_t{4}),
           Bytes(reinterpret_cast<const u8*>(logits), head.n_logits * std::size_t{4})});
}

void Replay::state_hash(const journal::StateHash& hash) { produce(RecordType::kStateHash, {bytes_of(hash)}); }

void Replay::diverge(u64 record_seq, u16 type, const char* reason, Bytes journaled, const Produced* made) {
  result_.identical = false;
  if (result_.diverged) return;
  result_.diverged = true;
  Divergence& d = result_.first;
  d.input_seq = input_seq_;
  d.record_seq = record_seq;
  d.type = type;
  d.reason = reason;
  d.journaled = copy(journaled);
  if (made != nullptr) {
    d.replayed_type = made->type;
    d.replayed = made->payload;
  }
  d.decision_journaled = decision_journaled_;
  d.decision_replayed = decision_replayed_;
  d.input_type = input_type_;
  d.input = input_;
}

void Replay::leftovers(const journal::RecordHeader& next) {
  if (matched_ == produced_.size()) return;
  if (static_cast<RecordType>(next.type) == RecordType::kRecovered) {
    // The process died between this input and its intents: they were never sent.
    result_.unsent += produced_.size() - matched_;
    return;
  }
  const Produced& p = produced_[matched_];
  diverge(next.seq, p.type, "made, but not in the journal", {}, &p);
}

void Replay::on_record(const journal::RecordHeader& header, Bytes payload) {
  ++result_.records;
  result_.last_seq = header.seq;
  result_.generation = header.generation;
  if (result_.first_ts_ns == 0) result_.first_ts_ns = header.ts_ns;
  result_.last_ts_ns = header.ts_ns;
  const RecordType type = static_cast<RecordType>(header.type);
  if (journal::is_input(type)) {
    step_input(header, payload);
  } else if (journal::is_output(type)) {
    compare(header, payload);
  }
}

void Replay::step_input(const journal::RecordHeader& header, Bytes payload) {
  leftovers(header);
  produced_.clear();
  matched_ = 0;
  ++result_.inputs;
  input_seq_ = header.seq;
  input_type_ = header.type;
  input_.assign(payload.begin(), payload.end());
  const RecordType type = static_cast<RecordType>(header.type);
  if (type == RecordType::kRecovered) ++result_.recoveries;
  const std::size_t n = head_bytes(type);
  if (payload.size() < n) {
    diverge(header.seq, header.type, "input too short to be one", payload, nullptr);
    return;
  }
  const Bytes head = payload.first(n), body = payload.subspan(n);
  if (type == RecordType::kCommand && stage_) {
    journal::CommandHead command;
    std::memcpy(&command, head.data(), sizeof command);
    u32 slot = 0;
    if (static_cast<journal::CommandKind>(command.kind) == journal::CommandKind::kBankSwap && body.size() >= 8) {
      std::memcpy(&slot, body.data(), sizeof slot);
      const std::size_t artifact = command.body_bytes < body.size() ? command.body_bytes : body.size();
      if (artifact > 8) stage_(slot, body.subspan(8, artifact - 8));  // what follows is the command's origin
    }
  }
  shard_.step(Input{type, header.ts_ns, head, body}, header.seq, *this);
}

void Replay::compare(const journal::RecordHeader& header, Bytes payload) {
  ++result_.outputs;
  const RecordType type = static_cast<RecordType>(header.type);
  if (type == RecordType::kIntent) ++result_.orders;
  if (type == RecordType::kStateHash) ++result_.state_hashes;
  if (type == RecordType::kDecision) decision_journaled_ = copy(payload);
  if (matched_ == produced_.size()) {
    diverge(header.seq, header.type, "not made again", payload, nullptr);
    return;
  }
  const Produced& p = produced_[matched_++];
  if (static_cast<RecordType>(p.type) == RecordType::kDecision) decision_replayed_ = p.payload;
  const bool same = p.type == header.type && p.payload.size() == payload.size() &&
                    std::memcmp(p.payload.data(), payload.data(), payload.size()) == 0;
  if (!same) diverge(header.seq, header.type, "differs", payload, &p);
}

void Replay::finish(bool crashed) {
  if (matched_ == produced_.size()) return;
  if (crashed) {
    result_.unsent += produced_.size() - matched_;
    return;
  }
  const Produced& p = produced_[matched_];
  diverge(result_.last_seq, p.type, "made, but not in the journal", {}, &p);
}

}  // namespace peregrine::engine
