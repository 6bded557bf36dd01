"""The core's payloads as numpy rows, and what the oracle says the outputs must be. No hardware library is needed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hotpath.policy import oracle
from hotpath.policy.oracle import Network, Voter

HELD, VETOED = 1, 2


def in_dtype(features: int) -> np.dtype[Any]:
    """One row of `i.payload`."""
    return np.dtype([("features", "<i4", (features,)), ("ask", "u1")])


def out_dtype(policies: int, actions: int) -> np.dtype[Any]:
    """One row of `o.payload`."""
    return np.dtype([("action", "u1"), ("flags", "u1"), ("valid", "u1"), ("zero", "u1"),
                     ("logits", "<i4", (policies, actions))])


def expected(networks: Sequence[Network], voters: Sequence[Voter], quorum_256: int, columns: Sequence[int],
             rows: np.ndarray) -> np.ndarray:
    """What a core of this set must answer to `rows`; columns are the schema features its inputs stand for."""
    count, actions = len(networks), networks[0].sizes[-1]
    schema = np.zeros((len(rows), max(columns) + 1), np.int32)
    schema[:, list(columns)] = rows["features"]
    out = np.zeros(len(rows), out_dtype(count, actions))
    for p, network in enumerate(networks):
        out["logits"][:, p] = oracle.infer(network, schema)
    out["valid"] = rows["ask"] & ((1 << count) - 1)
    answers = oracle.argmax(out["logits"])
    # few different cases, many rows: decide each case once
    cases, where = np.unique(np.column_stack([answers, out["valid"]]), axis=0, return_inverse=True)
    decided = np.zeros((len(cases), 2), np.uint8)
    for k, case in enumerate(cases):
        given = [int(case[p]) if case[-1] >> p & 1 else None for p in range(count)]
        c = oracle.consensus(given, voters, quorum_256, actions)
        decided[k] = c.action, (HELD if c.held else 0) | (VETOED if c.vetoed else 0)
    out["action"], out["flags"] = decided[where.ravel()].T
    return out
