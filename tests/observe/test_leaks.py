"""The leak alarm on series whose truth is known: what never alarms, what always does, and when."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.observe.leaks import HOUR_S, MB, LeakRule, LeakWatch, alarms_after, slope

RULE = LeakRule(limit_mb_per_hour=64, ripple_bytes=2 * MB, warm_up=4, windows=(16, 64), sample_s=60.0)
BASE = 100 * MB


def theil_oracle(values: list[int], sample_s: float) -> float:
    """The slope written out: every pair half a stretch apart, sorted, the middle one, for both halves."""
    out = []
    half = len(values) // 2
    for part in (values[:half], values[half:]):
        d = len(part) // 2
        slopes = sorted((part[i + d] - part[i]) / (d * sample_s) for i in range(d))
        middle = len(slopes) // 2
        out.append(slopes[middle] if len(slopes) % 2 else (slopes[middle - 1] + slopes[middle]) / 2)
    return min(out)


def fed(values, rule=RULE) -> int | None:
    """Samples until the alarm, None when there is none."""
    watch = LeakWatch(rule)
    return next((i for i, held in enumerate(values, 1) if watch.add_bytes("engine", held) is not None), None)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**12), min_size=16, max_size=16))
def test_the_slope_is_the_oracles(values):
    assert math.isclose(slope(values, 5.0), theil_oracle(values, 5.0), rel_tol=1e-12, abs_tol=1e-3)


ripples = st.lists(st.integers(0, RULE.ripple_bytes), min_size=150, max_size=150)


@settings(max_examples=60, deadline=None)
@given(ripples, st.integers(0, 10**12))
def test_memory_that_only_ripples_never_alarms(ripple, base):
    assert fed(base + r for r in ripple) is None


@settings(max_examples=60, deadline=None)
@given(ripples, st.integers(0, 149), st.integers(0, 10**10))
def test_memory_taken_once_never_alarms_however_much(ripple, at, step):
    calm = [r // 2 for r in ripple]
    assert fed(BASE + r + (step if i >= at else 0) for i, r in enumerate(calm)) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(65, 100_000), ripples)
def test_a_leak_alarms_no_later_than_the_rule_states(rate, ripple):
    amplitude = RULE.ripple_bytes // 4
    stated = alarms_after(RULE, rate, amplitude)
    values = [BASE + int(rate * MB / HOUR_S * RULE.sample_s * i) + r % (amplitude + 1) for i, r in enumerate(ripple)]
    at = fed(values)
    if stated is not None and stated <= len(values):
        assert at is not None and at <= stated
    # one byte of rounding aside, nothing alarms before a window is full
    assert at is None or at >= RULE.warm_up + RULE.windows[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 63), st.lists(st.integers(0, MB // 1000), min_size=150, max_size=150))
def test_growth_below_the_limit_never_alarms_while_it_ripples_little(rate, ripple):
    slack = (64 - rate) * MB / HOUR_S * RULE.quarter_s(RULE.windows[0])
    values = (BASE + int(rate * MB / HOUR_S * RULE.sample_s * i) + min(r, int(slack) - 1) for i, r in enumerate(ripple))
    assert fed(values) is None


def test_the_shipped_rule_names_its_delays():
    rule = LeakRule()
    delays = {rate: alarms_after(rule, rate) for rate in (64, 65, 200, 1000)}
    assert delays == {64: None, 65: 24 + 512, 200: 24 + 128, 1000: 24 + 32}


def test_a_saw_tooth_of_collections_is_no_leak_and_one_that_does_not_come_back_is():
    tooth = [BASE + (i % 10) * RULE.ripple_bytes // 10 for i in range(150)]
    assert fed(tooth) is None
    rising = [held + i * 3 * MB for i, held in enumerate(tooth)]
    assert fed(rising) == RULE.warm_up + RULE.windows[0]


def test_outliers_in_a_quarter_of_the_samples_hide_no_leak_and_make_none():
    wild = [50 * MB if i % 8 == 0 else 0 for i in range(150)]
    assert fed(BASE + w for w in wild) is None
    assert fed(BASE + i * 4 * MB + w for i, w in enumerate(wild)) is not None


def test_warming_up_is_not_leaking():
    values = [i * 100 * MB for i in range(RULE.warm_up)] + [BASE] * 100
    assert fed(values) is None


def test_the_alarm_is_raised_once_stands_and_falls_when_growth_stops():
    watch = LeakWatch(RULE)
    values = [BASE + min(i, 40) * 5 * MB for i in range(150)]
    raised = [i for i, held in enumerate(values, 1) if watch.add_bytes("engine", held)]
    assert raised == [RULE.warm_up + RULE.windows[0]]
    assert watch.alarms() == {}
    watch = LeakWatch(RULE)
    for held in values[:30]:
        watch.add_bytes("engine", held)
    leak = watch.alarms()["engine"]
    assert round(leak.mb_per_hour) == 300 and "engine grows by 300 MB an hour" in leak.line


def test_a_restarted_process_begins_anew():
    watch = LeakWatch(RULE)
    for i in range(19):
        assert watch.add_bytes("engine", BASE + i * 10 * MB, (5, 100)) is None
    assert watch.add_bytes("engine", BASE, (6, 200)) is None
    assert watch.growth_mb_per_hour("engine") is None and watch.alarms() == {}


def test_processes_are_watched_each_by_itself():
    watch = LeakWatch(RULE)
    for i in range(30):
        watch.add_bytes("engine", BASE)
        watch.add_bytes("telemetry", BASE + i * 10 * MB)
    assert list(watch.alarms()) == ["telemetry"]
    assert watch.growth_mb_per_hour("engine") == 0
    watch.forget("telemetry")
    assert watch.alarms() == {}


def test_a_limit_of_nought_is_off():
    assert fed((i * 10**9 for i in range(150)), LeakRule(0, 0, 0, (16,), 1.0)) is None
    assert alarms_after(LeakRule(0), 10**6) is None


def test_the_same_series_gives_the_same_answer_each_time():
    values = [BASE + (i * 7919 % 1000) * 10_000 + i * MB for i in range(150)]
    assert len({fed(values) for _ in range(5)}) == 1


@pytest.mark.parametrize("windows", [(), (4,), (10,), (64, 16), (16, 16)])
def test_a_rule_that_cannot_work_is_refused(windows):
    with pytest.raises(ValueError, match="windows"):
        LeakRule(windows=windows)


def test_a_real_process_that_leaks_is_seen_by_its_profile():
    import subprocess
    import sys

    from orchestrator.observe.profile import read_process

    code = "import sys\nkeep = []\nprint(flush=True)\nfor _ in sys.stdin:\n    keep.append(b'x' * 2_000_000); print(flush=True)\n"
    rule = LeakRule(limit_mb_per_hour=64, ripple_bytes=MB, warm_up=2, windows=(8,), sample_s=1.0)
    watch = LeakWatch(rule)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        child.stdout.readline()
        for i in itertools.count(1):
            if watch.add("child", read_process(child.pid)):
                break
            assert i < 20
            child.stdin.write("\n")
            child.stdin.flush()
            child.stdout.readline()
        child.stdin.close()
    assert i == 10
