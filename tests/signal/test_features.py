"""The C++ feature engine against the slow oracle, bit for bit, over random event streams."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath import _core
from hotpath.signal import oracle, schema
from hotpath.signal.oracle import Book, FeatureOracle, Own, Top

NO_EVENT_KINDS = (0, 8, 9, 10, 11, 14)


class RandomBook:
    """A five-level book that walks at random, now and then one-sided, empty, locked or far away."""

    def __init__(self, rng: random.Random, extreme: bool = False) -> None:
        self.rng = rng
        self.mid = rng.choice([1_000, 1_000_000, 50_000_000])
        self.extreme = extreme
        self.bids: list[tuple[int, int]] = []
        self.asks: list[tuple[int, int]] = []

    def lots(self) -> int:
        top = 1 << self.rng.choice([3, 10, 20, 45 if self.extreme else 20])
        return self.rng.randint(1, top)

    def step(self) -> None:
        jump = 3_000_000 if self.extreme and self.rng.random() < 0.02 else 200
        self.mid = max(600, self.mid + self.rng.randint(-jump, jump) * (self.rng.random() < 0.4))
        half = self.rng.randint(0, 300)
        bid, ask = self.mid - half, self.mid + half
        self.bids = [(bid - 100 * i, self.lots()) for i in range(self.rng.randint(1, 5))]
        self.asks = [(ask + 100 * i, self.lots()) for i in range(self.rng.randint(1, 5))]
        if self.rng.random() < 0.08:
            self.bids = []
        if self.rng.random() < 0.08:
            self.asks = []

    def top(self) -> Top:
        bid = self.bids[0] if self.bids else (0, 0)
        ask = self.asks[0] if self.asks else (0, 0)
        return Top(bid[0], bid[1], ask[0], ask[1])

    def book(self) -> Book:
        return Book(tuple(self.bids), tuple(self.asks))


def random_own(rng: random.Random) -> Own:
    big = 1 << rng.choice([4, 12, 40, 62])
    return Own(rng.randint(-big, big), rng.randint(0, big), rng.randint(0, big),
               rng.choice([-1, 0, rng.randint(0, big)]), rng.choice([-1, 0, rng.randint(0, big)]))


def feed(engine: _core.FeatureEngine, instrument: int, event: tuple) -> None:
    ts, kind, side, flags, price, qty, top = event
    engine.on_event(instrument, ts, kind, side, flags, price, qty,
                    (top.bid_ticks, top.bid_lots, top.ask_ticks, top.ask_lots))


def check_stream(seed: int, events: int, shifts: tuple[int, int, int], extreme: bool = False) -> np.ndarray:
    rng = random.Random(seed)
    book = RandomBook(rng, extreme)
    engine = _core.FeatureEngine(2, list(shifts))
    slow = FeatureOracle(schema.FeatureParams(shifts))
    now = 1_700_000_000_000_000_000 + rng.randint(0, 10**9)
    seen = []
    for n in range(events):
        now += rng.choice([0, rng.randint(0, 1 << 20), rng.randint(0, 1 << shifts[0]), rng.randint(0, 1 << shifts[1]),
                           rng.randint(0, 1 << (shifts[2] + 1)), -rng.randint(0, 1 << 22)])
        if rng.random() < 0.8:
            book.step()
        kind = rng.choice([1, 2, 3, 4, 5, 6, 7, 7, rng.choice(NO_EVENT_KINDS)])
        flags = rng.choice([0, 0, 0, 0, oracle.NON_PRINTABLE, oracle.SNAPSHOT])
        price = book.mid + rng.randint(-2, 2)
        event = (now, kind, rng.randint(0, 1), flags, price, book.lots(), book.top())
        feed(engine, 1, event)
        slow.on_event(*event)
        if rng.random() < 0.5:
            at = now + rng.choice([0, rng.randint(0, 1 << shifts[1])])
            own = random_own(rng)
            view = book.book()
            fast = engine.compute(1, at, view.as_array(), own.as_array())
            expected = slow.compute(at, view, own)
            wrong = [f"{schema.NAMES[i]}: {fast[i]} != {expected[i]}" for i in np.flatnonzero(fast != expected)]
            assert not wrong, f"seed {seed}, event {n}: {wrong}"
            seen.append(fast)
    return np.array(seen)


@pytest.mark.parametrize("seed", range(24))
def test_the_engine_equals_the_oracle_over_random_streams(seed: int) -> None:
    shifts = [(24, 27, 30), (10, 11, 12), (16, 22, 40)][seed % 3]
    seen = check_stream(seed, 250, shifts, extreme=seed % 2 == 1)
    assert len(seen) > 50


def test_the_random_streams_move_every_feature_but_the_users_own() -> None:
    seen = np.concatenate([check_stream(1000 + s, 150, (24, 27, 30), extreme=True) for s in range(4)])
    still = [name for i, name in enumerate(schema.NAMES) if len(np.unique(seen[:, i])) < 5]
    assert still == ["user_signal"]


@given(seed=st.integers(0, 2**32), shift=st.integers(10, 34))
@settings(max_examples=25, deadline=None)
def test_the_engine_equals_the_oracle_at_any_window(seed: int, shift: int) -> None:
    check_stream(seed, 40, (shift, min(40, shift + 2), min(40, shift + 5)))


def test_an_instrument_without_events_has_quiet_features() -> None:
    engine = _core.FeatureEngine(1)
    slow = FeatureOracle()
    out = engine.compute(0, 10**18, Book().as_array(), Own().as_array())
    assert (out == slow.compute(10**18, Book(), Own())).all()
    assert out[schema.INDEX["time_since_trade"]] == 16128
    assert out[schema.INDEX["queue_ahead_bid"]] == -32768


def test_values_worked_by_hand() -> None:
    engine = _core.FeatureEngine(1)
    at = 1 << 60
    book = Book([(100_00, 300)], [(101_00, 100)])
    feed(engine, 0, (at, oracle.ADD, 0, 0, 100_00, 300, Top(100_00, 300, 101_00, 100)))
    feed(engine, 0, (at + 5, oracle.EXECUTE, oracle.SELL, 0, 101_00, 40, Top(100_00, 300, 101_00, 60)))
    book = Book([(100_00, 300)], [(101_00, 60)])
    out = dict(zip(schema.NAMES, engine.compute(0, at + 1004, book.as_array(), Own(7, 100, 0, 150, -1).as_array()),
                   strict=True))
    assert out["spread"] == 100
    assert out["microprice_offset"] == 100 * 240 * 128 // 360  # a third of a half-spread above the mid, in 1/256 ticks
    assert out["imbalance_1"] == 240 * 32768 // 360
    assert out["ofi_fast"] == 40  # 40 lots gone from the ask: + buying pressure (-60 + 100)
    assert out["flow_fast"] == 40  # a resting sell was hit: the buyer was the aggressor
    assert out["quote_rate"] == 256 and out["trade_rate"] == 256  # lg(1 + 1) = one octave
    assert out["queue_ahead_bid"] == 16384  # half of the level stands before us
    assert out["queue_ahead_ask"] == -32768
    assert out["position"] == 7 and out["working_buy"] == 100
    assert out["time_since_trade"] == oracle.lg_q8(1000)


def test_a_window_forgets_exactly_what_left_it() -> None:
    engine = _core.FeatureEngine(1)
    slow = FeatureOracle()
    at = 1 << 60
    top = Top(100, 10, 102, 10)
    for event in [(at, oracle.ADD, 0, 0, 100, 10, top), (at, oracle.EXECUTE, 1, 0, 102, 5, top)]:
        feed(engine, 0, event)
        slow.on_event(*event)
    book = Book([(100, 10)], [(102, 10)])
    width = 1 << 27
    for after, expected in ((8 * width - 1, 5), (8 * width, 0)):
        out = engine.compute(0, at + after, book.as_array(), Own().as_array())
        assert out[schema.INDEX["flow_fast"]] == expected
        assert (out == slow.compute(at + after, book, Own())).all()


def test_huge_quantities_and_prices_saturate_instead_of_wrapping() -> None:
    engine = _core.FeatureEngine(1)
    slow = FeatureOracle()
    at = 1 << 60
    huge = 1 << 62
    book = Book([(100, huge)], [(102, huge)])
    for i in range(40):
        mid = 10**9 if i % 2 else 5 * 10**9
        event = (at + i, oracle.TRADE, 0, 0, mid + 5, huge, Top(mid, huge, mid + 2, huge))
        feed(engine, 0, event)
        slow.on_event(*event)
    own = Own(huge, huge, huge, huge, huge)
    out = engine.compute(0, at + 50, book.as_array(), own.as_array())
    assert (out == slow.compute(at + 50, book, own)).all()
    assert out[schema.INDEX["position"]] == 2**31 - 1
    assert out[schema.INDEX["flow_slow"]] == -(2**31)  # one sell more than buys, each 2^40 lots as read


def test_a_bucket_stops_at_its_cap() -> None:
    engine = _core.FeatureEngine(1)
    mids = (10**9, 5 * 10**9)
    for i in range(2**19 + 1000):
        mid = mids[i & 1]
        engine.on_event(0, 1 << 60, 0, 0, 0, 0, 0, (mid, 1, mid, 1))
    book = Book([(mid, 1)], [(mid, 1)])
    out = engine.compute(0, 1 << 60, book.as_array(), Own().as_array())
    assert out[schema.INDEX["realised_volatility"]] == oracle.sat32((oracle.isqrt(1 << 59) << 24) // (2 * mid))


def test_the_state_hash_tells_histories_apart_and_reset_forgets() -> None:
    def run(qty: int) -> _core.FeatureEngine:
        engine = _core.FeatureEngine(1)
        for i in range(5):
            feed(engine, 0, ((1 << 60) + i, oracle.EXECUTE, 0, 0, 100, qty, Top(100, 5, 101, 5)))
        return engine

    assert run(3).state_hash() == run(3).state_hash() != run(4).state_hash()
    engine = run(3)
    engine.reset()
    assert engine.state_hash() == _core.FeatureEngine(1).state_hash()


def test_events_of_unknown_instruments_change_nothing() -> None:
    engine = _core.FeatureEngine(1)
    before = engine.state_hash()
    feed(engine, 0xFFFFFFFF, (5, oracle.ADD, 0, 0, 100, 1, Top(1, 1, 2, 1)))
    assert engine.state_hash() == before


def test_the_schema_has_one_text_in_both_languages() -> None:
    for shifts in ((24, 27, 30), (10, 20, 40)):
        params = schema.FeatureParams(shifts)
        assert _core.schema_canonical(list(shifts)) == schema.canonical(params)
        assert _core.schema_hash(list(shifts)) == schema.schema_hash(params)
    assert schema.schema_hash() != schema.schema_hash(schema.FeatureParams((23, 27, 30)))
    assert _core.FeatureEngine.FEATURES == schema.COUNT <= 24
    assert all(f.formula and f.q_format and f.saturation and f.source for f in schema.FEATURES)


def test_bad_window_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="10..40"):
        schema.FeatureParams((9, 27, 30))
    with pytest.raises(ValueError, match="10..40"):
        _core.FeatureEngine(1, [24, 27, 41])


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_our_sha256_is_sha256(data: bytes) -> None:
    assert _core.sha256(data) == hashlib.sha256(data).hexdigest()
