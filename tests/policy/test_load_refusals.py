"""The C++ loader refuses what breaks a rule, and says what, where and what was expected."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from hotpath import _core
from hotpath.policy.actions import action_map_hash
from hotpath.policy.random_network import random_network

GOOD_MAP = bytes.fromhex(action_map_hash())


def spec(**changes: Any) -> dict[str, Any]:
    network = random_network(np.random.default_rng(1), [16, 32, 16, 5], 22)
    out: dict[str, Any] = {
        "feature_index": network.feature_index, "quant_m": network.quant_m, "quant_s": network.quant_s,
        "layers": [[layer.weights, layer.bias, layer.shift, layer.relu] for layer in network.layers],
        "schema_hash": bytes(32), "action_map_hash": GOOD_MAP, "artifact_hash": bytes(32), "n_schema_features": 22,
        "n_actions": 5, "expected_schema_hash": bytes(32), "kernel": "",
    }
    out.update(changes)
    return out


def load(s: dict[str, Any]) -> Any:
    s = dict(s)
    layers = [tuple(layer) for layer in s.pop("layers")]
    return _core.Policy(s.pop("feature_index"), s.pop("quant_m"), s.pop("quant_s"), layers, **s)


def changed(s: dict[str, Any], key: str, at: Any, value: Any) -> dict[str, Any]:
    s[key] = s[key].copy()
    s[key][at] = value
    return s


def layer_changed(k: int, part: int, at: Any, value: Any) -> dict[str, Any]:
    s = spec()
    s["layers"][k][part] = s["layers"][k][part].copy()
    s["layers"][k][part][at] = value
    return s


def layer_replaced(k: int, part: int, value: Any) -> dict[str, Any]:
    s = spec()
    s["layers"][k][part] = value
    return s


def test_a_good_policy_loads() -> None:
    assert load(spec()).loaded


REFUSALS: list[tuple[str, Any, str]] = [
    ("schema", lambda: spec(schema_hash=b"\1" * 32), "schema hash: found 0101010101010101..., expected 0000"),
    ("action map", lambda: spec(action_map_hash=bytes(32)), "action-map hash: found 0000000000000000..., expected "),
    ("feature index", lambda: changed(spec(), "feature_index", 3, 22), "feature_index[3]: found 22, expected below 22"),
    ("quantiser shift", lambda: changed(spec(), "quant_s", 7, 47), "quant_s[7]: found 47, expected 0..46"),
    ("no layers", lambda: spec(layers=[]), "layers: found 0, expected 1..6"),
    ("seven layers", lambda: spec(layers=spec()["layers"] * 2 + spec()["layers"][:1]), "layers: found 7, expected 1..6"),
    ("width", lambda: spec(layers=spec()["layers"][1:]), "layer 0 inputs: found 32, expected 16"),
    ("actions", lambda: spec(n_actions=4), "(last) outputs: found 5, expected 4 actions"),
    ("low shift", lambda: layer_changed(1, 2, 4, 0), "layer 1 shift[4]: found 0, expected 1..24"),
    ("high shift", lambda: layer_changed(0, 2, 31, 25), "layer 0 shift[31]: found 25, expected 1..24"),
    ("bias bound", lambda: layer_changed(2, 1, 1, 1 << 24), "layer 2 channel 1: 128*sum|w| + |b| + rounding = "),
    ("lowest bias", lambda: layer_changed(2, 1, 0, -(1 << 31)), "layer 2 channel 0: 128*sum|w| + |b| + rounding = "),
    ("missing shift", lambda: layer_replaced(0, 2, None), "layer 0: found no shifts, expected one a channel"),
    ("shift on the last", lambda: layer_replaced(2, 2, np.ones(5, np.uint8)), "found shifts, expected none"),
    ("relu on the last", lambda: layer_replaced(2, 3, True), "found relu, expected none"),
    ("wide layer", lambda: spec(layers=[[np.zeros((257, 16), np.int8), np.zeros(257, np.int32),
                                         np.ones(257, np.uint8), False], *spec()["layers"][1:]]),
     "layer 0 outputs: found 257, expected 1..256"),
    ("dtype", lambda: layer_replaced(0, 0, np.zeros((32, 16), np.float32)), "layer 0 weights: wrong dtype"),
    ("bias length", lambda: layer_replaced(0, 1, np.zeros(31, np.int32)), "layer 0 bias: length differs"),
    ("kernel", lambda: spec(kernel="mmx"), "kernel: found 'mmx', expected one of scalar"),
    ("inputs", lambda: spec(feature_index=np.zeros(65, np.uint16), quant_m=np.zeros(65, np.int16),
                            quant_s=np.zeros(65, np.uint8)), "inputs: found 65, expected 1..64"),
    ("no inputs", lambda: spec(feature_index=np.zeros(0, np.uint16), quant_m=np.zeros(0, np.int16),
                               quant_s=np.zeros(0, np.uint8)), "inputs: found 0, expected 1..64"),
]


@pytest.mark.parametrize(("make", "message"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS])
def test_a_broken_rule_is_refused_with_its_place(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load(make())


def test_the_bound_counts_rounding_to_the_last_unit() -> None:
    def with_bias(bias: int) -> dict[str, Any]:
        hidden = [np.full((1, 16), -128, np.int8), np.array([bias], np.int32), np.array([20], np.uint8), True]
        last = [np.zeros((5, 1), np.int8), np.zeros(5, np.int32), None, False]
        return spec(layers=[hidden, last])

    most = (1 << 24) - 1 - 128 * 128 * 16 - (1 << 19)
    assert load(with_bias(most)).loaded
    assert load(with_bias(-most)).loaded
    for bias in (most + 1, -most - 1):
        with pytest.raises(ValueError, match="= 16777216, expected below 2\\^24"):
            load(with_bias(bias))
