"""Random networks of any shape the format allows, and rows of features that visit the corners: for tests and benches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hotpath.policy.oracle import ACCUMULATOR_BOUND, Layer, Network

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


def random_network(rng: np.random.Generator, sizes: Sequence[int], n_schema: int) -> Network:
    """A network of widths `sizes` (inputs, hidden…, actions) that uses the whole allowed ranges.

    Weights reach -128 and 127, biases the accumulator bound, shifts 1..24 (mostly such that values neither vanish
    nor saturate), quantiser shifts 0..46.
    """
    n = sizes[0]
    index = rng.integers(0, n_schema, n).astype(np.uint16)
    m = rng.integers(-(1 << 15), 1 << 15, n).astype(np.int16)
    typical = np.log2(np.abs(m.astype(np.int64)) + 1).astype(np.int64) + rng.integers(2, 22, n)
    s = np.where(rng.random(n) < 0.8, np.clip(typical, 0, 46), rng.integers(0, 47, n)).astype(np.uint8)
    layers = [_random_layer(rng, a, b, k == len(sizes) - 2)
              for k, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))]
    return Network(index, m, s, tuple(layers))


def random_features(rng: np.random.Generator, rows: int, n_schema: int) -> np.ndarray:
    """int32[rows, n_schema] of all magnitudes, a tenth of them corners (0, +-1, the ends of int32)."""
    values = rng.integers(INT32_MIN, INT32_MAX, (rows, n_schema), np.int64, endpoint=True)
    values >>= rng.integers(0, 32, values.shape)
    corners = rng.choice(np.array([0, 1, -1, INT32_MIN, INT32_MAX]), values.shape)
    return np.where(rng.random(values.shape) < 0.1, corners, values).astype(np.int32)


def _random_layer(rng: np.random.Generator, inputs: int, outputs: int, last: bool) -> Layer:
    kind = rng.integers(0, 4)
    if kind == 0:  # corners only
        w = rng.choice(np.array([-128, 127, 0, 1, -1]), (outputs, inputs))
    elif kind == 1:  # sparse
        w = rng.integers(-128, 128, (outputs, inputs)) * (rng.random((outputs, inputs)) < 0.1)
    else:
        w = rng.integers(-128, 128, (outputs, inputs)) >> rng.integers(0, 5)
    magnitude = 128 * np.abs(w.astype(np.int64)).sum(axis=1)
    shift = None
    half = np.zeros(outputs, np.int64)
    if not last:
        typical = np.log2(np.sqrt(magnitude + 1) / 4 + 2).astype(np.int64) + rng.integers(-2, 3, outputs)
        shift = np.where(rng.random(outputs) < 0.1, rng.integers(1, 25, outputs), np.clip(typical, 1, 23))
        half = np.int64(1) << (shift - 1)
    room = np.maximum(ACCUMULATOR_BOUND - 1 - magnitude - half, 0)
    small = np.minimum((4 * np.sqrt(magnitude)).astype(np.int64), room)  # of the size of a typical sum
    reach = np.where(rng.random(outputs) < 0.9, small, room)
    bias = rng.integers(-reach, reach, endpoint=True)
    return Layer(w.astype(np.int8), bias.astype(np.int32), None if shift is None else shift.astype(np.uint8),
                 relu=bool(not last and rng.random() < 0.6))
