// Python view of policy/: policies built from arrays, batches for parity tests, policy sets.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <vector>

#include "policy/action_map.h"
#include "policy/policy_set.h"
#include "signal/features.h"

namespace py = pybind11;
using namespace peregrine;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

Sha256Digest digest(const py::bytes& b, const char* name) {
  const std::string_view v = b;
  if (v.size() != 32) throw py::value_error(std::string(name) + ": expected 32 bytes");
  Sha256Digest d;
  std::memcpy(d.bytes, v.data(), 32);
  return d;
}

template <class T>
Array<T> exact(const py::handle& h, const std::string& name, int ndim) {
  if (!py::isinstance<Array<T>>(h)) throw py::value_error(name + ": wrong dtype, or not C-contiguous");
  auto a = py::reinterpret_borrow<Array<T>>(h);
  if (a.ndim() != ndim) throw py::value_error(name + ": wrong number of dimensions");
  return a;
}

KernelKind kernel_by_name(const std::string& name) {
  if (name.empty()) return best_kernel();
  for (int k = 0; k < kKernelKinds; ++k) {
    if (name == kernel_name(static_cast<KernelKind>(k))) return static_cast<KernelKind>(k);
  }
  throw py::value_error("kernel: found '" + name + "', expected one of scalar, avx2, avxvnni, avx512vnni");
}

// Python's arrays of one policy, kept alive while it is loaded.
std::unique_ptr<Policy> make_policy(const py::array& feature_index, const py::array& quant_m, const py::array& quant_s,
                                    const py::list& layers, const py::bytes& schema, const py::bytes& action_map,
                                    const py::bytes& artifact, u32 n_schema_features, u32 n_actions,
                                    const py::bytes& expected_schema, const std::string& kernel) {
  const auto index = exact<u16>(feature_index, "feature_index", 1);
  const auto m = exact<i16>(quant_m, "quant_m", 1);
  const auto s = exact<u8>(quant_s, "quant_s", 1);
  if (m.size() != index.size() || s.size() != index.size()) throw py::value_error("quantiser: lengths differ");
  PolicySpec spec;
  spec.n_inputs = static_cast<u32>(index.size());
  spec.feature_index = index.data();
  spec.quant_m = m.data();
  spec.quant_s = s.data();
  spec.n_layers = static_cast<u32>(layers.size());
  std::vector<py::object> keep;
  for (u32 l = 0; l < spec.n_layers && l < kMaxPolicyLayers; ++l) {
    const auto t = py::cast<py::tuple>(layers[l]);
    if (t.size() != 4) throw py::value_error("layers: expected (weights, bias, shift or None, relu) each");
    const std::string at = "layer " + std::to_string(l);
    const auto w = exact<i8>(t[0], at + " weights", 2);
    const auto b = exact<i32>(t[1], at + " bias", 1);
    LayerSpec& layer = spec.layer[l];
    layer.outputs = static_cast<u32>(w.shape(0));
    layer.inputs = static_cast<u32>(w.shape(1));
    layer.weights = w.data();
    layer.bias = b.data();
    layer.relu = py::cast<bool>(t[3]);
    if (b.size() != w.shape(0)) throw py::value_error(at + " bias: length differs from the weights' rows");
    if (!t[2].is_none()) {
      const auto shift = exact<u8>(t[2], at + " shift", 1);
      if (shift.size() != w.shape(0)) throw py::value_error(at + " shift: length differs from the weights' rows");
      layer.shift = shift.data();
      keep.push_back(shift);
    }
    keep.push_back(w);
    keep.push_back(b);
  }
  spec.schema_hash = digest(schema, "schema_hash");
  spec.action_map_hash = digest(action_map, "action_map_hash");
  spec.artifact_hash = digest(artifact, "artifact_hash");
  PolicyContext context;
  if (n_schema_features < 1 || n_schema_features > kMaxSchemaFeatures) {
    throw py::value_error("n_schema_features: expected 1..64");
  }
  context.n_schema_features = n_schema_features;
  context.n_actions = n_actions;
  context.schema_hash = digest(expected_schema, "expected_schema_hash");
  context.action_map_hash = n_actions == kActionMapV1Actions ? action_map_v1_hash() : spec.action_map_hash;
  auto policy = std::make_unique<Policy>();
  const PolicyError e = Policy::load(spec, context, *policy, kernel_by_name(kernel));
  if (!e.ok) throw py::value_error(e.message);
  return policy;
}

const Policy& loaded(const Policy& p) {
  if (!p.loaded()) throw py::value_error("policy: it was moved into a set");
  return p;
}

void check_width(const Array<i32>& features) {
  if (features.ndim() != 2) throw py::value_error("features: expected int32[N, schema features]");
}

Array<i32> infer_rows(const Policy& p, const Array<i32>& features, u32 n_schema) {
  check_width(features);
  if (features.shape(1) != static_cast<py::ssize_t>(n_schema)) {
    throw py::value_error("features: expected " + std::to_string(n_schema) + " columns");
  }
  Array<i32> out({features.shape(0), static_cast<py::ssize_t>(p.n_actions())});
  const i32* in = features.data();
  i32* o = out.mutable_data();
  for (py::ssize_t r = 0; r < features.shape(0); ++r) p.infer(in + r * n_schema, o + r * p.n_actions());
  return out;
}

py::dict to_dict(const PolicySet::Decision& d) {
  py::dict out;
  out["action"] = static_cast<int>(d.action);
  out["held"] = d.held;
  out["vetoed"] = d.vetoed;
  out["veto_slot"] = d.veto_slot == 0xFF ? py::object(py::none()) : py::cast(static_cast<int>(d.veto_slot));
  out["n_policies"] = static_cast<int>(d.n_policies);
  py::list argmax;
  for (const u8 a : d.argmax) argmax.append(a == 0xFF ? py::object(py::none()) : py::cast(static_cast<int>(a)));
  out["argmax"] = argmax;
  out["score"] = std::vector<i32>(d.score, d.score + d.n_actions);
  out["version"] = d.version;
  return out;
}

}  // namespace

void bind_policy(py::module_& m) {
  py::class_<Policy>(m, "Policy", "One loaded int8 policy; hotpath.policy.artifact.Artifact.to_core() makes it.")
      .def(py::init(&make_policy), py::arg("feature_index"), py::arg("quant_m"), py::arg("quant_s"), py::arg("layers"),
           py::kw_only(), py::arg("schema_hash"), py::arg("action_map_hash"), py::arg("artifact_hash"),
           py::arg("n_schema_features"), py::arg("n_actions"), py::arg("expected_schema_hash"), py::arg("kernel") = "")
      .def(
          "infer",
          [](const Policy& p, const Array<i32>& features) {
            return infer_rows(loaded(p), features, p.n_schema_features());
          },
          py::arg("features"), "Logits int32[N, actions] of int32[N, schema features].")
      .def(
          "chain",
          [](const Policy& p, const Array<i32>& features, u64 count) {
            check_width(features);
            const auto n = static_cast<u64>(features.shape(0));
            if (n == 0 || features.shape(1) != static_cast<py::ssize_t>(loaded(p).n_schema_features())) {
              throw py::value_error("features: expected int32[N, schema features], N > 0");
            }
            i32 logits[kMaxActions];
            u64 at = 0;
            for (u64 k = 0; k < count; ++k) {
              at = (at + 1 + p.decide(features.data() + at * p.n_schema_features(), logits)) % n;
            }
            return at;
          },
          py::arg("features"), py::arg("count"),
          "Decide `count` times, for timing: which row is next follows from the action, so that nothing of two decisions\n"
          "overlaps. The row that would be next.")
      .def(
          "actions",
          [](const Policy& p, const Array<i32>& features) {
            const Array<i32> logits = infer_rows(loaded(p), features, p.n_schema_features());  // checks the width too
            std::vector<u32> out;
            i32 scratch[kMaxActions];
            for (py::ssize_t r = 0; r < logits.shape(0); ++r) {
              out.push_back(p.decide(features.data() + r * p.n_schema_features(), scratch));
            }
            return out;
          },
          py::arg("features"), "The argmax of each row's logits, as the kernel gives it.")
      .def_property_readonly("loaded", &Policy::loaded)
      .def_property_readonly("kernel", [](const Policy& p) { return kernel_name(p.kernel()); })
      .def_property_readonly("n_actions", &Policy::n_actions)
      .def_property_readonly("memory_bytes", &Policy::memory_bytes);

  py::class_<PolicySet>(m, "PolicySet", "Up to eight policies of one symbol that decide together.")
      .def(py::init<>())
      .def(
          "stage",
          [](PolicySet& set, u32 slot, Policy& policy) {
            if (slot >= kMaxPolicies) throw py::value_error("slot: expected 0..7");
            if (loaded(policy).n_schema_features() != FeatureEngine::kFeatures) {
              throw py::value_error("policy: made for another number of schema features");
            }
            Policy taken = std::move(policy);
            const PolicyError e = set.stage(slot, std::move(taken));
            if (!e.ok) {
              if (taken.loaded()) policy = std::move(taken);
              throw py::value_error(e.message);
            }
          },
          py::arg("slot"), py::arg("policy"), "Move a policy into the slot's staged bank.")
      .def("swap", &PolicySet::swap, py::arg("slot"), "Staged becomes active and the other way round.")
      .def("remove", &PolicySet::remove, py::arg("slot"))
      .def("staged", &PolicySet::staged, py::arg("slot"))
      .def("active", &PolicySet::active, py::arg("slot"))
      .def(
          "set_slot",
          [](PolicySet& set, u32 slot, i16 weight, bool risk, u16 veto_actions, u8 forced_action) {
            PolicySet::SlotConfig c;
            c.weight = weight;
            c.role = risk ? PolicySet::Role::kRisk : PolicySet::Role::kVoter;
            c.veto_actions = veto_actions;
            c.forced_action = forced_action;
            const PolicyError e = set.set_slot(slot, c);
            if (!e.ok) throw py::value_error(e.message);
          },
          py::arg("slot"), py::arg("weight") = 1, py::arg("risk") = false, py::arg("veto_actions") = 0,
          py::arg("forced_action") = 0)
      .def("set_weight", &PolicySet::set_weight, py::arg("slot"), py::arg("weight"))
      .def("set_quorum", &PolicySet::set_quorum, py::arg("quorum_256"))
      .def_property_readonly("version", &PolicySet::version)
      .def("state_hash", &PolicySet::state_hash)
      .def(
          "decide",
          [](const PolicySet& set, const Array<i32>& features) {
            if (features.ndim() != 1 || features.size() < FeatureEngine::kFeatures) {
              throw py::value_error("features: expected int32[schema features]");
            }
            PolicySet::Decision d;
            set.decide(features.data(), d);
            return to_dict(d);
          },
          py::arg("features"))
      .def(
          "consensus",
          [](const PolicySet& set, const std::vector<int>& answers) {
            PolicySet::Decision d;
            for (u32 s = 0; s < kMaxPolicies; ++s) {
              d.argmax[s] = s < answers.size() && answers[s] >= 0 && answers[s] < 256 ? static_cast<u8>(answers[s]) : 0xFF;
            }
            set.consensus(d);
            return to_dict(d);
          },
          py::arg("answers"), "Consensus over given answers by slot, -1 = no valid answer.");

  m.def(
      "policy_kernels",
      [] {
        std::vector<std::string> names;
        for (int k = 0; k < kKernelKinds; ++k) {
          if (kernel_supported(static_cast<KernelKind>(k))) names.emplace_back(kernel_name(static_cast<KernelKind>(k)));
        }
        return names;
      },
      "Kernels this machine runs, slowest first; the last is the default.");
  m.def("best_policy_kernel", [] { return kernel_name(best_kernel()); }, "The kernel chosen when none is named.");
  m.def("action_map_v1", [] { return std::string(kActionMapV1); }, "Canonical JSON of action map v1.");
  m.def(
      "action_map_v1_hash", [] { return py::bytes(reinterpret_cast<const char*>(action_map_v1_hash().bytes), 32); },
      "SHA-256 of action map v1, 32 bytes.");
}
