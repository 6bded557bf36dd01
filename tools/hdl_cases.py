"""Random policies for the gateware's benches, the features that drive them into their corners, and their simulation.

`prove` holds three things against each other for one network: the simulated core, the numpy oracle and the engine's
scalar kernel. `flood` then compares core and kernel over as many vectors as are asked for, in C++ (tests/hdl/vectors.cpp).
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cxx  # noqa: E402
import hdl_model  # noqa: E402

sys.path[:0] = [str(cxx.ROOT / "hdl"), str(cxx.ROOT / "src")]
from hotpath.policy import oracle  # noqa: E402
from hotpath.policy.oracle import Layer, Network, Voter  # noqa: E402
from hotpath.policy.random_network import random_features, random_network  # noqa: E402

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
HARNESS_SOURCES = ("src/hotpath/core/cpu.cpp", "src/hotpath/core/sha256.cpp", "src/hotpath/policy/*.cpp")


def bench_network(sizes: list[int], seed: int) -> Network:
    """A random network in which every feature is read; each fourth has ties, each fourth dead channels and zeros."""
    rng = np.random.default_rng([seed, *sizes])
    network = random_network(rng, sizes, sizes[0])
    network = replace(network, feature_index=rng.permutation(sizes[0]).astype(np.uint16))
    last = network.layers[-1]
    weights, bias = last.weights.copy(), last.bias.copy()
    if seed % 4 == 1:  # two outputs that are always equal
        weights[-1], bias[-1] = weights[0], bias[0]
    if seed % 4 == 2:
        weights[0], bias[0] = 0, 0
    return replace(network, layers=(*network.layers[:-1], Layer(weights, bias, None, False)))


def corners(network: Network, feature: int) -> tuple[int, list[int]]:
    """(reach, corner values) of a feature: around each threshold where its quantised value starts to saturate, or is 0."""
    reach, found = 1, {0, 1, -1, INT32_MIN, INT32_MAX, INT32_MIN + 1}
    for k in np.flatnonzero(network.feature_index == feature):
        m, s = int(network.quant_m[k]), int(network.quant_s[k])
        if m == 0:
            continue
        reach = max(reach, min((130 << s) // abs(m) + 1, INT32_MAX))
        for q2 in (-257, -255, -1, 1, 253, 255):  # in halves: between -128 and -129, …, between 127 and 128
            near = (q2 << s) // (2 * m)
            found |= {f for f in range(near - 1, near + 3) if INT32_MIN <= f <= INT32_MAX}
    return reach, sorted(found)


def bench_features(network: Network, rows: int, seed: int) -> np.ndarray:
    """int32[rows, features]: within reach, of any magnitude, or corners, as tests/hdl/case.h draws them."""
    rng = np.random.default_rng(seed)
    n = int(network.feature_index.max()) + 1
    out = random_features(rng, rows, n)
    for f in range(n):
        reach, special = corners(network, f)
        kind = rng.random(rows)
        near = rng.integers(-reach, reach, rows, endpoint=True)
        picked = rng.choice(np.array(special, np.int64), rows)
        out[:, f] = np.where(kind < 0.5, near, np.where(kind < 0.625, picked, out[:, f]))
    return out


def case_bytes(network: Network) -> bytes:
    """The network as tests/hdl/case.h reads it."""
    n = int(network.feature_index.max()) + 1
    sizes = network.sizes
    parts = [struct.pack("<3I", n, sizes[0], len(network.layers)), struct.pack(f"<{len(sizes)}I", *sizes),
             bytes(layer.relu for layer in network.layers), network.feature_index.astype("<u2").tobytes(),
             network.quant_m.astype("<i2").tobytes(), network.quant_s.astype("u1").tobytes()]
    for layer in network.layers:
        parts += [layer.weights.astype("i1").tobytes(), layer.bias.astype("<i4").tobytes()]
        if layer.shift is not None:
            parts.append(layer.shift.astype("u1").tobytes())
    for f in range(n):
        reach, special = corners(network, f)
        parts.append(struct.pack(f"<2I{len(special)}i", reach, len(special), *special))
    return b"".join(parts)


@dataclass
class Bench:
    """One network's core, emitted and compiled, with the options it was made with."""

    network: Network
    adds_per_stage: int
    library: Path
    cycles: int
    adders: int
    features: list[int]

    def model(self) -> hdl_model.Model:
        """A fresh simulation."""
        from peregrine_hdl import payload

        return hdl_model.Model(self.library, payload.in_dtype(len(self.features)),
                               payload.out_dtype(1, self.network.sizes[-1]))


@dataclass(frozen=True)
class Emitted:
    """A core's Verilog and what the manifest says of it."""

    verilog: str
    cycles: int
    adders: int
    features: list[int]


def emitted(network: Network, adds_per_stage: int) -> Emitted:
    """The core of one voter; what these sources emitted before is taken from build/hdl."""
    return emitted_set((network,), (Voter(),), 0, adds_per_stage)


def emitted_set(networks: tuple[Network, ...], voters: tuple[Voter, ...], quorum_256: int, adds_per_stage: int) -> Emitted:
    """The core of a set of policies."""
    source = cxx.ROOT / "hdl" / "peregrine_hdl"
    key = hdl_model.content_hash(*map(case_bytes, networks), repr([(v, sorted(v.veto_actions)) for v in voters]),
                                 f"{quorum_256} {adds_per_stage}", *sorted(source.glob("*.py")))

    def make(folder: Path) -> None:
        from peregrine_hdl.core import Core, PolicySet
        from peregrine_hdl.emit import verilog_text

        core = Core(PolicySet(networks, voters, quorum_256), adds_per_stage=adds_per_stage)
        (folder / "core.v").write_text(verilog_text(core))
        (folder / "core.json").write_text(json.dumps(
            {"cycles": core.cycles, "adders": core.adders, "features": core.features}))

    folder = hdl_model.cached(f"core-{key}", make)
    return Emitted((folder / "core.v").read_text(), **json.loads((folder / "core.json").read_text()))


def bench(network: Network, adds_per_stage: int) -> Bench:
    """Emit, verilate and compile the core of one voter."""
    from peregrine_hdl.emit import TOP

    core = emitted(network, adds_per_stage)
    return Bench(network, adds_per_stage, hdl_model.build_model(core.verilog, TOP), core.cycles, core.adders, core.features)


def prove(b: Bench, rows: int, seed: int) -> dict[str, Any]:
    """Core against oracle with and without stalls, kernel against oracle, latency against the formula; then coverage.

    Raises AssertionError with the first row that differs.
    """
    from peregrine_hdl import payload

    model = b.model()
    inputs = np.zeros(rows, model.in_dtype)
    features = bench_features(b.network, rows, seed)
    inputs["features"] = features[:, b.features]
    inputs["ask"] = 1
    inputs["ask"][63::64] = 0
    want = payload.expected((b.network,), (Voter(),), 0, b.features, inputs)
    cycles = 0
    for stall_seed in (0, seed + 1):
        got, took = model.stream(inputs, stall_seed)
        wrong = np.flatnonzero(got != want)
        assert not len(wrong), f"row {wrong[0]}: core {got[wrong[0]]}, oracle {want[wrong[0]]}, features {features[wrong[0]]}"
        cycles += took
        assert stall_seed or took == rows + b.cycles, f"{took} cycles for {rows} rows: II is not 1"
    latency = model.latency_cycles(inputs[:1])
    assert latency == b.cycles, f"latency: found {latency} cycles, the formula says {b.cycles}"
    model.close()
    kernel = scalar_kernel(b.network).infer(features)
    wrong = np.flatnonzero((kernel != want["logits"][:, 0]).any(axis=1))
    assert not len(wrong), f"row {wrong[0]}: scalar kernel {kernel[wrong[0]]}, oracle {want['logits'][wrong[0], 0]}"
    return {"vectors": 2 * rows, "cycles": cycles, **coverage(b.network, features)}


def random_set(seed: int) -> tuple[tuple[Network, ...], tuple[Voter, ...], int]:
    """(networks, voters, quorum) of one to eight small policies of different depths, with risk roles and odd weights."""
    rng = np.random.default_rng([7, seed])
    count = (1, 3, 8, 2, 5, 4, 7, 6)[seed % 8]
    actions = int(rng.integers(2, 6))
    networks, voters = [], []
    for _ in range(count):
        sizes = [6, *([8] * int(rng.integers(0, 3))), actions]
        networks.append(replace(random_network(rng, sizes, 6), feature_index=rng.permutation(9)[:6].astype(np.uint16)))
        weight = int(rng.choice([1, 1, 2, 3, 0, -1, 32767, -32768, int(rng.integers(-100, 100))]))
        risk = bool(rng.random() < 0.4)
        veto = frozenset(int(a) for a in range(actions) if risk and rng.random() < 0.4)
        voters.append(Voter(weight, risk, veto, int(rng.integers(0, actions)) if risk else 0))
    return tuple(networks), tuple(voters), int(rng.choice([0, 128, 171, 256, int(rng.integers(0, 257))]))


def prove_sets(count: int, rows: int) -> dict[str, Any]:
    """Random sets against the oracle, asked in every combination of policies; sums over `count` sets."""
    hdl_model.require()
    from peregrine_hdl import payload
    from peregrine_hdl.emit import TOP

    total = {"vectors": 0, "cycles": 0, "held": 0, "vetoed": 0}
    for seed in range(count):
        networks, voters, quorum = random_set(seed)
        core = emitted_set(networks, voters, quorum, (2, 1, 0)[seed % 3])
        model = hdl_model.Model(hdl_model.build_model(core.verilog, TOP), payload.in_dtype(len(core.features)),
                                payload.out_dtype(len(networks), networks[0].sizes[-1]))
        inputs = np.zeros(rows, model.in_dtype)
        rng = np.random.default_rng(seed)
        for f, column in enumerate(core.features):
            for network in networks:  # near some network's range, so that answers differ
                reach, special = corners(network, column)
                part = rng.random(rows) < 1 / len(networks) if network is not networks[0] else np.ones(rows, bool)
                values = np.where(rng.random(rows) < 0.8, rng.integers(-reach, reach, rows, endpoint=True),
                                  rng.choice(np.array(special, np.int64), rows))
                inputs["features"][part, f] = values[part]
        inputs["ask"] = rng.integers(0, 256, rows)
        inputs["ask"][::3] = 255
        want = payload.expected(networks, voters, quorum, core.features, inputs)
        for stall_seed in (0, seed + 1):
            got, took = model.stream(inputs, stall_seed)
            wrong = np.flatnonzero(got != want)
            assert not len(wrong), f"set {seed}, row {wrong[0]}: core {got[wrong[0]]}, oracle {want[wrong[0]]}"
            total["vectors"] += rows
            total["cycles"] += took
        latency = model.latency_cycles(inputs[:1])
        assert latency == core.cycles, f"set {seed}: latency: found {latency} cycles, the formula says {core.cycles}"
        model.close()
        total["held"] += int((want["flags"] & payload.HELD != 0).sum())
        total["vetoed"] += int((want["flags"] & payload.VETOED != 0).sum())
    return total


def scalar_kernel(network: Network) -> Any:
    """The engine's policy on its scalar kernel."""
    from hotpath import _core
    from hotpath.policy.actions import action_map_hash

    layers = [(layer.weights, layer.bias, layer.shift, layer.relu) for layer in network.layers]
    return _core.Policy(network.feature_index, network.quant_m, network.quant_s, layers, schema_hash=bytes(32),
                        action_map_hash=bytes.fromhex(action_map_hash()), artifact_hash=bytes(32),
                        n_schema_features=int(network.feature_index.max()) + 1, n_actions=network.sizes[-1],
                        expected_schema_hash=bytes(32), kernel="scalar")


def coverage(network: Network, features: np.ndarray) -> dict[str, int]:
    """How often the corners were met: quantised values at -128, 127 and 0, hidden ones saturated, tied logits."""
    x = oracle.quantise(features[:, network.feature_index.astype(np.int64)], network.quant_m, network.quant_s)
    seen = {"lowest": int((x == -128).sum()), "highest": int((x == 127).sum()), "zero": int((x == 0).sum()), "hidden": 0}
    for layer in network.layers:
        acc = oracle.layer_sums(x, layer)
        if layer.shift is not None:
            x = oracle.requantise(acc, layer)
            seen["hidden"] += int(((x == 127) | (x == -128)).sum())
    ordered = np.sort(acc, axis=1)
    seen["ties"] = int((ordered[:, -1] == ordered[:, -2]).sum()) if ordered.shape[1] > 1 else 0
    return seen


def harness(name: str = "vectors") -> Path:
    """tests/hdl/vectors.cpp, or another of its kind, with the engine's policy room, compiled."""
    tc = cxx.Toolchain(build_dir=hdl_model.BUILD / "harness", verbose=False)
    patterns = (*HARNESS_SOURCES, f"tests/hdl/{name}.cpp")
    sources = [p for pattern in patterns for p in sorted(cxx.ROOT.glob(pattern)) if p.stem != "policy_set"]
    tc.link_flags = ["-ldl"]
    return tc.link(tc.compile(sources), tc.build_dir / name, shared=False)


def flood(b: Bench, vectors: int, seed: int) -> dict[str, Any]:
    """Core against scalar kernel in C++. Raises RuntimeError with the first row that differs."""
    case = b.library.with_name("case.bin")
    data = case_bytes(b.network)
    if not case.exists() or case.read_bytes() != data:
        case.write_bytes(data)
    done = subprocess.run([str(harness()), str(b.library), str(case), str(vectors), str(seed)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result
