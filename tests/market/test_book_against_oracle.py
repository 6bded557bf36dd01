"""The C++ market equals the slow Python one after every single message."""

from __future__ import annotations

import random

import pytest
from oracles.market_book import OracleMarket
from oracles.market_streams import SYMBOLS, stream
from recordings import read_recording

from hotpath._core import market as mk


def assert_equal(fast: mk.Market, slow: OracleMarket, symbol: str, where: str) -> None:
    ix = fast.find(symbol)
    stock = slow.stocks[symbol]
    for side in "BS":
        assert fast.levels(ix, side, 10) == slow.levels(symbol, side, 10), f"{symbol} {side} {where}"
    best = [(slow.levels(symbol, side, 1) or [(0, 0, 0)])[0] for side in "BS"]
    assert fast.top(ix) == (*best[0], *best[1]), f"{symbol} top {where}"
    assert fast.volume(ix) == stock.volume, where
    assert fast.last_trade_ticks(ix) == stock.last_trade, where
    assert fast.last_execution_ticks(ix) == stock.last_execution, where
    assert fast.sound(ix) == stock.sound, where
    assert fast.trading_state(ix) == ("H" if stock.halted_by_venue else stock.state), where
    assert fast.short_sale_restricted(ix) == (stock.reg_sho != "0"), where


@pytest.mark.parametrize("seed", range(12))
def test_random_streams_give_the_same_book_at_every_message(seed: int) -> None:
    prices = (3, 40, 400)[seed % 3]
    fast, slow = mk.Market(max_orders=4096, max_levels=2048), OracleMarket()
    own: set[int] = set()
    rng = random.Random(seed)
    for n, msg in enumerate(stream(seed, 1500, nasty=(0.0, 0.05, 0.4)[seed % 3], prices=prices)):
        where = f"seed {seed}, message {n}: {msg.hex()}"
        assert fast.on_message(msg) == slow.on_message(msg), where
        assert fast.live_orders == len(slow.orders), where
        assert fast.market_open == slow.market_open, where
        for symbol in slow.stocks:
            assert_equal(fast, slow, symbol, where)
        if slow.orders and rng.random() < 0.05:  # follow some orders as if they were ours, also before they appear
            ref = rng.choice([*slow.orders, *(r + 4 for r in slow.orders)])
            assert fast.track_own(ref)
            own.add(ref)
        for ref in own:
            assert fast.queue_ahead_lots(ref) == slow.ahead(ref), where
        if n % 50 == 0:
            fast.check()
    assert set(slow.stocks) >= set(SYMBOLS.values())
    for symbol in slow.stocks:  # every level, every order in its place
        for side in "BS":
            for price, queue in slow.stocks[symbol].side(side).items():
                assert fast.queue(fast.find(symbol), side, price) == [(o.ref, o.shares) for o in queue]


@pytest.mark.parametrize("name", ["itch/aapl_20200130_first6000.itch",
                                  "itch/lobster_aapl_20120621_0930_1000.itch.zst",
                                  "itch/nasdaq_20191230_first1000.itch"])
def test_recordings_give_the_same_book_at_every_message(name: str) -> None:
    messages, _, end = mk.split_blocks(read_recording(name))
    assert end == "end"
    fast, slow = mk.Market(max_instruments=2048, max_orders=1 << 14), OracleMarket()
    for n, msg in enumerate(messages):
        outcome = slow.on_message(msg)
        assert fast.on_message(msg) == outcome, f"message {n}"
        assert outcome in ("applied", "ignored")
        if "AAPL" in slow.stocks and msg[0] not in b"RHYL":
            assert_equal(fast, slow, "AAPL", f"message {n}")
    assert fast.live_orders == len(slow.orders)
    fast.check()


def test_the_whole_buffer_at_once_equals_one_message_at_a_time() -> None:
    messages = stream(99, 4000, nasty=0.1)
    messages = [m for m in messages if m]  # a zero length ends a file
    buffer = b"".join(len(m).to_bytes(2, "big") + m for m in messages)
    one, bulk = mk.Market(), mk.Market()
    for i, m in enumerate(messages):
        one.on_message(m, i + 1)
    assert bulk.apply(buffer) == (len(messages), len(buffer), "end")
    assert one.state_hash() == bulk.state_hash()
    assert one.stats() == bulk.stats()


def test_the_state_hash_sees_queue_order() -> None:
    def build(refs: list[int]) -> int:
        m = mk.Market()
        m.add_instrument("AAA")
        for ref in refs:
            m.on_message(mk.encode({"type": "A", "locate": 1, "ref": ref, "side": "B", "shares": 10, "stock": "AAA",
                                    "price_ticks": 100}))
        return m.state_hash()

    assert build([1, 2]) != build([2, 1])
    assert build([1, 2]) == build([1, 2])
