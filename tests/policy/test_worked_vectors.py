"""The worked vectors of the format's description are true, for the oracle and for every kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hotpath import _core
from hotpath.policy import oracle
from hotpath.policy.actions import action_map_hash, canonical
from hotpath.policy.oracle import Layer

DOCS = Path(__file__).resolve().parents[2] / "docs"
KERNELS = _core.policy_kernels()


def worked(name: str) -> dict[str, Any]:
    for page in ("formats.md", "formats-policy.md"):
        text = (DOCS / page).read_text() if (DOCS / page).exists() else ""
        for block in re.findall(r"```json\n(.*?)```", text, re.S):
            if f'"worked": "{name}"' in block:
                return json.loads(block)
    raise AssertionError(f"no worked vectors for {name} in {DOCS}")


def core(index: list[int], m: list[int], s: list[int], layers: list[tuple], n_schema: int, kernel: str) -> Any:
    return _core.Policy(np.array(index, np.uint16), np.array(m, np.int16), np.array(s, np.uint8), layers,
                        schema_hash=bytes(32), action_map_hash=bytes.fromhex(action_map_hash()),
                        artifact_hash=bytes(32), n_schema_features=n_schema, n_actions=len(layers[-1][1]),
                        expected_schema_hash=bytes(32), kernel=kernel)


def test_the_quantiser_rows_are_what_the_oracle_gives() -> None:
    rows = worked("quantiser")["rows"]
    assert len(rows) > 10
    for f, m, s, q in rows:
        assert oracle.quantise(np.array([[f]]), np.array([m]), np.array([s])).tolist() == [[q]]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_quantiser_rows_are_what_each_kernel_gives(kernel: str) -> None:
    for f, m, s, q in worked("quantiser")["rows"]:
        policy = core([0], [m], [s], [(np.ones((1, 1), np.int8), np.zeros(1, np.int32), None, False)], 1, kernel)
        assert policy.infer(np.array([[f]], np.int32)).tolist() == [[q]]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_layer_rows_are_what_oracle_and_kernels_give(kernel: str, relu: bool) -> None:
    example = worked("layer")
    layer = Layer(np.array(example["weights"], np.int8), np.array(example["bias"], np.int32),
                  np.array(example["shift"], np.uint8), relu)
    hidden = (layer.weights, layer.bias, layer.shift, relu)
    logits = (np.eye(2, dtype=np.int8), np.zeros(2, np.int32), None, False)
    sums = (layer.weights, layer.bias, None, False)
    for row in example["rows"]:
        x = np.array([row["x"]], np.int32)
        acc = oracle.layer_sums(x, layer)
        assert acc.tolist() == [row["acc"]]
        expected = row["relu" if relu else "y"]
        assert oracle.requantise(acc, layer).tolist() == [expected]
        assert core([0, 1, 2], [1] * 3, [0] * 3, [sums], 3, kernel).infer(x).tolist() == [row["acc"]]
        assert core([0, 1, 2], [1] * 3, [0] * 3, [hidden, logits], 3, kernel).infer(x).tolist() == [expected]


def test_the_argmax_rows_are_true() -> None:
    for row in worked("argmax")["rows"]:
        assert int(oracle.argmax(np.array(row["logits"]))) == row["action"]


def test_the_consensus_rows_are_what_oracle_and_engine_give() -> None:
    from hotpath.policy import artifact

    example = worked("consensus")
    reference = artifact.make_reference(1)
    for row in example["rows"]:
        risk = row.get("risk")
        policies = _core.PolicySet()
        voters = []
        for slot, weight in enumerate(row["weights"]):
            policies.stage(slot, reference.to_core())
            assert policies.swap(slot)
            veto = frozenset(risk["veto"]) if risk and risk["slot"] == slot else frozenset()
            forced = risk["forced"] if veto else 0
            policies.set_slot(slot, weight, bool(veto), sum(1 << a for a in veto), forced)
            voters.append(oracle.Voter(weight, bool(veto), veto, forced))
        policies.set_quorum(row["quorum"])
        slow = oracle.consensus(row["answers"], voters, row["quorum"], example["actions"])
        fast = policies.consensus([-1 if a is None else a for a in row["answers"]])
        assert (list(slow.score), slow.action, slow.held) == (row["score"], row["action"], row["held"])
        assert (fast["score"], fast["action"], fast["held"]) == (row["score"], row["action"], row["held"])


def test_the_action_map_text_is_the_one_that_is_hashed() -> None:
    assert worked("action-map")["canonical"] == canonical() == _core.action_map_v1()
