"""The matching engine against the oracle on random streams, and its rules one by one."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.venue_matching import MARKET_PRICE, Oracle

from hotpath import _venue

STP = ["off", "cancel_resting", "cancel_incoming", "decrement_both"]


def new(**kwargs: Any) -> Any:
    return _venue.Matching(**{"symbols": 1, "max_orders": 4096, **kwargs})


def book(engine: Any, symbol: int = 0) -> list[tuple[Any, ...]]:
    return [(o["ref"], o["side"], o["price_ticks"], o["qty"], o["hidden"]) for side in "BS" for o in engine.orders(symbol, side)]


def oracle_book(oracle: Oracle, symbol: int = 0) -> list[tuple[Any, ...]]:
    return [(o.ref, o.side, o.price, o.qty, o.hidden) for side in "BS" for o in oracle.queue(symbol, side)]


class Pair:
    """Engine and oracle fed alike; every step compares results, events and (now and then) whole books."""

    def __init__(self, stp: str, symbols: int = 2) -> None:
        self.engine = new(symbols=symbols, stp=stp)
        self.oracle = Oracle(stp=stp)
        self.symbols = symbols
        self.handles: dict[int, int] = {}
        self.entered = 0
        self.removed = 0

    def step(self, op: tuple[Any, ...]) -> None:
        kind, *args = op
        if kind == "enter":
            (order,) = args
            self.entered += order["qty"]
            got, want = self.engine.enter(**order), self.oracle.enter(**order)
            handle = got.pop("handle")
            assert got == want, (order, got, want)
            assert (handle != 0) == (want["outcome"] == "rested")
            if handle:
                self.handles[want["ref"]] = handle
            self.removed += order["qty"] - want["filled"] - (want["left"] if handle else 0)
        elif kind == "cancel":
            ref = args[0]
            order = self.oracle.find(ref)
            self.removed += order.qty if order else 0
            assert self.engine.cancel(self.handles.get(ref, 0)) == self.oracle.cancel(ref)
        elif kind == "reduce":
            ref, qty = args
            removed = self.oracle.reduce(ref, qty)
            self.removed += removed
            assert self.engine.reduce(self.handles.get(ref, 0), qty) == removed
        got_events = self.engine.take_events()
        want_events, self.oracle.events = self.oracle.events, []
        assert len(got_events) == len(want_events)
        for g, w in zip(got_events, want_events, strict=True):
            assert {k: g[k] for k in w} == w
            if w["kind"] == "prevented":
                self.removed += w["resting_decrement"]

    def compare(self) -> None:
        self.engine.check()
        for symbol in range(self.symbols):
            assert book(self.engine, symbol) == oracle_book(self.oracle, symbol)


def random_op(rng: random.Random, pair: Pair) -> tuple[Any, ...]:
    live = [o.ref for o in pair.oracle.orders]
    roll = rng.random()
    if live and roll < 0.25:
        return ("cancel", rng.choice([*live, rng.randrange(1, pair.oracle.next_ref + 1)]))
    if live and roll < 0.32:
        return ("reduce", rng.choice(live), rng.randrange(1, 60))
    tif = rng.choice(["day"] * 4 + ["ioc"])
    qty = rng.randrange(1, 100)
    return ("enter", {
        "symbol": rng.randrange(pair.symbols), "side": rng.choice("BS"), "qty": qty, "tif": tif,
        "price_ticks": MARKET_PRICE if rng.random() < 0.03 else 10_000 + 100 * rng.randrange(-6, 7),
        "hidden": rng.random() < 0.2, "post_only": tif == "day" and rng.random() < 0.15,
        "min_qty": rng.choice([0, qty, rng.randrange(1, qty + 1)]) if tif == "ioc" else 0,
        "owner": rng.randrange(4), "stp_group": rng.randrange(3), "tag": rng.randrange(1000),
    })  # fmt: skip


@pytest.mark.parametrize("stp", STP)
@pytest.mark.parametrize("seed", range(4))
def test_random_streams_give_the_fills_and_books_of_the_oracle(stp, seed):
    rng = random.Random(f"{stp}-{seed}")
    pair = Pair(stp)
    for i in range(1200):
        pair.step(random_op(rng, pair))
        if i % 40 == 0:
            pair.compare()
    pair.compare()
    traded = sum(pair.engine.traded_qty(s) for s in range(pair.symbols))
    resting = sum(o.qty for o in pair.oracle.orders)
    assert traded > 1000
    # Quantity is conserved: what was entered has traded (on both sides), rests, or was taken away.
    assert pair.entered == 2 * traded + resting + pair.removed


orders = st.fixed_dictionaries({
    "side": st.sampled_from("BS"), "price_ticks": st.sampled_from([9_900, 10_000, 10_100, MARKET_PRICE]),
    "qty": st.integers(1, 20), "tif": st.sampled_from(["day", "ioc"]), "hidden": st.booleans(), "stp_group": st.integers(0, 1),
})  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(stp=st.sampled_from(STP), ops=st.lists(st.one_of(st.tuples(st.just("enter"), orders), st.tuples(st.just("cancel"), st.integers(1, 12)),
                                                        st.tuples(st.just("reduce"), st.integers(1, 12), st.integers(1, 20))), max_size=25))
def test_small_streams_give_the_fills_and_books_of_the_oracle(stp, ops):
    pair = Pair(stp, symbols=1)
    for op in ops:
        pair.step(op)
        pair.compare()


@pytest.mark.parametrize("seed", range(6))
def test_a_collected_book_uncrosses_as_the_oracle_does(seed):
    rng = random.Random(seed)
    engine, oracle = new(), Oracle(modes={0: "collect"})
    engine.set_mode(0, "collect")
    for _ in range(60):
        order = {"side": rng.choice("BS"), "price_ticks": 10_000 + 100 * rng.randrange(-5, 6), "qty": rng.randrange(1, 50),
                 "hidden": rng.random() < 0.2}
        engine.enter(**order)
        oracle.enter(**order)
    assert engine.take_events() == []
    assert engine.cross(0, 10_000) == oracle.cross(0, 10_000)
    got = engine.take_events()
    assert len(got) == len(oracle.events) > 0
    for g, w in zip(got, oracle.events, strict=True):
        assert {k: g[k] for k in w} == w
    engine.set_mode(0, "continuous")
    engine.check()
    assert book(engine) == oracle_book(oracle)


def test_orders_of_one_price_trade_first_come_first_served():
    m = new()
    first = m.enter(side="S", price_ticks=100, qty=10)
    second = m.enter(side="S", price_ticks=100, qty=10)
    m.enter(side="B", price_ticks=100, qty=15)
    fills = m.take_events()
    assert [(f["maker_ref"], f["qty"]) for f in fills] == [(first["ref"], 10), (second["ref"], 5)]


def test_a_displayed_order_trades_before_an_older_hidden_one_at_its_price():
    m = new()
    hidden = m.enter(side="S", price_ticks=100, qty=10, hidden=True)
    shown = m.enter(side="S", price_ticks=100, qty=10)
    m.enter(side="B", price_ticks=100, qty=15)
    assert [(f["maker_ref"], f["qty"]) for f in m.take_events()] == [(shown["ref"], 10), (hidden["ref"], 5)]


def test_a_better_hidden_price_trades_before_a_displayed_one():
    m = new()
    m.enter(side="S", price_ticks=101, qty=10)
    hidden = m.enter(side="S", price_ticks=100, qty=10, hidden=True)
    m.enter(side="B", price_ticks=101, qty=5)
    assert [(f["maker_ref"], f["price_ticks"]) for f in m.take_events()] == [(hidden["ref"], 100)]


def test_a_partial_cancel_keeps_its_place_in_the_queue():
    m = new()
    first = m.enter(side="S", price_ticks=100, qty=10)
    m.enter(side="S", price_ticks=100, qty=10)
    assert m.reduce(first["handle"], 4) == 4
    m.enter(side="B", price_ticks=100, qty=6)
    assert [(f["maker_ref"], f["qty"]) for f in m.take_events()] == [(first["ref"], 6)]


def test_fill_or_kill_trades_all_or_nothing_over_several_levels():
    m = new()
    m.enter(side="S", price_ticks=100, qty=10)
    m.enter(side="S", price_ticks=101, qty=10)
    killed = m.enter(side="B", price_ticks=101, qty=21, min_qty=21, tif="ioc")
    assert (killed["outcome"], killed["filled"]) == ("min_qty_missed", 0)
    filled = m.enter(side="B", price_ticks=101, qty=20, min_qty=20, tif="ioc")
    assert (filled["outcome"], filled["filled"]) == ("filled", 20)


def test_a_handle_of_a_dead_order_never_names_the_order_that_took_its_slot():
    m = new()
    old = m.enter(side="S", price_ticks=100, qty=10)["handle"]
    assert m.cancel(old)
    new_one = m.enter(side="S", price_ticks=100, qty=10)["handle"]
    assert new_one & 0xFFFFFFFF == old & 0xFFFFFFFF and new_one != old
    assert not m.cancel(old) and m.reduce(old, 5) == 0
    assert m.live_orders() == 1


def test_a_full_pool_refuses_and_leaves_no_trace():
    m = new(max_orders=2)
    m.enter(side="S", price_ticks=100, qty=10)
    m.enter(side="S", price_ticks=101, qty=10)
    before = m.state_hash()
    assert m.enter(side="S", price_ticks=102, qty=10)["outcome"] == "full"
    assert m.enter(side="B", price_ticks=100, qty=10)["outcome"] == "full"
    assert m.state_hash() == before
    assert m.enter(side="B", price_ticks=100, qty=10, tif="ioc")["outcome"] == "filled"


def test_a_side_takes_no_more_levels_than_its_bound():
    m = new(max_levels_per_side=2)
    for price in (100, 101):
        assert m.enter(side="S", price_ticks=price, qty=1)["outcome"] == "rested"
    assert m.enter(side="S", price_ticks=102, qty=1)["outcome"] == "full"


@pytest.mark.parametrize("bad", [{"qty": 0}, {"price_ticks": 0}, {"symbol": 9}, {"min_qty": 11, "tif": "ioc"}])
def test_an_order_out_of_range_is_refused(bad):
    assert new().enter(**{"side": "B", "price_ticks": 100, "qty": 10, **bad})["outcome"] == "bad_spec"
