"""From a float MLP to the integer artifact: power-of-two scales, calibrated on feature samples. numpy only.

A float network here takes `x = q / 128` (q the int8 quantised features), and each layer is `w @ x + b`, ReLU where
asked, logits last. Every activation is kept as an int8 `y ~ value * 2^e` with one exponent a layer, every weight
row as an int8 `w * 2^k` with one exponent a channel; so `acc ~ value * 2^(k + e_in)` and the shift is
`s = k + e_in - e_out`. All logits share one exponent, because argmax compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hotpath.policy import oracle
from hotpath.policy.oracle import ACCUMULATOR_BOUND, Layer, Network

INPUT_EXPONENT = 7  # x = q / 2^7


@dataclass(frozen=True)
class FloatLayer:
    """weights float[outputs, inputs], bias float[outputs]."""

    weights: np.ndarray
    bias: np.ndarray
    relu: bool = True


@dataclass(frozen=True)
class QuantisationReport:
    """How near the integer network is to the float one on the samples it was calibrated with."""

    samples: int
    argmax_agreement: float
    max_logit_error: float
    activation_exponents: tuple[int, ...]
    logit_exponent: int


def calibrate(samples: np.ndarray, percentile: float = 99.5) -> tuple[np.ndarray, np.ndarray]:
    """(m int16[F], s uint8[F]) such that the `percentile` of |feature| lands at 127.

    samples: int32[N, F]. m is as large as int16 allows (finest scale), s at most 46; a feature that is always 0 gets
    m = 0. Raises ValueError on no samples.
    """
    rows = np.abs(np.asarray(samples, np.float64))
    if rows.ndim != 2 or len(rows) == 0:
        raise ValueError(f"samples: found shape {rows.shape}, expected [N >= 1, features]")
    m = np.zeros(rows.shape[1], np.int16)
    s = np.zeros(rows.shape[1], np.uint8)
    for f in range(rows.shape[1]):
        reach = float(np.percentile(rows[:, f], percentile)) or float(rows[:, f].max())
        if reach <= 0:
            continue
        scale = 127.0 / reach
        shift = int(np.clip(np.floor(np.log2(32767.0 / scale)), 0, 46))
        m[f], s[f] = int(np.clip(round(scale * 2.0**shift), 1, 32767)), shift
    return m, s


def from_float(layers: Sequence[FloatLayer], feature_index: Sequence[int], samples: np.ndarray, *,
               m: np.ndarray | None = None, s: np.ndarray | None = None,
               percentile: float = 99.9) -> tuple[Network, QuantisationReport]:
    """Integer network of float `layers`, calibrated on samples int32[N, schema features].

    m and s are the input quantiser the floats were trained behind (default: `calibrate` on the samples).
    Raises ValueError when a layer cannot be expressed (a channel whose weights are all tiny or huge beside the rest).
    """
    index = np.asarray(feature_index, np.uint16)
    picked = np.asarray(samples)[:, index.astype(np.int64)]
    if m is None or s is None:
        m, s = calibrate(picked)
    q = oracle.quantise(picked, m, s)
    x = q / 2.0**INPUT_EXPONENT
    e_in = INPUT_EXPONENT
    done: list[Layer] = []
    exponents: list[int] = []
    logit_exponent = 0
    for number, layer in enumerate(layers):
        last = number == len(layers) - 1
        value = x @ layer.weights.T + layer.bias
        if last:
            integer, logit_exponent = _last_layer(layer, e_in)
        else:
            reach = float(np.percentile(np.abs(value), percentile)) or 1.0
            integer, e_in = _hidden_layer(layer, e_in, int(np.floor(np.log2(127.0 / reach))), number)
            exponents.append(e_in)
        done.append(integer)
        x = np.maximum(value, 0) if layer.relu and not last else value
    network = Network(index, m.astype(np.int16), s.astype(np.uint8), tuple(done))
    logits = oracle.infer(network, np.asarray(samples, np.int32))
    report = QuantisationReport(
        samples=len(x), argmax_agreement=float((logits.argmax(1) == x.argmax(1)).mean()),
        max_logit_error=float(np.abs(logits / 2.0**logit_exponent - x).max()),
        activation_exponents=tuple(exponents), logit_exponent=logit_exponent)
    return network, report


def float_infer(layers: Sequence[FloatLayer], network: Network, samples: np.ndarray) -> np.ndarray:
    """Float logits [N, actions] behind the integer input quantiser of `network`."""
    x = oracle.quantise(samples[:, network.feature_index.astype(np.int64)], network.quant_m, network.quant_s)
    value = x / 2.0**INPUT_EXPONENT
    for number, layer in enumerate(layers):
        value = value @ layer.weights.T + layer.bias
        if layer.relu and number < len(layers) - 1:
            value = np.maximum(value, 0)
    return value


def _integers(weights: np.ndarray, bias: np.ndarray, k: int, e_in: int) -> tuple[np.ndarray, np.ndarray]:
    w = np.clip(np.floor(weights * 2.0**k + 0.5), -128, 127).astype(np.int64)
    b = np.floor(bias * 2.0 ** (k + e_in) + 0.5)
    return w, b.astype(np.int64)


def _fits(weights: np.ndarray, bias: np.ndarray, k: int, e_in: int, shift: int) -> bool:
    if np.abs(weights * 2.0**k).max(initial=0.0) > 127.49 or np.abs(bias * 2.0 ** (k + e_in)).max() >= 2**24:
        return False
    w, b = _integers(weights, bias, k, e_in)
    half = 1 << (shift - 1) if shift > 0 else 0
    return bool((128 * np.abs(w).sum(axis=-1) + np.abs(b) + half < ACCUMULATOR_BOUND).all())


def _hidden_layer(layer: FloatLayer, e_in: int, e_out: int, number: int) -> tuple[Layer, int]:
    outputs = len(layer.bias)
    largest = np.empty(outputs, np.int64)  # per channel, the finest weight exponent that fits
    for c in range(outputs):
        w, b = layer.weights[c : c + 1], layer.bias[c : c + 1]
        largest[c] = next((k for k in range(24, -25, -1) if _fits(w, b, k, e_in, 1)), -25)
        if largest[c] == -25:
            raise ValueError(f"layer {number} channel {c}: weights or bias too large to express")
    e_out = int(min(e_out, (largest + e_in - 1).min()))  # so that every shift is at least 1
    w_int = np.zeros(layer.weights.shape, np.int8)
    b_int = np.zeros(outputs, np.int32)
    shift = np.zeros(outputs, np.uint8)
    for c in range(outputs):
        w, b = layer.weights[c : c + 1], layer.bias[c : c + 1]
        for k in range(int(min(largest[c], 24 - e_in + e_out)), -25, -1):
            s = k + e_in - e_out
            if s < 1:
                raise ValueError(f"layer {number} channel {c}: no shift in 1..24 expresses it")
            if _fits(w, b, k, e_in, s):
                w_row, b_row = _integers(w, b, k, e_in)
                w_int[c], b_int[c], shift[c] = w_row[0], b_row[0], s
                break
    return Layer(w_int, b_int, shift, layer.relu), e_out


def _last_layer(layer: FloatLayer, e_in: int) -> tuple[Layer, int]:
    for k in range(24, -25, -1):
        if _fits(layer.weights, layer.bias, k, e_in, 0):
            w, b = _integers(layer.weights, layer.bias, k, e_in)
            return Layer(w.astype(np.int8), b.astype(np.int32), None), k + e_in
    raise ValueError("last layer: weights or bias too large to express")
