"""Networks for the drivers' tests, and what the oracle answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hotpath.policy import oracle
from hotpath.policy.oracle import Network
from hotpath.policy.random_network import random_features, random_network


def network_of(seed: int, sizes: Sequence[int] = (6, 9, 4)) -> Network:
    """A random network of these widths whose inputs come in order."""
    made = random_network(np.random.default_rng(seed), sizes, sizes[0])
    return Network(np.arange(sizes[0], dtype=np.uint16), made.quant_m, made.quant_s, made.layers)


def inputs_of(seed: int, rows: int, width: int, kind: type = np.int32) -> np.ndarray:
    """Rows of features of all magnitudes, or of any int8."""
    rng = np.random.default_rng(seed)
    if kind is np.int8:
        return rng.integers(-128, 128, (rows, width), np.int8)
    return random_features(rng, rows, width)


def expected(network: Network, inputs: np.ndarray) -> np.ndarray:
    """Logits by the oracle: int8 inputs go in behind the quantiser."""
    if inputs.dtype == np.int8:
        n = len(network.quant_m)
        plain = Network(network.feature_index, np.ones(n, np.int16), np.zeros(n, np.uint8), network.layers)
        return oracle.infer(plain, inputs.astype(np.int32))
    return oracle.infer(network, inputs)
