"""Features over a real session: the engine reading a Market equals the oracle fed with what that Market shows."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import read_recording

from hotpath import _core
from hotpath.signal import schema
from hotpath.signal.oracle import Book, FeatureOracle, Own, Top

MIDNIGHT_NS = 1_580_360_400_000_000_000  # 2020-01-30 00:00 US/Eastern


@pytest.mark.parametrize("shifts", [(24, 27, 30), (28, 31, 34)])
def test_features_of_a_recorded_opening_equal_the_oracle(shifts: tuple[int, int, int]) -> None:
    messages = _core.market.split_blocks(read_recording("itch/aapl_20200130_first6000.itch"))[0]
    market = _core.market.Market(midnight_ns=MIDNIGHT_NS)
    engine = _core.FeatureEngine(64, list(shifts))
    slow: dict[int, FeatureOracle] = {}
    rows = []
    for n, message in enumerate(messages):
        market.on_message(message, n + 1, MIDNIGHT_NS + int.from_bytes(message[5:11], "big"))
        event = market.event
        if event.instrument >= market.instruments:
            continue
        ix = event.instrument
        engine.on_market_event(event, market)
        bid, bid_lots, _, ask, ask_lots, _ = market.top(ix)
        oracle = slow.setdefault(ix, FeatureOracle(schema.FeatureParams(shifts)))
        oracle.on_event(event.ts_rx_ns, event.kind, event.side, event.flags, event.price_ticks, event.qty_lots,
                        Top(bid, bid_lots, ask, ask_lots))
        if n % 149 == 0:
            book = Book([(p, q) for p, q, _ in market.levels(ix, "B", 5)],
                        [(p, q) for p, q, _ in market.levels(ix, "S", 5)])
            own = Own(n % 7 - 3, n, 2 * n, n % 400, -1)
            fast = engine.compute_market(ix, event.ts_rx_ns, market, own.as_array())
            expected = oracle.compute(event.ts_rx_ns, book, own)
            wrong = [f"{schema.NAMES[i]}: {fast[i]} != {expected[i]}" for i in np.flatnonzero(fast != expected)]
            assert not wrong, f"message {n}: {wrong}"
            rows.append(fast)
    assert len(rows) > 30
    moving = [name for i, name in enumerate(schema.NAMES) if len(np.unique(np.array(rows)[:, i])) > 3]
    assert {"imbalance_1", "imbalance_5", "ofi_slow", "quote_rate", "depth_1", "spread"} <= set(moving), moving
