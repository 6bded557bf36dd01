"""The recording of bench/native/virtual_time.cpp through hftbacktest: the same events, the same wake interval.

    python virtual_hftbacktest.py RECORDING SECONDS WAKE_NS

Run by bench/twins.py in the interpreter that has hftbacktest. Order by order (L3, first in first out), constant
latencies of 20 µs each way as the virtual run has, and a compiled strategy that wakes every WAKE_NS, keeps one quote a
side at the touch and moves it when the touch moves. Prints one JSON object: nanoseconds an event of the recording.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

LATENCY_NS = 20_000
WAKES = 5  # a stretch timed at once: 50 ms of virtual time, as ours
TICK = 0.0001
LOT = 1.0


def read(path: str) -> tuple[Any, int]:
    """(events as hftbacktest wants them, messages of the recording that move an order)."""
    from hftbacktest import (
        ADD_ORDER_EVENT,
        BUY_EVENT,
        CANCEL_ORDER_EVENT,
        EXCH_EVENT,
        FILL_EVENT,
        LOCAL_EVENT,
        MODIFY_ORDER_EVENT,  # fmt: skip
        SELL_EVENT,
    )
    from hftbacktest.types import event_dtype

    data = np.fromfile(path, np.uint8).tobytes()
    both = EXCH_EVENT | LOCAL_EVENT
    rows: list[tuple[int, int, int, float, float, int, int, float]] = []
    live: dict[int, list[Any]] = {}
    at = messages = 0

    def put(kind: int, ts: int, px: float, qty: float, ref: int) -> None:
        rows.append((kind | both, ts, ts + LATENCY_NS, px, qty, ref, 0, 0.0))

    while at + 2 <= len(data):
        n = int.from_bytes(data[at : at + 2], "big")
        m = data[at + 2 : at + 2 + n]
        at += 2 + n
        kind = chr(m[0])
        if kind not in "AFECXDU":
            continue
        messages += 1
        ts, ref = int.from_bytes(m[5:11], "big"), int.from_bytes(m[11:19], "big")
        if kind in "AF":
            side = BUY_EVENT if m[19:20] == b"B" else SELL_EVENT
            qty, px = int.from_bytes(m[20:24], "big"), int.from_bytes(m[32:36], "big") * TICK
            live[ref] = [side, qty, px]
            put(ADD_ORDER_EVENT | side, ts, px, qty, ref)
            continue
        order = live.get(ref)
        if order is None:
            continue
        side, qty, px = order
        gone = int.from_bytes(m[19:23], "big") if kind in "ECX" else qty
        if kind in "EC":
            put(FILL_EVENT | side, ts, px, gone, ref)
        if kind == "U" or gone >= qty:
            del live[ref]
            put(CANCEL_ORDER_EVENT | side, ts, px, 0, ref)
        else:
            order[1] = qty - gone
            put(MODIFY_ORDER_EVENT | side, ts, px, qty - gone, ref)
        if kind == "U":
            new = int.from_bytes(m[19:27], "big")
            qty, px = int.from_bytes(m[27:31], "big"), int.from_bytes(m[31:35], "big") * TICK
            live[new] = [side, qty, px]
            put(ADD_ORDER_EVENT | side, ts, px, qty, new)
    return np.array(rows, event_dtype), messages


def strategy() -> Any:
    """One quote a side at the touch, looked at every `wake`."""
    from hftbacktest import GTX, LIMIT
    from numba import njit

    @njit
    def trade(hbt: Any, wake: int, wakes: int, resting: Any, price: Any, counts: Any) -> bool:
        """`wakes` wakes more; False at the end of the data. `counts`: last order number, requests sent."""
        number, sent = counts[0], counts[1]
        for _ in range(wakes):
            if hbt.elapse(wake) != 0:
                return False
            depth = hbt.depth(0)
            best = (depth.best_bid_tick, depth.best_ask_tick)
            if best[0] <= 0 or best[1] <= 0 or best[0] >= best[1]:
                continue
            hbt.clear_inactive_orders(0)
            orders = hbt.orders(0)
            position = hbt.position(0)
            for s in range(2):
                order = orders.get(resting[s]) if resting[s] != 0 else None
                if order is None:
                    resting[s] = 0
                if resting[s] != 0:
                    if price[s] != best[s] and order.cancellable:
                        hbt.cancel(0, resting[s], False)
                        sent += 1
                    continue
                if (position if s == 0 else -position) > 900:
                    continue
                number += 1
                if s == 0:
                    hbt.submit_buy_order(0, number, best[0] * depth.tick_size, 100.0, GTX, LIMIT, False)
                else:
                    hbt.submit_sell_order(0, number, best[1] * depth.tick_size, 100.0, GTX, LIMIT, False)
                resting[s], price[s] = number, best[s]
                sent += 1
            counts[0], counts[1] = number, sent
        return True

    return trade


def main() -> int:
    """Compile, then run the whole recording again and again until the time is up."""
    import hftbacktest
    from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest, ROIVectorMarketDepthBacktest

    events, messages = read(sys.argv[1])
    seconds, wake = float(sys.argv[2]), int(sys.argv[3])
    trade = strategy()
    best, name = None, ""
    for build in (ROIVectorMarketDepthBacktest, HashMapMarketDepthBacktest):
        samples: list[float] = []
        sent = passes = 0
        end = time.perf_counter() + seconds / 2
        while passes < 2 or time.perf_counter() < end:  # the first pass compiles
            asset = (BacktestAsset().data(events).linear_asset(1.0).constant_order_latency(LATENCY_NS, LATENCY_NS)
                     .l3_fifo_queue_model().no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0)
                     .tick_size(TICK).lot_size(LOT).roi_lb(80.0).roi_ub(120.0).last_trades_capacity(0))  # fmt: skip
            hbt = build([asset])
            resting, price, counts = (np.zeros(2, np.int64) for _ in range(3))
            took_ns, more = [], True
            while more:
                start = time.perf_counter_ns()
                more = trade(hbt, wake, WAKES, resting, price, counts)
                took_ns.append(time.perf_counter_ns() - start)
            hbt.close()
            sent, passes = counts[1], passes + 1
            if passes > 1:  # messages come evenly: about as many in each stretch
                samples += [t * len(took_ns) / messages for t in took_ns[:-1]]
        samples.sort()
        figure = {"p50": samples[len(samples) // 2], "p99": samples[len(samples) * 99 // 100], "rate": 1e9 / (sum(samples) / len(samples)),
                  "orders": int(sent), "messages": messages}  # fmt: skip
        if best is None or figure["p50"] < best["p50"]:
            best, name = figure, build.__name__
    assert best is not None
    print(json.dumps({"twins": [{"name": f"hftbacktest {hftbacktest.__version__} ({name})", **best}], "skipped": []}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
