// A shard factory from what Python has: the shard's configuration, its policies, and how an artifact becomes one.
#pragma once

#include <memory>

#include "bindings/shard_view.h"
#include "engine/shard_snapshot.h"

namespace peregrine::bindings {

// Makes shards as they are before a journal's first input. May be called from any thread.
inline engine::ShardFactory shard_factory(const py::dict& spec, const py::list& policies, u16 quorum, const py::object& stage) {
  struct Kept {
    py::dict spec;
    py::list policies;
    py::object stage;
  };
  const auto with_gil = [](Kept* k) {
    const py::gil_scoped_acquire gil;
    delete k;
  };
  const std::shared_ptr<Kept> kept(new Kept{spec, policies, stage}, with_gil);
  engine::ShardFactory f;
  f.make = [kept, quorum] {
    const py::gil_scoped_acquire gil;
    auto shard = std::make_unique<engine::Shard>(shard_config_from(kept->spec));
    load_policies(*shard, kept->policies, quorum);
    return shard;
  };
  f.stage = [kept](engine::Shard& shard, u32 slot, Bytes artifact) {
    const py::gil_scoped_acquire gil;
    if (kept->stage.is_none()) throw py::value_error("a policy came by command, and nothing was given to make it from its artifact");
    const py::bytes data(reinterpret_cast<const char*>(artifact.data()), artifact.size());
    stage_bank(shard, slot, kept->stage(slot, data).cast<py::dict>());
  };
  return f;
}

}  // namespace peregrine::bindings
