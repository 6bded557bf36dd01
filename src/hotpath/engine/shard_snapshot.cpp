#include "engine/shard_snapshot.h"

#include "core/archive.h"

namespace peregrine::engine {

namespace {

constexpr std::size_t kHeadBytes = 16;
constexpr Sha256Digest kNone{};

void put_u32(std::vector<u8>& out, u32 v) {
  const u8* p = reinterpret_cast<const u8*>(&v);
  out.insert(out.end(), p, p + sizeof v);
}

bool put_artifact(std::vector<u8>& out, u32 slot, u32 bank, const std::vector<u8>* artifact) {
  if (artifact == nullptr) return false;
  for (const u32 v : {slot, bank, static_cast<u32>(artifact->size()), 0u}) put_u32(out, v);
  out.insert(out.end(), artifact->begin(), artifact->end());
  return true;
}

}  // namespace

// Not here: the configuration (the journal's header has it), what only looks in from outside, and the output of a step
// under way: between two inputs there is none.
template <class A>
void Shard::archive(A& a) {
  market_.archive(a);
  features_.archive(a);
  policies_.archive(a);
  exposure_.archive(a);
  gate_.archive(a);
  breakers_.archive(a);
  orders_.archive(a);
  session_.archive(a);
  a.pool(items_.data(), items_.size());
  a(counters_, pending_, last_alarm_, lost_orders_, lost_messages_, feed_state_, now_ns_, feed_ns_, stale_since_ns_, feed_seq_, decision_, order_hash_,
    draining_, paused_, unsupervised_, flattening_, kill_wanted_, decision_recorded_, asks_made_, last_ask_, asks_, features_now_, decision_now_, command_keys_,
    command_key_next_, command_refused_);
}

InitialPolicies InitialPolicies::of(const PolicySet& set) {
  InitialPolicies initial;
  for (u32 s = 0; s < kMaxPolicies; ++s) initial.active_hash[s] = set.slot_state(s).active_hash;
  return initial;
}

bool save_shard(Shard& shard, const InitialPolicies& initial, const ArtifactStore& store, std::vector<u8>& payload) {
  payload.assign(kHeadBytes, 0);
  u32 n = 0;
  for (u32 s = 0; s < kMaxPolicies; ++s) {
    const PolicySet::SlotState state = shard.policies().slot_state(s);
    const Sha256Digest& first = initial.active_hash[s];
    const bool swapped = !(state.active_hash == first);
    if (swapped) {
      if (!put_artifact(payload, s, 0, store.find(state.active_hash))) return false;
      ++n;
    }
    // After a swap the first policy lies in the staged bank by itself.
    const bool by_itself = swapped && state.staged_hash == first;
    if (!(state.staged_hash == kNone) && !by_itself) {
      if (!put_artifact(payload, s, 1, store.find(state.staged_hash))) return false;
      ++n;
    }
  }
  SaveArchive a(payload);
  shard.archive(a);
  const u64 layout = a.layout();
  std::memcpy(payload.data(), &layout, sizeof layout);
  std::memcpy(payload.data() + 8, &n, sizeof n);
  return true;
}

std::string load_shard(Shard& shard, const ShardFactory& factory, Bytes payload, u64 state_hash, ArtifactStore& store) {
  if (payload.size() < kHeadBytes) return "the payload is cut off";
  const u64 layout = load_le<u64>(payload.data());
  const u32 artifacts = load_le<u32>(payload.data() + 8);
  payload = payload.subspan(kHeadBytes);
  struct Staged {
    u32 slot, bank;
    Bytes bytes;
  };
  std::vector<Staged> staged;
  for (u32 i = 0; i < artifacts; ++i) {
    if (payload.size() < kHeadBytes) return "an artifact is cut off";
    const Staged s{load_le<u32>(payload.data()), load_le<u32>(payload.data() + 4), {}};
    const u32 bytes = load_le<u32>(payload.data() + 8);
    payload = payload.subspan(kHeadBytes);
    if (payload.size() < bytes || s.slot >= kMaxPolicies || s.bank > 1) return "an artifact is cut off";
    staged.push_back({s.slot, s.bank, payload.first(bytes)});
    payload = payload.subspan(bytes);
  }
  LoadArchive check(payload, true);
  shard.archive(check);
  if (check.layout() != layout) return "made by a build whose state is laid out differently";
  if (!check.complete()) return "the state is cut off or too long";
  for (const Staged& s : staged) {
    store.put(s.bytes);
    factory.stage(shard, s.slot, s.bytes);
    if (s.bank == 0 && !shard.policies().swap(s.slot)) return "an artifact was refused";
  }
  LoadArchive load(payload, false);
  shard.archive(load);
  if (!load.complete()) return "its policies are not those of this journal";
  if (shard.state_hash() != state_hash) return "its state does not hash to what its header says";
  return {};
}

}  // namespace peregrine::engine
