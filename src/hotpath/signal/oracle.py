"""The features again, slowly and obviously: Python integers over the whole list of events.

Nothing here is incremental: each call of `compute` walks all events of the instrument. `tests/signal` holds the C++
engine equal to this, bit for bit. The formulas are those of `hotpath.signal.schema`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from hotpath.signal.schema import BUCKETS, COUNT, INDEX, FeatureParams

LOTS_CAP = 1 << 40
BUCKET_CAP = 1 << 59
MID_STEP_CAP = 1 << 20

ADD, EXECUTE, EXECUTE_AT, REDUCE, DELETE, REPLACE, TRADE = 1, 2, 3, 4, 5, 6, 7
QUOTE_KINDS = (ADD, REDUCE, DELETE, REPLACE)
BUY, SELL = 0, 1
NON_PRINTABLE, SNAPSHOT = 1, 2


@dataclass(frozen=True)
class Top:
    """Best bid and ask after an event; lots 0 = that side is empty."""

    bid_ticks: int = 0
    bid_lots: int = 0
    ask_ticks: int = 0
    ask_lots: int = 0


@dataclass(frozen=True)
class Book:
    """The best five levels of each side as (price_ticks, lots), best first."""

    bids: Sequence[tuple[int, int]] = ()
    asks: Sequence[tuple[int, int]] = ()

    def as_array(self) -> np.ndarray:
        """int64[4, 5] as `hotpath._core.FeatureEngine.compute` takes it."""
        out = np.zeros((4, 5), np.int64)
        for row, levels in ((0, self.bids), (2, self.asks)):
            for i, (price, lots) in enumerate(levels[:5]):
                out[row, i], out[row + 1, i] = price, lots
        return out


@dataclass(frozen=True)
class Own:
    """What the shard has in the market; a queue position of -1 = none."""

    position_lots: int = 0
    working_buy_lots: int = 0
    working_sell_lots: int = 0
    queue_ahead_bid_lots: int = -1
    queue_ahead_ask_lots: int = -1

    def as_array(self) -> np.ndarray:
        """int64[5] as `hotpath._core.FeatureEngine.compute` takes it."""
        return np.array([self.position_lots, self.working_buy_lots, self.working_sell_lots,
                         self.queue_ahead_bid_lots, self.queue_ahead_ask_lots], np.int64)


@dataclass(frozen=True)
class _Step:
    """What one event brought: its time and its share of every sum."""

    ts_ns: int
    ofi: int
    flow: int
    variance: int
    quotes: int
    trades: int
    mid2: int  # after the event


def clamp(value: int, low: int, high: int) -> int:
    """`value` kept within [low, high]."""
    return max(low, min(high, value))


def sat32(value: int) -> int:
    """Saturate to int32."""
    return clamp(value, -(1 << 31), (1 << 31) - 1)


def lg_q8(x: int) -> int:
    """Binary logarithm in Q8, linear between powers of two (Mitchell 1962); x >= 1."""
    k = x.bit_length() - 1
    return 256 * k + (x * 256 // (1 << k)) - 256


def ofi_step(was: Top, now: Top) -> int:
    """Order-flow imbalance of one change of the top (Cont, Kukanov, Stoikov 2014), in lots."""
    b0 = was.bid_ticks if was.bid_lots > 0 else float("-inf")
    b1 = now.bid_ticks if now.bid_lots > 0 else float("-inf")
    a0 = was.ask_ticks if was.ask_lots > 0 else float("inf")
    a1 = now.ask_ticks if now.ask_lots > 0 else float("inf")
    return ((now.bid_lots if b1 >= b0 else 0) - (was.bid_lots if b1 <= b0 else 0)
            - (now.ask_lots if a1 <= a0 else 0) + (was.ask_lots if a1 >= a0 else 0))


class FeatureOracle:
    """Features of one instrument from the full history of its events."""

    def __init__(self, params: FeatureParams | None = None) -> None:
        self.params = params or FeatureParams()
        self.steps: list[_Step] = []
        self.top: Top | None = None
        self.mid2 = 0
        self.last_ns = 0

    def on_event(self, ts_rx_ns: int, kind: int, side: int, flags: int, price_ticks: int, qty_lots: int,
                 top: Top) -> None:
        """One event and the top of the book after it."""
        top = Top(top.bid_ticks, clamp(top.bid_lots, 0, LOTS_CAP), top.ask_ticks, clamp(top.ask_lots, 0, LOTS_CAP))
        was = top if self.top is None else self.top
        now = ts_rx_ns if self.top is None else max(self.last_ns, ts_rx_ns)
        mid2 = top.bid_ticks + top.ask_ticks if top.bid_lots > 0 and top.ask_lots > 0 else self.mid2
        ofi = flow = variance = quotes = trades = 0
        if not flags & SNAPSHOT:
            ofi = ofi_step(was, top)
            if self.mid2:
                variance = clamp(mid2 - self.mid2, -MID_STEP_CAP, MID_STEP_CAP) ** 2
            quotes = int(kind in QUOTE_KINDS)
            executed = kind in (EXECUTE, EXECUTE_AT) and not flags & NON_PRINTABLE
            if executed or kind == TRADE:
                trades = 1
                if executed:
                    direction = 1 if side == SELL else -1
                elif self.mid2 == 0:
                    direction = 0
                else:
                    direction = (2 * price_ticks > self.mid2) - (2 * price_ticks < self.mid2)
                flow = direction * clamp(qty_lots, 0, LOTS_CAP)
        self.steps.append(_Step(now, ofi, flow, variance, quotes, trades, mid2))
        self.top, self.mid2, self.last_ns = top, mid2, now

    def compute(self, now_ns: int, book: Book, own: Own) -> np.ndarray:
        """int32[COUNT], in schema order."""
        if self.top is not None:
            self.last_ns = max(self.last_ns, now_ns)
        now = self.last_ns
        fast, medium, slow = self.params.bucket_shifts
        bid_lots = [clamp(q, 0, LOTS_CAP) for _, q in book.bids[:5]]
        ask_lots = [clamp(q, 0, LOTS_CAP) for _, q in book.asks[:5]]
        best_bid, best_ask = (bid_lots or [0])[0], (ask_lots or [0])[0]
        two_sided = best_bid > 0 and best_ask > 0
        spread = book.asks[0][0] - book.bids[0][0] if two_sided else 0
        micro = spread * (best_bid - best_ask) * 128 // (best_bid + best_ask) if two_sided else 0
        volatility = isqrt(self._sum("variance", now, slow))
        trade_times = [s.ts_ns for s in self.steps if s.trades]
        values = {
            "microprice_offset": micro,
            "spread": spread,
            "imbalance_1": _imbalance(best_bid, best_ask),
            "imbalance_5": _imbalance(sum(bid_lots), sum(ask_lots)),
            "ofi_fast": self._sum("ofi", now, medium),
            "ofi_slow": self._sum("ofi", now, slow),
            "flow_fast": self._sum("flow", now, medium),
            "flow_slow": self._sum("flow", now, slow),
            "return_fast": self._return(now, fast),
            "return_medium": self._return(now, medium),
            "return_slow": self._return(now, slow),
            "realised_volatility": (volatility << 24) // self.mid2 if self.mid2 > 0 else 0,
            "quote_rate": lg_q8(1 + self._sum("quotes", now, medium)),
            "trade_rate": lg_q8(1 + self._sum("trades", now, medium)),
            "queue_ahead_bid": _queue(own.queue_ahead_bid_lots, best_bid),
            "queue_ahead_ask": _queue(own.queue_ahead_ask_lots, best_ask),
            "position": own.position_lots,
            "working_buy": own.working_buy_lots,
            "working_sell": own.working_sell_lots,
            "time_since_trade": lg_q8(1 + now - trade_times[-1]) if trade_times else 63 * 256,
            "depth_1": lg_q8(1 + best_bid + best_ask),
            "user_signal": 0,
        }
        out = np.zeros(COUNT, np.int32)
        for name, value in values.items():
            out[INDEX[name]] = sat32(value)
        return out

    def _sum(self, field: str, now: int, shift: int) -> int:
        newest = now >> shift
        buckets: dict[int, int] = {}
        for step in self.steps:
            number = step.ts_ns >> shift
            if newest - BUCKETS < number <= newest:
                buckets[number] = clamp(buckets.get(number, 0) + getattr(step, field), -BUCKET_CAP, BUCKET_CAP)
        return sum(buckets.values())

    def _return(self, now: int, shift: int) -> int:
        oldest = (now >> shift) - (BUCKETS - 1)
        then = 0
        for step in self.steps:
            if step.ts_ns >> shift < oldest:
                then = step.mid2
        return ((self.mid2 - then) << 24) // then if self.mid2 > 0 and then > 0 else 0


def _imbalance(bid: int, ask: int) -> int:
    return ((bid - ask) << 15) // (bid + ask) if bid + ask else 0


def _queue(ahead: int, best: int) -> int:
    if ahead < 0:
        return -32768
    if best == 0:
        return 32768 if ahead > 0 else 0
    return min(32768, (min(ahead, LOTS_CAP) << 15) // best)


def features_of(events: Iterable[tuple[int, int, int, int, int, int, Top]], now_ns: int, book: Book, own: Own,
                params: FeatureParams | None = None) -> np.ndarray:
    """Features after `events` (arguments of `FeatureOracle.on_event`), in one call."""
    oracle = FeatureOracle(params)
    for event in events:
        oracle.on_event(*event)
    return oracle.compute(now_ns, book, own)
