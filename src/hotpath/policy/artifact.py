"""Policy artifacts: one `safetensors` file, checked whole before anything of it is used. Never pickle.

Tensors: `feature_index` U16[n], `quant_m` I16[n], `quant_s` U8[n]; per layer k `w{k}` I8[out, in], `b{k}` I32[out] and
(all but the last) `s{k}` U8[out]; `parity_inputs` I32[K, schema features], `parity_logits` I32[K, actions].
Metadata: one key `peregrine`, JSON text with exactly the keys of `METADATA_KEYS`.
The artifact's hash is the SHA-256 of the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hotpath.policy import oracle
from hotpath.policy.actions import ACTION_MAP_V1, action_map_hash
from hotpath.policy.oracle import Layer, Network
from hotpath.signal import schema

FORMAT = "peregrine.policy"
FORMAT_VERSION = 1
METADATA_KEYS = ("format", "version", "name", "sizes", "relu", "schema", "schema_hash", "action_map",
                 "action_map_hash", "provenance")
PROVENANCE_KEYS = ("data", "seed", "versions")
MAX_FILE_BYTES = 16 << 20
MIN_PARITY = 16


class ArtifactError(Exception):
    """The artifact is refused: what was found, where, and what was expected."""


@dataclass(frozen=True)
class Artifact:
    """A policy with everything it was made for and from.

    parity_inputs int32[K, schema features] and parity_logits int32[K, actions] are vectors that the oracle and every
    kernel must reproduce. `sha256` is the hash of the file ("" before it is saved).
    """

    network: Network
    parity_inputs: np.ndarray
    parity_logits: np.ndarray
    name: str = "policy"
    provenance: dict[str, Any] = field(default_factory=dict)
    schema_hash: str = field(default_factory=schema.schema_hash)
    schema_text: str = field(default_factory=schema.canonical)
    action_map: dict[str, Any] = field(default_factory=lambda: dict(ACTION_MAP_V1))
    sha256: str = ""

    @property
    def version(self) -> str:
        """The first 8 bytes of the file's hash, 16 hex digits: the short name of this artifact."""
        return self.sha256[:16]

    @property
    def actions(self) -> list[str]:
        """Names of the actions in logit order."""
        return list(self.action_map["actions"])

    def to_core(self, kernel: str | None = None) -> Any:
        """The loaded C++ policy (`hotpath._core.Policy`) for `kernel` (None = the fastest of this machine).

        Raises ArtifactError with the engine's own reason when it is refused.
        """
        import hotpath._core as _core

        layers = [(layer.weights, layer.bias, layer.shift, layer.relu) for layer in self.network.layers]
        try:
            return _core.Policy(
                self.network.feature_index, self.network.quant_m, self.network.quant_s, layers,
                schema_hash=bytes.fromhex(self.schema_hash), action_map_hash=bytes.fromhex(
                    action_map_hash(self.action_map)),
                artifact_hash=bytes.fromhex(self.sha256 or "00" * 32),
                n_schema_features=int(self.parity_inputs.shape[1]), n_actions=len(self.actions),
                expected_schema_hash=bytes.fromhex(self.schema_hash), kernel=kernel or "")
        except ValueError as err:
            raise ArtifactError(str(err)) from err


def make(network: Network, *, name: str, provenance: dict[str, Any], seed: int = 0, parity: int = 64,
         samples: np.ndarray | None = None, params: schema.FeatureParams | None = None) -> Artifact:
    """An artifact of a network for this schema and action map v1, with parity vectors made by the oracle.

    Parity inputs are `parity` rows: some of `samples` (int32[N, schema features], when given) and random int32 ones.
    Raises ArtifactError when the network breaks a rule of the format.
    """
    check_network(network, schema.COUNT, len(ACTION_MAP_V1["actions"]))
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-(1 << 31), 1 << 31, (parity, schema.COUNT), np.int64)
    inputs >>= rng.integers(0, 31, inputs.shape)  # all magnitudes, not only huge ones
    if samples is not None and len(samples):
        taken = rng.choice(len(samples), min(parity // 2, len(samples)), replace=False)
        inputs[: len(taken)] = samples[taken]
    rows = inputs.astype(np.int32)
    return Artifact(network, rows, oracle.infer(network, rows), name=name, provenance=provenance,
                    schema_hash=schema.schema_hash(params), schema_text=schema.canonical(params))


def dump(artifact: Artifact) -> bytes:
    """The file's bytes; the same artifact always gives the same bytes."""
    from safetensors.numpy import save as to_safetensors

    network = artifact.network
    tensors: dict[str, np.ndarray] = {
        "feature_index": network.feature_index.astype(np.uint16),
        "quant_m": network.quant_m.astype(np.int16),
        "quant_s": network.quant_s.astype(np.uint8),
        "parity_inputs": artifact.parity_inputs.astype(np.int32),
        "parity_logits": artifact.parity_logits.astype(np.int32),
    }
    for k, layer in enumerate(network.layers):
        tensors[f"w{k}"] = layer.weights.astype(np.int8)
        tensors[f"b{k}"] = layer.bias.astype(np.int32)
        if layer.shift is not None:
            tensors[f"s{k}"] = layer.shift.astype(np.uint8)
    meta = {
        "format": FORMAT, "version": FORMAT_VERSION, "name": artifact.name, "sizes": network.sizes,
        "relu": [layer.relu for layer in network.layers], "schema": artifact.schema_text,
        "schema_hash": artifact.schema_hash, "action_map": artifact.action_map,
        "action_map_hash": action_map_hash(artifact.action_map), "provenance": artifact.provenance,
    }
    text = json.dumps(meta, sort_keys=True, separators=(",", ":"))
    return to_safetensors({k: np.ascontiguousarray(v) for k, v in tensors.items()}, {"peregrine": text})


def save(artifact: Artifact, path: Path | str) -> Artifact:
    """Write the file (checked first, replaced in one step); returns the artifact with its hash.

    Raises ArtifactError when the artifact would not load again.
    """
    data = dump(artifact)
    loaded = parse(data, where=str(path))
    target = Path(path)
    partial = target.with_name(target.name + ".tmp")
    partial.write_bytes(data)
    partial.replace(target)
    return loaded


def load(path: Path | str, *, params: schema.FeatureParams | None = None) -> Artifact:
    """Read and check a file. Raises ArtifactError with the reason when it is refused."""
    try:
        data = Path(path).read_bytes()
    except OSError as err:
        raise ArtifactError(f"{path}: cannot be read: {err.strerror or err}") from err
    return parse(data, where=str(path), params=params)


def parse(data: bytes, *, where: str = "artifact", params: schema.FeatureParams | None = None) -> Artifact:
    """Check and take apart the bytes of a file (from disk or from a journal's header).

    Everything is checked: container, metadata, dtypes, shapes, ranges, accumulator bounds, schema and action-map
    hashes, and the parity vectors by the oracle. Raises ArtifactError with the reason.
    """
    try:
        return _parse(data, params)
    except ArtifactError as err:
        raise ArtifactError(f"{where}: {err}") from None


def verify(artifact: Artifact) -> dict[str, bool]:
    """Parity vectors by the oracle and by each kernel this machine runs: {"oracle": True, "scalar": True, …}."""
    import hotpath._core as _core

    report = {"oracle": bool((oracle.infer(artifact.network, artifact.parity_inputs)
                              == artifact.parity_logits).all())}
    for kernel in _core.policy_kernels():
        logits = artifact.to_core(kernel).infer(artifact.parity_inputs)
        report[kernel] = bool((logits == artifact.parity_logits).all())
    return report


def check_network(network: Network, n_schema_features: int, n_actions: int) -> None:
    """The rules of the format on the arrays themselves; raises ArtifactError naming the tensor and index."""
    n = len(network.feature_index)
    _require(1 <= n <= oracle.MAX_INPUTS, f"feature_index: found {n} inputs, expected 1..{oracle.MAX_INPUTS}")
    _array("feature_index", network.feature_index, np.uint16, (n,))
    _array("quant_m", network.quant_m, np.int16, (n,))
    _array("quant_s", network.quant_s, np.uint8, (n,))
    _range("feature_index", network.feature_index, 0, n_schema_features - 1)
    _range("quant_s", network.quant_s, 0, 46)
    count = len(network.layers)
    _require(1 <= count <= oracle.MAX_LAYERS, f"layers: found {count}, expected 1..{oracle.MAX_LAYERS}")
    width = n
    for k, layer in enumerate(network.layers):
        last = k == count - 1
        _require(layer.weights.ndim == 2, f"w{k}: found {layer.weights.ndim} dimensions, expected 2")
        outputs = layer.outputs
        _require(1 <= outputs <= oracle.MAX_OUTPUTS, f"w{k}: found {outputs} outputs, expected 1..{oracle.MAX_OUTPUTS}")
        _array(f"w{k}", layer.weights, np.int8, (outputs, width))
        _array(f"b{k}", layer.bias, np.int32, (outputs,))
        if last:
            _require(outputs == n_actions, f"w{k} (last): found {outputs} outputs, expected {n_actions} actions")
            _require(layer.shift is None, f"s{k}: found shifts on the last layer, expected none: it gives logits")
            _require(not layer.relu, f"relu[{k}]: found true on the last layer, expected false: it gives logits")
        else:
            _require(layer.shift is not None, f"s{k}: missing, expected one shift a channel")
            _array(f"s{k}", layer.shift, np.uint8, (outputs,))
            _range(f"s{k}", layer.shift, 1, 24)
        bound = channel_bounds(layer)
        worst = int(bound.argmax())
        _require(bool(bound[worst] < oracle.ACCUMULATOR_BOUND),
                 f"layer {k} channel {worst}: 128*sum|w| + |b| + rounding = {bound[worst]}, expected below 2^24")
        width = outputs


def channel_bounds(layer: Layer) -> np.ndarray:
    """128*sum|w| + |b| + 2^(s-1) per channel, int64[outputs]; must stay below 2^24."""
    bound = 128 * np.abs(layer.weights.astype(np.int64)).sum(axis=1) + np.abs(layer.bias.astype(np.int64))
    if layer.shift is not None:
        bound = bound + (np.int64(1) << np.maximum(layer.shift.astype(np.int64) - 1, 0))
    return bound


def _parse(data: bytes, params: schema.FeatureParams | None) -> Artifact:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_safetensors

    _require(len(data) <= MAX_FILE_BYTES, f"found {len(data)} bytes, expected at most {MAX_FILE_BYTES}")
    try:
        tensors = from_safetensors(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as err:
        raise ArtifactError(f"not a safetensors file: {err}") from None
    meta = _metadata(data)
    sizes, relu = meta["sizes"], meta["relu"]
    count = len(sizes) - 1
    names = {"feature_index", "quant_m", "quant_s", "parity_inputs", "parity_logits"}
    names |= {f"{t}{k}" for t in "wb" for k in range(count)} | {f"s{k}" for k in range(count - 1)}
    missing, extra = sorted(names - tensors.keys()), sorted(tensors.keys() - names)
    _require(not missing, f"tensors: missing {', '.join(missing)}")
    _require(not extra, f"tensors: found unknown {', '.join(extra)}")

    network = Network(tensors["feature_index"], tensors["quant_m"], tensors["quant_s"], tuple(
        Layer(tensors[f"w{k}"], tensors[f"b{k}"], tensors.get(f"s{k}"), relu[k]) for k in range(count)))
    actions = meta["action_map"]["actions"]
    check_network(network, schema.COUNT, len(actions))
    _require(network.sizes == sizes, f"sizes: found {sizes}, expected {network.sizes} (the tensors' own)")
    _hashes(meta, params)

    inputs, logits = tensors["parity_inputs"], tensors["parity_logits"]
    rows = len(inputs)
    _require(rows >= MIN_PARITY, f"parity_inputs: found {rows} rows, expected at least {MIN_PARITY}")
    _array("parity_inputs", inputs, np.int32, (rows, schema.COUNT))
    _array("parity_logits", logits, np.int32, (rows, len(actions)))
    wrong = np.argwhere(oracle.infer(network, inputs) != logits)
    if len(wrong):
        raise ArtifactError(f"parity_logits{wrong[0].tolist()}: not what the network gives ({len(wrong)} values differ): "
                            "weights or vectors were changed")
    return Artifact(network, inputs, logits, name=meta["name"], provenance=meta["provenance"],
                    schema_hash=meta["schema_hash"], schema_text=meta["schema"], action_map=meta["action_map"],
                    sha256=hashlib.sha256(data).hexdigest())


def _metadata(data: bytes) -> dict[str, Any]:
    header_bytes = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + header_bytes])
    outer = header.get("__metadata__") or {}
    _require(set(outer) == {"peregrine"}, f"metadata: found keys {sorted(outer)}, expected ['peregrine']")
    try:
        meta = json.loads(outer["peregrine"])
    except (ValueError, RecursionError) as err:
        raise ArtifactError(f"metadata: not JSON: {err}") from None
    _require(isinstance(meta, dict), "metadata: expected a JSON object")
    missing, extra = sorted(set(METADATA_KEYS) - set(meta)), sorted(set(meta) - set(METADATA_KEYS))
    _require(not missing, f"metadata: missing {', '.join(missing)}")
    _require(not extra, f"metadata: found unknown {', '.join(extra)}")
    _require(meta["format"] == FORMAT, f"format: found {meta['format']!r}, expected {FORMAT!r}")
    _require(type(meta["version"]) is int and meta["version"] == FORMAT_VERSION,
             f"version: found {meta['version']!r}, expected {FORMAT_VERSION}")
    for key in ("name", "schema", "schema_hash", "action_map_hash"):
        _require(isinstance(meta[key], str), f"{key}: found {meta[key]!r}, expected text")
    _require(meta["name"].isprintable() and meta["schema"].isascii(), "name, schema: expected printable text")
    sizes, relu = meta["sizes"], meta["relu"]
    _require(isinstance(sizes, list) and 2 <= len(sizes) <= oracle.MAX_LAYERS + 1
             and all(type(n) is int and n >= 1 for n in sizes),
             f"sizes: found {sizes!r}, expected 2..{oracle.MAX_LAYERS + 1} positive integers")
    _require(isinstance(relu, list) and len(relu) == len(sizes) - 1 and all(type(r) is bool for r in relu),
             f"relu: found {relu!r}, expected {len(sizes) - 1} booleans")
    _check_action_map(meta["action_map"])
    provenance = meta["provenance"]
    _require(isinstance(provenance, dict) and set(PROVENANCE_KEYS) <= set(provenance),
             f"provenance: expected an object with at least {', '.join(PROVENANCE_KEYS)}")
    return meta


def _check_action_map(action_map: Any) -> None:
    _require(isinstance(action_map, dict) and isinstance(action_map.get("actions"), list)
             and all(isinstance(a, str) for a in action_map["actions"]),
             "action_map: expected an object with a list of action names")
    actions = action_map["actions"]
    _require(1 <= len(actions) <= oracle.MAX_ACTIONS and len(set(actions)) == len(actions),
             f"action_map: found {len(actions)} actions, expected 1..{oracle.MAX_ACTIONS} different ones")
    _require(actions[0] == "hold", f"action_map: action 0 is {actions[0]!r}, expected 'hold'")


def _hashes(meta: dict[str, Any], params: schema.FeatureParams | None) -> None:
    own = hashlib.sha256(meta["schema"].encode()).hexdigest()
    _require(own == meta["schema_hash"], f"schema_hash: found {meta['schema_hash'][:16]}…, expected {own[:16]}… "
             "(the hash of the schema text beside it)")
    expected = schema.schema_hash(params)
    _require(own == expected, f"schema: found {meta['schema']!r}, expected {schema.canonical(params)!r}: the policy was "
             "made for other features")
    own = action_map_hash(meta["action_map"])
    _require(own == meta["action_map_hash"], f"action_map_hash: found {meta['action_map_hash'][:16]}…, expected "
             f"{own[:16]}… (the hash of the map beside it)")
    _require(own == action_map_hash(), f"action_map: found {meta['action_map']!r}, expected {ACTION_MAP_V1!r}")


def _require(good: bool, message: str) -> None:
    if not good:
        raise ArtifactError(message)


def _array(name: str, a: np.ndarray | None, dtype: Any, shape: Sequence[int]) -> None:
    assert a is not None
    _require(a.dtype == dtype, f"{name}: found {a.dtype}, expected {np.dtype(dtype).name}")
    _require(a.shape == tuple(shape), f"{name}: found shape {list(a.shape)}, expected {list(shape)}")


def _range(name: str, a: np.ndarray | None, low: int, high: int) -> None:
    assert a is not None
    wrong = np.flatnonzero((a < low) | (a > high))
    if len(wrong):
        raise ArtifactError(f"{name}[{wrong[0]}]: found {a[wrong[0]]}, expected {low}..{high}")


def make_reference(seed: int = 1) -> Artifact:
    """A small hand-made policy (see `hotpath.policy.reference`), for tests and for wiring the engine."""
    from hotpath.policy.reference import reference_network

    artifact = make(reference_network(seed), name=f"reference-{seed}", seed=seed, provenance={
        "data": [], "seed": seed, "versions": {"numpy": np.__version__}, "made_by": "hotpath.policy.reference"})
    return parse(dump(artifact))
