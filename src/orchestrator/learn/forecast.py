"""Forecasts of the mid price: a small ReLU regression by numpy Adam, made symmetric between buying and selling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hotpath.policy import oracle, quantise
from hotpath.signal.schema import INDEX
from orchestrator.learn.episodes import ASK_TICKS, BID_TICKS, NOW_NS, Episode

#: The policy's inputs. All but the last three forecast; the last three are the engine's own state.
INPUTS: tuple[str, ...] = (
    "microprice_offset", "imbalance_1", "imbalance_5", "ofi_fast", "ofi_slow", "flow_fast", "flow_slow", "return_fast",
    "return_medium", "return_slow", "spread", "realised_volatility", "time_since_trade", "position", "working_buy",
    "working_sell",
)
SIGNED = 10  # so many of them change sign when buying and selling change places
MARKET = 13  # so many of them describe the market
POSITION, WORKING_BUY, WORKING_SELL = 13, 14, 15
SPREAD = 10
INDICES = [INDEX[name] for name in INPUTS]


@dataclass(frozen=True)
class Scaling:
    """The policy's input quantiser: m int16[16], s uint8[16]."""

    m: np.ndarray
    s: np.ndarray

    def apply(self, features: np.ndarray) -> np.ndarray:
        """float64[N, 16] = quantised / 128 of features int32[N, schema]."""
        return oracle.quantise(features[:, INDICES], self.m, self.s) / 128.0


@dataclass(frozen=True)
class Forecast:
    """`reach_ticks[h] * (relu(x @ w0.T + b0) @ w1.T)[h]` is the expected move of the mid over `horizons_ms[h]`."""

    horizons_ms: tuple[int, ...]
    w0: np.ndarray
    b0: np.ndarray
    w1: np.ndarray
    reach_ticks: np.ndarray
    correlation: tuple[float, ...]


def moves_ticks(episode: Episode, horizons_ms: tuple[int, ...]) -> np.ndarray:
    """float64[N, horizons]: the mid at the first decision `h` later, less the mid now; NaN past the end."""
    facts = episode.facts
    now_ns = facts[:, NOW_NS]
    mid_ticks = (facts[:, BID_TICKS] + facts[:, ASK_TICKS]) / 2
    out = np.full((len(facts), len(horizons_ms)), np.nan)
    for k, horizon_ms in enumerate(horizons_ms):
        later = np.searchsorted(now_ns, now_ns + horizon_ms * 1_000_000)
        inside = later < len(facts)
        out[inside, k] = mid_ticks[later[inside]] - mid_ticks[inside]
    return out


def scaling(features: np.ndarray, order_qty_lots: int) -> Scaling:
    """Quantiser calibrated on features int32[N, schema]; own quantities by the order size, not by what occurred."""
    picked = features[:, INDICES].copy()
    picked[:, POSITION] = 4 * order_qty_lots
    picked[:, [WORKING_BUY, WORKING_SELL]] = order_qty_lots
    return Scaling(*quantise.calibrate(picked))


def fit(x: np.ndarray, moves: np.ndarray, horizons_ms: tuple[int, ...], *, units: int, steps: int,
        rng: np.random.Generator, batch: int = 2048) -> Forecast:
    """Adam on mean squared error; x float[N, 16], moves float[N, H] in ticks. One in eight rows is left out to judge.

    Hidden units come in pairs with mirrored weights, so that the forecast changes sign with the market's sides.
    """
    scale = moves.std(0)
    y = np.clip(moves / scale, -4, 4)
    held = np.arange(len(x)) % 8 == 7  # overlapping windows: this judges roughly; the virtual P&L judges for real
    train = np.flatnonzero(~held)
    sign = np.ones(x.shape[1])
    sign[:SIGNED] = -1
    half = units // 2
    params = [rng.normal(0, 0.4, (half, MARKET)), rng.normal(0, 0.1, half), rng.normal(0, 0.1, (len(horizons_ms), half))]
    first = [np.zeros_like(p) for p in params]
    second = [np.zeros_like(p) for p in params]
    sign = sign[:MARKET]
    for step in range(1, steps + 1):
        rows = train[rng.integers(0, len(train), batch)]
        xb, yb = x[rows, :MARKET], y[rows]
        w0, b0, w1 = params
        up, down = xb @ w0.T + b0, (xb * sign) @ w0.T + b0
        hu, hd = np.maximum(up, 0), np.maximum(down, 0)
        error = (hu - hd) @ w1.T - yb
        gh = error @ w1 * (2 / batch)
        gu, gd = gh * (up > 0), -gh * (down > 0)
        grads = [gu.T @ xb + gd.T @ (xb * sign) + 1e-4 * w0, (gu + gd).sum(0), 2 / batch * error.T @ (hu - hd)]
        rate = 4e-3 * (0.5 * (1 + np.cos(np.pi * step / steps)) + 0.01)
        for p, g, m, v in zip(params, grads, first, second, strict=True):
            m += 0.1 * (g - m)
            v += 0.002 * (g * g - v)
            p -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.998**step)) + 1e-8)
    w0, b0, w1 = params
    w0_all = np.zeros((2 * half, x.shape[1]))
    w0_all[:half, :MARKET], w0_all[half:, :MARKET] = w0, w0 * sign
    b0_all, w1_all = np.concatenate([b0, b0]), np.concatenate([w1, -w1], 1)
    guess = np.maximum(x[held] @ w0_all.T + b0_all, 0) @ w1_all.T
    corr = tuple(float(np.corrcoef(guess[:, k], y[held, k])[0, 1]) for k in range(len(horizons_ms)))
    # Scaled so that nearly all forecasts lie within -1..1, which is what the next layer's int8 holds best.
    reach = np.percentile(np.abs(guess), 99.5, axis=0)
    return Forecast(horizons_ms, w0_all, b0_all, w1_all / reach[:, None], reach * scale, corr)
