"""A hand-made policy with a little seeded noise: leans with order flow, against inventory; not meant to earn."""

from __future__ import annotations

import numpy as np

from hotpath.policy.oracle import Layer, Network
from hotpath.signal.schema import INDEX

# Input features in order, each with the quantiser's right shift (m = 64): int8 units of a useful size.
_INPUTS: tuple[tuple[str, int], ...] = (
    ("microprice_offset", 12), ("spread", 9), ("imbalance_1", 14), ("imbalance_5", 14), ("ofi_fast", 11),
    ("ofi_slow", 13), ("flow_fast", 10), ("flow_slow", 12), ("return_fast", 12), ("return_medium", 12),
    ("return_slow", 13), ("realised_volatility", 13), ("trade_rate", 12), ("position", 9), ("working_buy", 9),
    ("working_sell", 9),
)
_SIGNED = ("microprice_offset", "imbalance_1", "imbalance_5", "ofi_fast", "flow_fast", "return_fast", "position")
_LEAN = {"microprice_offset": 10, "imbalance_1": 14, "imbalance_5": 6, "ofi_fast": 10, "flow_fast": 8,
         "return_fast": 4, "position": -24}


def reference_network(seed: int = 1) -> Network:
    """16-16-5: hidden units are the positive and negative parts of the signed inputs, logits are leanings.

    `seed` adds -1..1 to the used output weights, so that different seeds make policies that sometimes disagree.
    """
    rng = np.random.default_rng(seed)
    names = [name for name, _ in _INPUTS]
    n = len(names)
    w0 = np.zeros((16, n), np.int8)
    lean = np.zeros(16, np.int64)
    for k, name in enumerate(_SIGNED):
        w0[2 * k, names.index(name)] = 64
        w0[2 * k + 1, names.index(name)] = -64
        lean[2 * k], lean[2 * k + 1] = _LEAN[name], -_LEAN[name]
    w0[14, names.index("working_buy")] = 64
    w0[15, names.index("working_sell")] = 64

    w1 = np.zeros((5, 16), np.int64)
    w1[1], w1[2], w1[3], w1[4] = lean, -lean, 2 * lean, -2 * lean
    w1[1, 14], w1[2, 15] = -40, -40  # what already works is not doubled
    w1[3, 14], w1[4, 15] = -60, -60
    w1 += np.where(w1 != 0, rng.integers(-1, 2, w1.shape), 0)
    bias = np.array([600, 0, 0, -3200, -3200], np.int32)  # crossing the spread needs a strong lean
    return Network(
        np.array([INDEX[name] for name in names], np.uint16),
        np.full(n, 64, np.int16),
        np.array([s for _, s in _INPUTS], np.uint8),
        (Layer(w0, np.zeros(16, np.int32), np.full(16, 6, np.uint8), relu=True),
         Layer(w1.astype(np.int8), bias, None)),
    )
