// A shard's whole state as bytes, and a shard made from them: the payload of a journal snapshot.
//
//   0        8       12     16
//   +--------+-------+------+----------------------------------+----------------------------------------
//   | layout |  n    | zero | n × (slot u32 | bank u32 | bytes u32 | zero u32 | artifact) | state (core/archive.h)
//   +--------+-------+------+----------------------------------+----------------------------------------
// bank: 0 = in force, 1 = staged. Only artifacts that came by command are here; the others stand in the journal's header.
// `layout` folds the sizes and counts of the state: bytes of a build whose classes look different are refused unread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/shard.h"

namespace peregrine::engine {

// How a shard is made as it was before the journal's first input, and how a policy gets into it afterwards.
struct ShardFactory {
  std::function<std::unique_ptr<Shard>()> make;
  std::function<void(Shard& shard, u32 slot, Bytes artifact)> stage;  // into the slot's staged bank
};

// Artifacts that came by command, by their hash.
class ArtifactStore {
 public:
  void put(Bytes artifact) {
    artifacts_.insert_or_assign(key(Sha256::of(artifact.data(), artifact.size())),
                                std::vector<u8>(artifact.begin(), artifact.end()));
  }
  const std::vector<u8>* find(const Sha256Digest& hash) const {
    const auto it = artifacts_.find(key(hash));
    return it == artifacts_.end() ? nullptr : &it->second;
  }

 private:
  static std::string key(const Sha256Digest& h) { return std::string(reinterpret_cast<const char*>(h.bytes), 32); }
  std::map<std::string, std::vector<u8>> artifacts_;
};

// Hashes of what each slot held at the start: those artifacts stand in the journal's header.
struct InitialPolicies {
  Sha256Digest active_hash[kMaxPolicies] = {};
  static InitialPolicies of(const PolicySet& set);
};

// False when a policy is in a bank whose artifact is neither initial nor in the store. Changes nothing in the shard.
bool save_shard(Shard& shard, const InitialPolicies& initial, const ArtifactStore& store, std::vector<u8>& payload);

// Brings a fresh shard to the saved state; artifacts of the payload go into `store` too. An empty string, or why it
// cannot be: the shard is then useless, make another.
std::string load_shard(Shard& fresh, const ShardFactory& factory, Bytes payload, u64 state_hash, ArtifactStore& store);

}  // namespace peregrine::engine
