"""Breakers that count, against a slow list of times; and what the gate does while one is open."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath import _core
from tests.risk.gate_setup import Setup, order

MESSAGE, REJECT, LOSS, DRAWDOWN = 1, 2, 4, 8


class Oracle:
    """Every event ever counted, and when each breaker tripped."""

    def __init__(self, most: dict[int, int], window: dict[int, int], cooldown: int, by_itself: bool) -> None:
        self.most, self.window, self.cooldown, self.by_itself = most, window, cooldown, by_itself
        self.seen: dict[int, list[int]] = {MESSAGE: [], REJECT: []}
        self.tripped: dict[int, int] = {}
        self.trips = 0

    def count(self, bit: int, now: int) -> bool:
        if self.most[bit] == 0 or bit in self.tripped:
            return False
        self.seen[bit].append(now)
        if sum(now - self.window[bit] < t for t in self.seen[bit]) <= self.most[bit]:
            return False
        self.trip(bit, now)
        return True

    def trip(self, bit: int, now: int) -> None:
        self.tripped[bit] = now
        self.trips += 1

    def open(self) -> int:
        return sum(self.tripped)

    def hot(self, bits: int, now: int) -> int:
        return sum(b for b, t in self.tripped.items() if bits & b and now - t < self.cooldown)

    def due(self, now: int) -> int:
        return sum(b for b, t in self.tripped.items() if self.by_itself and b in (MESSAGE, REJECT) and now - t >= self.cooldown)

    def rearm(self, bits: int) -> None:
        for bit in (MESSAGE, REJECT, LOSS, DRAWDOWN):
            if bits & bit:
                self.tripped.pop(bit, None)
                self.seen[bit] = []


STEP = st.tuples(st.sampled_from(["message", "reject", "loss", "drawdown", "rearm"]), st.integers(0, 40), st.integers(1, 15))


@settings(max_examples=150, deadline=None)
@given(most=st.tuples(st.integers(0, 4), st.integers(0, 4)), window=st.tuples(st.integers(1, 60), st.integers(1, 60)),
       cooldown=st.integers(0, 80), by_itself=st.booleans(), steps=st.lists(STEP, max_size=60))
def test_breakers_agree_with_the_oracle_on_any_sequence(most, window, cooldown, by_itself, steps) -> None:
    fast = _core.Breakers(max_messages=most[0], message_window_ns=window[0], max_rejects=most[1], reject_window_ns=window[1],
                          cooldown_ns=cooldown, by_itself=by_itself)
    slow = Oracle({MESSAGE: most[0], REJECT: most[1]}, {MESSAGE: window[0], REJECT: window[1]}, cooldown, by_itself)
    now = 1_000
    for what, wait, bits in steps:
        now += wait
        if what == "message":
            assert fast.count_message(now) == slow.count(MESSAGE, now)
        elif what == "reject":
            assert fast.count_reject(now) == slow.count(REJECT, now)
        elif what == "rearm":
            fast.rearm(bits)
            slow.rearm(bits)
        else:
            bit = LOSS if what == "loss" else DRAWDOWN
            fast.trip(bit, now)
            slow.trip(bit, now)
        assert (fast.open(), fast.trips()) == (slow.open(), slow.trips)
        assert fast.hot(bits, now) == slow.hot(bits, now)
        assert fast.due(now) == slow.due(now)


def breakers(**changes: int) -> _core.Breakers:
    base = {"max_messages": 3, "message_window_ns": 100, "max_rejects": 1, "reject_window_ns": 100, "cooldown_ns": 50, "by_itself": False}
    return _core.Breakers(**{**base, **changes})


def test_a_breaker_passes_its_limit_and_trips_with_the_next_event() -> None:
    b = breakers()
    assert [b.count_message(t) for t in (1, 2, 3)] == [False] * 3
    assert b.count_message(4) and b.open() == MESSAGE and b.trips() == 1
    assert not b.count_message(5) and b.trips() == 1, "a tripped breaker does not trip again"


def test_an_event_that_has_just_left_the_window_does_not_count() -> None:
    b = breakers()
    for t in (1, 2, 3):
        b.count_message(t)
    assert not b.count_message(101), "the first event left with the window's end"
    assert b.count_message(101)


def test_the_cooldown_ends_exactly_one_cooldown_after_the_trip() -> None:
    b = breakers()
    b.count_reject(10)
    assert b.count_reject(20)
    assert b.hot(REJECT, 69) == REJECT and b.hot(REJECT, 70) == 0
    assert b.hot(MESSAGE, 69) == 0, "what has not tripped has no cooldown"


def test_counting_begins_anew_when_armed_again() -> None:
    b = breakers()
    for t in (1, 2, 3, 4):
        b.count_message(t)
    b.rearm(MESSAGE)
    assert [b.count_message(5) for _ in range(4)] == [False, False, False, True]


def test_only_breakers_that_count_arm_themselves() -> None:
    b = breakers(by_itself=True)
    b.trip(LOSS, 0)
    b.trip(DRAWDOWN, 0)
    b.count_reject(1)
    b.count_reject(2)
    assert b.due(51) == 0 and b.due(52) == REJECT and b.due(10**9) == REJECT


def test_a_breaker_that_is_off_never_trips() -> None:
    b = breakers(max_messages=0, max_rejects=0)
    assert not any(b.count_message(1) or b.count_reject(1) for _ in range(100))


# ---- the gate

def long_by(s: Setup, lots: int) -> None:
    s.exposure.apply_fill(0, 0, lots, 1_000_000, 0)


def sell(lots: int) -> bytes:
    return order(side=1, mark=1, qty_lots=lots, price_ticks=999_900)


def test_the_gate_refuses_everything_while_a_breaker_is_open() -> None:
    s = Setup()
    long_by(s, 100)
    s.gate.set_breaker(True)
    assert s.reason() == s.reason(sell(100)) == "breaker"
    s.gate.set_breaker(False)
    assert s.reason() == s.reason(sell(100)) == "pass"


def test_reduce_only_asked_for_after_the_trip_lets_reducing_orders_pass_and_only_those() -> None:
    s = Setup()
    long_by(s, 100)
    s.gate.set_reduce_only(True)
    s.gate.set_breaker(True)
    assert s.reason(sell(100)) == "breaker", "asked for before: that was another order"
    s.gate.set_reduce_only(True)
    assert s.reason(sell(100)) == "pass" and s.reason() == "reduce_only"
    s.gate.set_reduce_only(False)
    assert s.reason(sell(100)) == "breaker"


def test_a_kill_and_its_revival_do_not_open_what_a_breaker_closed() -> None:
    s = Setup()
    s.gate.set_breaker(True)
    s.gate.set_reduce_only(True)
    s.gate.kill()
    s.gate.revive()
    assert s.reason() == "breaker"


def test_an_open_breaker_is_part_of_the_state_and_a_closed_one_is_not() -> None:
    s = Setup()
    before = s.gate.state_hash()
    s.gate.set_breaker(True)
    assert s.gate.state_hash() != before
    s.gate.set_breaker(False)
    assert s.gate.state_hash() == before
