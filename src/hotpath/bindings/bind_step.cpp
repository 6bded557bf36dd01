// Python view of one shard, step by step: inputs in, outputs as bytes. Nothing is journaled, compared or sent; whoever
// drives it (tools/golden.py makes journals this way) keeps the order of journal, step and wire.
#include <vector>

#include "bindings/shard_view.h"
#include "engine/input.h"

namespace py = pybind11;
using namespace peregrine;
using journal::RecordType;

namespace {

class StepEngine final : private engine::ShardOutput {
 public:
  StepEngine(const py::dict& shard_spec, const py::list& policies, u16 quorum)
      : shard_(bindings::shard_config_from(shard_spec)) {
    bindings::load_policies(shard_, policies, quorum);
  }
  // The policy that the next bank-swap command will make active.
  void stage(u32 slot, const py::dict& spec) { bindings::stage_bank(shard_, slot, spec); }

  py::list step(u16 type, u64 seq, i64 ts_ns, const py::bytes& payload) {
    const std::string p = payload;
    const Bytes all(reinterpret_cast<const u8*>(p.data()), p.size());
    const std::size_t n = engine::head_bytes(static_cast<RecordType>(type));
    if (!journal::is_input(static_cast<RecordType>(type)) || all.size() < n) {
      throw py::value_error("record type " + std::to_string(type) + " with " + std::to_string(p.size()) +
                            " bytes is no input");
    }
    if (ts_ns < last_ns_) throw py::value_error("time runs backwards");
    last_ns_ = ts_ns;
    made_.clear();
    shard_.step(engine::Input{static_cast<RecordType>(type), ts_ns, all.first(n), all.subspan(n)}, seq, *this);
    py::list out;
    for (const Made& m : made_) {
      out.append(py::make_tuple(static_cast<u16>(m.type),
                                py::bytes(reinterpret_cast<const char*>(m.payload.data()), m.payload.size())));
    }
    return out;
  }
  py::object signal_wanted() const {
    if (!shard_.signal_wanted()) return py::none();
    const i32* f = shard_.signal_features();
    return py::make_tuple(shard_.signal_decision(), std::vector<i32>(f, f + FeatureEngine::kFeatures));
  }
  u64 login_sequence() const { return shard_.session().login_sequence(); }
  u64 next_sequence() const { return shard_.session().next_sequence(); }
  py::dict summary() const { return bindings::shard_summary(shard_); }

 private:
  struct Made {
    RecordType type;
    std::vector<u8> payload;
  };
  void make(RecordType type, std::initializer_list<Bytes> parts) {
    Made m{type, {}};
    for (const Bytes part : parts) m.payload.insert(m.payload.end(), part.begin(), part.end());
    made_.push_back(std::move(m));
  }
  void intent(const journal::IntentHead& head, Bytes ouch) override {
    make(RecordType::kIntent, {engine::bytes_of(head), ouch});
  }
  void decision(const journal::DecisionHead& head, const i32* features, const i32* logits) override {
    make(RecordType::kDecision, {engine::bytes_of(head),
                                 Bytes(reinterpret_cast<const u8*>(features), head.n_features * std::size_t{4}),
                                 Bytes(reinterpret_cast<const u8*>(logits), head.n_logits * std::size_t{4})});
  }
  void state_hash(const journal::StateHash& hash) override { make(RecordType::kStateHash, {engine::bytes_of(hash)}); }

  engine::Shard shard_;
  std::vector<Made> made_;
  i64 last_ns_ = 0;
};

}  // namespace

void bind_step(py::module_& m) {
  py::class_<StepEngine>(m, "StepEngine", "One shard, fed input by input; gives back what each step makes.")
      .def(py::init<const py::dict&, const py::list&, u16>(), py::arg("shard"), py::arg("policies"), py::arg("quorum"))
      .def("stage", &StepEngine::stage, py::arg("slot"), py::arg("spec"))
      .def("step", &StepEngine::step, py::arg("type"), py::arg("seq"), py::arg("ts_ns"), py::arg("payload"),
           "[(record type, payload)]: intents, decisions, state hashes, in order")
      .def_property_readonly("signal_wanted", &StepEngine::signal_wanted, "(decision, features), or None")
      .def_property_readonly("login_sequence", &StepEngine::login_sequence)
      .def_property_readonly("next_sequence", &StepEngine::next_sequence)
      .def("summary", &StepEngine::summary);
}
