"""Integer policies in numpy: the arithmetic every kernel (C++, RTL, PyTorch) must reproduce bit for bit.

    quantise   q = sat8((int64(f) * m + (1 << (s-1) if s > 0 else 0)) >> s)
    layer      acc = sum w*x + bias;  y = sat8((acc + (1 << (s-1))) >> s), then max(y, 0) with relu
    last       logits = acc (int32)
    argmax     lowest index on ties
    consensus  score[a] = sum_p w_p * [argmax_p = a]; hold unless score[best] * 256 >= quorum * sum w

Shifts are arithmetic (towards minus infinity), so adding half before shifting rounds halves up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_INPUTS = 64
MAX_LAYERS = 6
MAX_OUTPUTS = 256
MAX_ACTIONS = 16
MAX_POLICIES = 8
ACCUMULATOR_BOUND = 1 << 24


@dataclass(frozen=True)
class Layer:
    """weights int8[outputs, inputs], bias int32[outputs], shift uint8[outputs] (None in the last layer)."""

    weights: np.ndarray
    bias: np.ndarray
    shift: np.ndarray | None
    relu: bool = False

    @property
    def inputs(self) -> int:
        """Width of what the layer takes."""
        return int(self.weights.shape[1])

    @property
    def outputs(self) -> int:
        """Width of what the layer gives."""
        return int(self.weights.shape[0])


@dataclass(frozen=True)
class Network:
    """Quantiser (feature_index uint16[n], quant_m int16[n], quant_s uint8[n]) and layers, first to last."""

    feature_index: np.ndarray
    quant_m: np.ndarray
    quant_s: np.ndarray
    layers: tuple[Layer, ...]

    @property
    def sizes(self) -> list[int]:
        """Widths from the input to the logits, e.g. [16, 32, 16, 5]."""
        return [len(self.feature_index), *(layer.outputs for layer in self.layers)]


def sat8(v: np.ndarray) -> np.ndarray:
    """Clamp to -128..127, as int64."""
    return np.clip(v, -128, 127)


def quantise(features: np.ndarray, m: np.ndarray, s: np.ndarray) -> np.ndarray:
    """int8 values as int64[N, n] of features int32[N, n]."""
    shift = s.astype(np.int64)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    return sat8((features.astype(np.int64) * m.astype(np.int64) + half) >> shift)


def layer_sums(x: np.ndarray, layer: Layer) -> np.ndarray:
    """acc = x @ w.T + bias as int64[N, outputs].

    Computed in float64, where it is exact: every partial sum is an integer below 2^24 (the load-time bound).
    """
    products = x.astype(np.float64) @ layer.weights.T.astype(np.float64)
    return products.astype(np.int64) + layer.bias.astype(np.int64)


def requantise(acc: np.ndarray, layer: Layer) -> np.ndarray:
    """y of a hidden layer from its sums."""
    assert layer.shift is not None
    shift = layer.shift.astype(np.int64)
    y = sat8((acc + (np.int64(1) << (shift - 1))) >> shift)
    return np.maximum(y, 0) if layer.relu else y


def infer(network: Network, features: np.ndarray) -> np.ndarray:
    """Logits int32[N, actions] of features int32[N, schema features] (one row: shape [schema features])."""
    rows = np.atleast_2d(features)
    x = quantise(rows[:, network.feature_index.astype(np.int64)], network.quant_m, network.quant_s)
    for layer in network.layers:
        acc = layer_sums(x, layer)
        if layer.shift is None:
            out = acc.astype(np.int32)
            return out if features.ndim == 2 else out[0]
        x = requantise(acc, layer)
    raise ValueError("the last layer has shifts: it gives no logits")


def argmax(logits: np.ndarray) -> np.ndarray:
    """Index of the largest, the lowest on ties (numpy's own rule)."""
    return np.argmax(logits, axis=-1)


@dataclass(frozen=True)
class Voter:
    """One policy's part in a set; a risk policy forces `forced_action` when its argmax is in `veto_actions`."""

    weight: int = 1
    risk: bool = False
    veto_actions: frozenset[int] = frozenset()
    forced_action: int = 0


@dataclass(frozen=True)
class Consensus:
    """What a set decided."""

    action: int
    held: bool
    vetoed: bool
    score: tuple[int, ...]


def consensus(answers: Sequence[int | None], voters: Sequence[Voter], quorum_256: int, n_actions: int) -> Consensus:
    """Decide over `answers` (argmax a policy, None = no valid answer) in slot order."""
    score = [0] * n_actions
    total = 0
    for answer, voter in zip(answers, voters, strict=True):
        if answer is not None:
            score[answer] += voter.weight
            total += voter.weight
    if all(a is None for a in answers):
        return Consensus(0, True, False, tuple(score))
    for answer, voter in zip(answers, voters, strict=True):
        if answer is not None and voter.risk and answer in voter.veto_actions:
            return Consensus(voter.forced_action, False, True, tuple(score))
    best = score.index(max(score))
    held = score[best] * 256 < quorum_256 * total
    return Consensus(0 if held else best, held, False, tuple(score))
