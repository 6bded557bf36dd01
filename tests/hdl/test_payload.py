"""The expected rows of a core against the oracle, one row at a time; and the tools that need no wheel."""

from __future__ import annotations

import numpy as np
import pytest

import hdl_cases
from hotpath.policy import oracle
from peregrine_hdl import payload


@pytest.mark.parametrize("seed", range(8))
def test_expected_rows_are_what_the_oracle_says_row_by_row(seed):
    networks, voters, quorum = hdl_cases.random_set(seed)
    columns = sorted({int(i) for n in networks for i in n.feature_index})
    rng = np.random.default_rng(seed)
    rows = np.zeros(100, payload.in_dtype(len(columns)))
    rows["features"] = rng.integers(-5000, 5000, rows["features"].shape)
    rows["ask"] = rng.integers(0, 256, 100)
    found = payload.expected(networks, voters, quorum, columns, rows)
    for row, out in zip(rows, found, strict=True):
        schema = np.zeros(max(columns) + 1, np.int32)
        schema[columns] = row["features"]
        logits = [oracle.infer(n, schema) for n in networks]
        answers = [int(oracle.argmax(x)) if int(row["ask"]) >> p & 1 else None for p, x in enumerate(logits)]
        decided = oracle.consensus(answers, voters, quorum, networks[0].sizes[-1])
        assert out["action"] == decided.action
        assert out["flags"] == decided.held * payload.HELD + decided.vetoed * payload.VETOED
        assert out["valid"] == sum(1 << p for p, a in enumerate(answers) if a is not None)
        assert (out["logits"] == np.array(logits)).all()


def test_the_benches_vectors_meet_every_corner():
    network = hdl_cases.bench_network([8, 16, 3], 1)
    seen = hdl_cases.coverage(network, hdl_cases.bench_features(network, 2000, 1))
    assert all(seen[name] > 20 for name in ("lowest", "highest", "zero", "hidden", "ties")), seen


def test_corner_values_lie_on_both_sides_of_each_threshold():
    network = hdl_cases.bench_network([8, 16, 3], 0)
    for k, feature in enumerate(network.feature_index):
        m, s = int(network.quant_m[k]), int(network.quant_s[k])
        if m == 0 or (129 << s) // abs(m) > hdl_cases.INT32_MAX:
            continue
        values = np.array(hdl_cases.corners(network, int(feature))[1], np.int64)
        raw = (values * m + ((1 << s) >> 1)) >> s
        if abs(m) < 1 << s:  # every value of q can be met
            assert {-128, -129, 127, 128} <= set(raw.tolist())
