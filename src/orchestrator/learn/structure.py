"""From forecasts and a dozen tactical numbers to a network: 16 inputs, 32 units, 7 named quantities, 5 logits.

With z_h the forecasts in ticks, p the position in orders, s the spread in ticks, and own and other the working
quantity of the same and the opposite side in orders, each side's logits are (hold is 0; signs turned for selling)

    join = sum_h join_h z_h - join_position p + join_spread s - join_own own + join_other other + join_bias
    take = sum_h take_h z_h - take_position p + take_spread s + take_bias
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from hotpath.policy.oracle import Network
from hotpath.policy.quantise import FloatLayer, from_float
from orchestrator.learn.forecast import (
    INDICES,
    POSITION,
    SPREAD,
    WORKING_BUY,
    WORKING_SELL,
    Forecast,
    Scaling,
)

UNITS = 32
ACTIONS = 5


@dataclass(frozen=True)
class Tactics:
    """The searched numbers, in ticks (per tick, per order); `forecast` tuples follow the horizons."""

    join_forecast: tuple[float, ...]
    take_forecast: tuple[float, ...]
    join_position: float
    take_position: float
    join_spread: float
    take_spread: float
    join_own: float
    join_other: float
    join_bias: float
    take_bias: float

    def vector(self) -> np.ndarray:
        """All numbers in one row, in the order of the fields."""
        return np.concatenate([np.atleast_1d(getattr(self, f.name)) for f in fields(self)]).astype(np.float64)

    def replaced(self, vector: np.ndarray) -> Tactics:
        """The tactics that `vector` (as `vector()` gives it) stands for."""
        n = len(self.join_forecast)
        return Tactics(tuple(map(float, vector[:n])), tuple(map(float, vector[n : 2 * n])), *map(float, vector[2 * n :]))


def layers(forecast: Forecast, tactics: Tactics, scaling: Scaling, order_qty_lots: int) -> list[FloatLayer]:
    """The float network. Its middle quantities are z_h / reach_h, p / 4 (turned off beyond), s, own and other."""
    n_inputs, n = len(INDICES), len(forecast.horizons_ms)
    used = len(forecast.b0)
    w0, b0 = np.zeros((UNITS, n_inputs)), np.zeros(UNITS)
    w0[:used], b0[:used] = forecast.w0, forecast.b0
    w1 = np.zeros((n + 4, UNITS))
    w1[:n, :used] = forecast.w1
    for row, (column, sign) in enumerate([(POSITION, 1), (POSITION, -1), (SPREAD, 1), (WORKING_BUY, 1),
                                          (WORKING_SELL, 1)]):
        w0[used + row, column] = sign
    w1[n, used], w1[n, used + 1] = 1, -1
    w1[n + 1, used + 2] = w1[n + 2, used + 3] = w1[n + 3, used + 4] = 1

    # What one unit of each middle quantity is: x = feature * m / 2^s / 128.
    unit = 128 * 2.0 ** scaling.s.astype(np.float64) / np.maximum(scaling.m, 1)
    orders = unit[[POSITION, WORKING_BUY, WORKING_SELL]] / order_qty_lots
    t, reach = tactics, forecast.reach_ticks
    w2, b2 = np.zeros((ACTIONS, n + 4)), np.zeros(ACTIONS)
    for action, side in ((1, 1), (2, -1)):
        w2[action, :n] = side * np.array(t.join_forecast) * reach
        w2[action, n] = -side * t.join_position * orders[0]
        w2[action, n + 1] = t.join_spread * unit[SPREAD]
        own, other = (n + 2, n + 3) if side > 0 else (n + 3, n + 2)
        w2[action, own], w2[action, other] = -t.join_own * orders[1], t.join_other * orders[1]
        b2[action] = t.join_bias
    for action, side in ((3, 1), (4, -1)):
        w2[action, :n] = side * np.array(t.take_forecast) * reach
        w2[action, n] = -side * t.take_position * orders[0]
        w2[action, n + 1] = t.take_spread * unit[SPREAD]
        b2[action] = t.take_bias
    return [FloatLayer(w0, b0), FloatLayer(w1, np.zeros(n + 4), relu=False), FloatLayer(w2, b2)]


def network(forecast: Forecast, tactics: Tactics, scaling: Scaling, samples: np.ndarray,
            order_qty_lots: int) -> tuple[Network, float]:
    """The integer network, calibrated on samples int32[N, schema], and how often it argues as the float one does."""
    made, report = from_float(layers(forecast, tactics, scaling, order_qty_lots), INDICES, samples, m=scaling.m,
                              s=scaling.s)
    return made, report.argmax_agreement
