"""The heartbeat goes on while the main loop waits, and stops when it stands still: with a clock moved by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.supervise.heartbeat import Heartbeat


class Hand:
    """A heartbeat whose time is told to it."""

    def __init__(self, bound_s: float) -> None:
        self.now_s, self.beats = 100.0, 0
        self.heartbeat = Heartbeat(self._beat, 0.1, bound_s, clock=lambda: self.now_s)

    def _beat(self) -> None:
        self.beats += 1

    def after(self, seconds: float) -> bool:
        """Was there a beat in a round so much later?"""
        self.now_s += seconds
        before = self.beats
        self.heartbeat.round()
        return self.beats > before


def test_a_loop_that_waits_less_than_the_bound_is_not_noticed():
    hand = Hand(10.0)
    assert all(hand.after(0.1) for _ in range(99))
    hand.heartbeat.progress()
    assert all(hand.after(0.1) for _ in range(99))


def test_a_loop_that_stands_still_stops_the_beats_until_it_goes_on():
    hand = Hand(1.0)
    assert hand.after(1.0) and not hand.after(0.001) and not hand.after(60)
    hand.heartbeat.progress()
    assert hand.after(0.1)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 500)), max_size=60))
def test_there_is_a_beat_exactly_while_the_last_progress_is_within_the_bound(rounds):
    hand, still_ms = Hand(0.4), 0
    for progress, ms in rounds:
        if progress:
            hand.heartbeat.progress()
            still_ms = 0
        still_ms += ms
        if abs(still_ms - 400) > 1:  # at the bound itself the clock's own rounding decides
            assert hand.after(ms / 1000) == (still_ms < 400)
        else:
            hand.now_s += ms / 1000


def test_one_that_was_never_begun_can_be_ended():
    Hand(1.0).heartbeat.stop()
