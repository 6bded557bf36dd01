"""Waits before a restart, the give-up, and how a standstill is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.models_operate import Restart
from orchestrator.supervise.restart import MS, RestartPolicy, S, StallWatch


def expected(deaths: list[int], settings: Restart) -> list[int | None]:
    """The rule, slowly: count the restarts that lie within the window before each death."""
    restarted: list[int] = []
    out: list[int | None] = []
    for now in deaths:
        recent = [t for t in restarted if now - t < settings.window_s * S]
        if len(recent) >= settings.max_restarts:
            out.append(None)
            continue
        wait = settings.backoff_ms * MS
        for _ in recent:
            wait *= 2
        out.append(min(wait, settings.backoff_max_ms * MS))
        restarted.append(now)
    return out


@given(st.lists(st.integers(0, 40 * S), max_size=30), st.integers(0, 8), st.integers(1, 20), st.integers(1, 5000), st.integers(1, 9000))
def test_waits_double_within_the_window_up_to_a_bound_and_then_it_is_given_up(gaps, most, window_s, first_ms, longest_ms):
    settings = Restart(max_restarts=most, window_s=window_s, backoff_ms=first_ms, backoff_max_ms=longest_ms)
    deaths, now = [], 0
    for gap in gaps:
        now += gap
        deaths.append(now)
    policy = RestartPolicy(settings)
    assert [policy.next_wait_ns(t) for t in deaths] == expected(deaths, settings)


def test_who_has_been_well_for_a_window_starts_afresh():
    policy = RestartPolicy(Restart(max_restarts=1, window_s=10, backoff_ms=100))
    assert policy.next_wait_ns(0) == 100 * MS
    assert policy.next_wait_ns(9 * S) is None
    assert policy.next_wait_ns(10 * S) == 100 * MS
    assert "1 of 1" in policy.words(10 * S)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5 * S)), max_size=40))
def test_a_standstill_is_the_time_since_the_count_last_moved(readings):
    watch = StallWatch(stall_ms=1000, kill_ms=3000)
    now, seen = 0, []
    for count, gap in readings:
        now += gap
        seen.append((now, count))
        still = watch.take(count, now)
        since = now
        for t, c in reversed(seen):
            if c != count:
                break
            since = t
        assert still == now - since
        assert watch.stalled(still) == (still >= 1 * S) and watch.to_be_killed(still) == (still >= 3 * S)


def test_a_wait_of_zero_kills_never():
    watch = StallWatch(stall_ms=1, kill_ms=0)
    watch.take(5, 0)
    assert not watch.to_be_killed(watch.take(5, 10**15))
