"""Artifacts: what is saved loads equal; whatever is wrong is refused with the reason, and nothing else ever happens."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as st_load
from safetensors.numpy import save as st_save

from hotpath.policy import artifact, oracle
from hotpath.policy.actions import ACTION_MAP_V1, action_map_hash, canonical
from hotpath.policy.artifact import ArtifactError
from hotpath.policy.random_network import random_network
from hotpath.signal import schema

PROVENANCE = {"data": ["0" * 64], "seed": 4, "versions": {"numpy": np.__version__}}
SHAPES = [[16, 32, 16, 5], [16, 16, 5], [1, 5], [64, 256, 5], [22, 4, 4, 4, 4, 4, 5]]


def made(sizes: list[int], seed: int = 0) -> artifact.Artifact:
    network = random_network(np.random.default_rng(seed), sizes, schema.COUNT)
    return artifact.make(network, name="test", provenance=PROVENANCE, seed=seed)


GOOD = artifact.dump(made([16, 32, 16, 5]))
GOOD_TENSORS = st_load(GOOD)
GOOD_META = json.loads(json.loads(GOOD[8:8 + int.from_bytes(GOOD[:8], "little")])["__metadata__"]["peregrine"])


def rebuilt(tensors: dict[str, np.ndarray] | None = None, meta: dict[str, Any] | None = None) -> bytes:
    return st_save(tensors if tensors is not None else GOOD_TENSORS,
                   {"peregrine": json.dumps(meta if meta is not None else GOOD_META)})


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_what_is_saved_loads_equal_and_verifies_on_every_kernel(sizes: list[int], tmp_path: Path) -> None:
    before = made(sizes)
    saved = artifact.save(before, tmp_path / "p.safetensors")
    loaded = artifact.load(tmp_path / "p.safetensors")
    assert loaded.sha256 == saved.sha256 == hashlib.sha256((tmp_path / "p.safetensors").read_bytes()).hexdigest()
    assert loaded.network.sizes == sizes and loaded.provenance == PROVENANCE
    for a, b in zip(loaded.network.layers, before.network.layers, strict=True):
        assert (a.weights == b.weights).all() and (a.bias == b.bias).all() and a.relu == b.relu
    report = artifact.verify(loaded)
    assert report["oracle"] and report["scalar"] and all(report.values())


def test_the_same_artifact_has_the_same_bytes() -> None:
    assert artifact.dump(made([16, 32, 16, 5])) == GOOD == artifact.dump(artifact.parse(GOOD))


def test_the_schema_and_action_map_hashes_are_the_compiled_engines() -> None:
    from hotpath import _core

    assert GOOD_META["schema_hash"] == _core.schema_hash()
    assert GOOD_META["action_map_hash"] == _core.action_map_v1_hash().hex()
    assert canonical() == _core.action_map_v1()


def meta_with(**changes: Any) -> Callable[[], bytes]:
    return lambda: rebuilt(meta={**GOOD_META, **changes})


def meta_without(key: str) -> Callable[[], bytes]:
    return lambda: rebuilt(meta={k: v for k, v in GOOD_META.items() if k != key})


def tensor_with(name: str, value: np.ndarray) -> Callable[[], bytes]:
    return lambda: rebuilt({**GOOD_TENSORS, name: value})


def tensor_set(name: str, at: Any, value: int) -> Callable[[], bytes]:
    def build() -> bytes:
        t = GOOD_TENSORS[name].copy()
        t[at] = value
        return rebuilt({**GOOD_TENSORS, name: t})
    return build


def tensor_without(name: str) -> Callable[[], bytes]:
    return lambda: rebuilt({k: v for k, v in GOOD_TENSORS.items() if k != name})


OTHER_MAP = {**ACTION_MAP_V1, "actions": ["hold", "join_ask", "join_bid", "take_ask", "take_bid"]}
OTHER_SCHEMA = schema.canonical(schema.FeatureParams((20, 27, 30)))
W0, B0, S0 = GOOD_TENSORS["w0"], GOOD_TENSORS["b0"], GOOD_TENSORS["s0"]

REFUSALS: list[tuple[Callable[[], bytes], str]] = [
    (lambda: b"", "not a safetensors file"),
    (lambda: GOOD[:-1], "not a safetensors file"),
    (lambda: GOOD + b"\0", "not a safetensors file"),
    (lambda: b"\x80\x04K*." * 100, "not a safetensors file"),
    (lambda: GOOD + bytes(16 << 20), "expected at most 16777216"),
    (lambda: st_save(GOOD_TENSORS), "metadata: found keys [], expected ['peregrine']"),
    (lambda: st_save(GOOD_TENSORS, {"peregrine": "{"}), "metadata: not JSON"),
    (lambda: st_save(GOOD_TENSORS, {"peregrine": "[" * 100_000}), "metadata: not JSON"),
    (lambda: st_save(GOOD_TENSORS, {"peregrine": "[]"}), "metadata: expected a JSON object"),
    (lambda: st_save(GOOD_TENSORS, {"peregrine": "{}", "more": ""}), "metadata: found keys ['more', 'peregrine']"),
    *((meta_without(key), f"metadata: missing {key}") for key in artifact.METADATA_KEYS),
    (meta_with(extra=1), "metadata: found unknown extra"),
    (meta_with(format="other"), "format: found 'other', expected 'peregrine.policy'"),
    (meta_with(version=2), "version: found 2, expected 1"),
    (meta_with(version=True), "version: found True, expected 1"),
    (meta_with(name=5), "name: found 5, expected text"),
    (meta_with(name="a\x1b[2J"), "expected printable text"),
    (meta_with(sizes=[16, 32, 16, 6]), "sizes: found [16, 32, 16, 6], expected [16, 32, 16, 5]"),
    (meta_with(sizes=[16, 32, 5], relu=[True, False]), "tensors: found unknown b2, s1, w2"),
    (meta_with(sizes=[16, 32, 16, 8, 5], relu=[False] * 4), "tensors: missing b3, s2, w3"),
    (meta_with(sizes=[16] * 8), "sizes: found"),
    (meta_with(sizes="16-5"), "sizes: found '16-5'"),
    (meta_with(relu=[True, False]), "relu: found [True, False], expected 3 booleans"),
    (meta_with(relu=[1, 0, 0]), "relu: found [1, 0, 0], expected 3 booleans"),
    (meta_with(relu=[True, True, True]), "relu[2]: found true on the last layer"),
    (meta_with(relu=[not r for r in GOOD_META["relu"][:2]] + [False]), "parity_logits"),
    (meta_with(schema="x"), "schema_hash: found"),
    (meta_with(schema_hash="0" * 64), "schema_hash: found 0000000000000000"),
    (meta_with(schema=OTHER_SCHEMA, schema_hash=hashlib.sha256(OTHER_SCHEMA.encode()).hexdigest()),
     "the policy was made for other features"),
    (meta_with(action_map=OTHER_MAP), "action_map_hash: found"),
    (meta_with(action_map=OTHER_MAP, action_map_hash=action_map_hash(OTHER_MAP)), "action_map: found"),
    (meta_with(action_map=[]), "action_map: expected an object"),
    (meta_with(action_map={**ACTION_MAP_V1, "actions": ["buy", "hold"]}), "action 0 is 'buy', expected 'hold'"),
    (meta_with(action_map={**ACTION_MAP_V1, "actions": ["hold"] * 5}), "expected 1..16 different ones"),
    (meta_with(provenance={"seed": 1}), "provenance: expected an object with at least data, seed, versions"),
    *((tensor_without(name), f"tensors: missing {name}") for name in sorted(GOOD_TENSORS)),
    (tensor_with("w9", W0), "tensors: found unknown w9"),
    (tensor_with("w0", W0.astype(np.int16)), "w0: found int16, expected int8"),
    (tensor_with("w0", W0.T.copy()), "w0: found shape [16, 32], expected [16, 16]"),
    (tensor_with("w0", W0[0].copy()), "w0: found 1 dimensions, expected 2"),
    (tensor_with("b0", B0.astype(np.int64)), "b0: found int64, expected int32"),
    (tensor_with("b0", B0[:-1].copy()), "b0: found shape [31], expected [32]"),
    (tensor_with("s0", S0[:-1].copy()), "s0: found shape [31], expected [32]"),
    (tensor_with("quant_m", GOOD_TENSORS["quant_m"][:-1].copy()), "quant_m: found shape [15], expected [16]"),
    (tensor_set("s0", 5, 0), "s0[5]: found 0, expected 1..24"),
    (tensor_set("s1", 2, 25), "s1[2]: found 25, expected 1..24"),
    (tensor_set("quant_s", 0, 47), "quant_s[0]: found 47, expected 0..46"),
    (tensor_set("feature_index", 1, 22), "feature_index[1]: found 22, expected 0..21"),
    (tensor_set("b2", 4, 1 << 24), "layer 2 channel 4: 128*sum|w| + |b| + rounding ="),
    (tensor_set("b1", 3, -(1 << 31)), "layer 1 channel 3: 128*sum|w| + |b| + rounding ="),
    (tensor_set("parity_logits", (9, 2), 12345), "parity_logits[9, 2]: not what the network gives (1 values differ)"),
    (tensor_with("parity_inputs", GOOD_TENSORS["parity_inputs"][:, :21].copy()), "parity_inputs: found shape [64, 21]"),
    (tensor_with("parity_inputs", GOOD_TENSORS["parity_inputs"][:3].copy()), "found 3 rows, expected at least 16"),
]


@pytest.mark.parametrize(("build", "message"), REFUSALS, ids=[f"{i}-{m[:40]}" for i, (_, m) in enumerate(REFUSALS)])
def test_a_bad_artifact_is_refused_with_the_reason(build: Callable[[], bytes], message: str) -> None:
    with pytest.raises(ArtifactError, match=re.escape(message)):
        artifact.parse(build(), where="x")


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nothing.safetensors: cannot be read: No such file"):
        artifact.load(tmp_path / "nothing.safetensors")


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
@settings(max_examples=400, deadline=None)
def test_a_changed_byte_is_refused_or_makes_another_version(at: int, flip: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= flip
    try:
        loaded = artifact.parse(bytes(data))
    except ArtifactError:
        return
    # Accepted only where it says something else that is sound as well (its provenance, say): then under another name.
    assert loaded.sha256 != artifact.parse(GOOD).sha256
    assert (oracle.infer(loaded.network, loaded.parity_inputs) == loaded.parity_logits).all()


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused_without_another_error(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        artifact.parse(data)


@given(st.dictionaries(st.sampled_from(artifact.METADATA_KEYS), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda v: st.lists(v, max_size=5) | st.dictionaries(st.text(max_size=3), v, max_size=3), max_leaves=6), max_size=2))
@settings(max_examples=100, deadline=None)
def test_any_metadata_is_refused_without_another_error(changes: dict[str, Any]) -> None:
    try:
        loaded = artifact.parse(rebuilt(meta={**GOOD_META, **changes}))
    except ArtifactError:
        return
    assert set(changes) <= {"name", "relu"} or all(GOOD_META[k] == v for k, v in changes.items()
                                                   if k not in ("name", "relu")), loaded


def test_the_reference_policy_takes_sides_with_the_book_and_fears_inventory() -> None:
    loaded = artifact.make_reference(1)
    assert loaded.sha256 == artifact.make_reference(1).sha256 != artifact.make_reference(2).sha256
    assert all(artifact.verify(loaded).values())
    assert loaded.network.sizes[0] == 16

    def action(**features: int) -> str:
        row = np.zeros(schema.COUNT, np.int32)
        for name, value in features.items():
            row[schema.INDEX[name]] = value
        return loaded.actions[int(oracle.argmax(oracle.infer(loaded.network, row)))]

    assert action() == "hold"
    assert action(imbalance_1=20_000) == "join_bid"
    assert action(imbalance_1=-20_000) == "join_ask"
    assert action(imbalance_1=30_000, ofi_fast=4_000, microprice_offset=6_000) == "take_ask"
    assert action(imbalance_1=-30_000, ofi_fast=-4_000, microprice_offset=-6_000) == "take_bid"
    assert action(imbalance_1=20_000, position=800) in ("hold", "join_ask")
