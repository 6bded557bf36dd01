"""The TSC clock: near the wall clock, never backwards, and its kernel fallback behaves alike."""

import time

import pytest

from hotpath import _core


@pytest.fixture(params=["tsc", "kernel"])
def clock(request):
    return _core.TscClock.calibrate(5_000_000) if request.param == "tsc" else _core.TscClock.from_kernel()


def test_time_never_runs_backwards(clock):
    times = clock.now_many(200_000)
    assert all(a <= b for a, b in zip(times, times[1:], strict=False))


def test_time_never_runs_backwards_over_corrections(clock):
    last = clock.now_ns()
    for _ in range(300):
        clock.discipline()
        for _ in range(20):
            now = clock.now_ns()
            assert now >= last
            last = now


def test_time_advances_between_two_readings_apart(clock):
    first = clock.now_ns()
    time.sleep(0.002)
    assert clock.now_ns() - first >= 1_900_000


def test_the_clock_shows_the_time_of_day(clock):
    # The wall clock is read on both sides, so that a pause of this process cannot fail the test.
    before = _core.wall_ns()
    now = clock.now_ns()
    after = _core.wall_ns()
    slack_ns = 5_000_000
    assert before - slack_ns <= now <= after + slack_ns


def test_a_correction_finds_a_small_error_and_no_step(clock):
    assert abs(clock.discipline()) < 50_000_000
    assert clock.steps_seen == 0


def test_a_correction_does_not_jump(clock):
    ticks = clock.ticks()
    before = clock.to_ns(ticks)
    clock.discipline()
    # The line is bent at the new anchor by at most 500 ppm: microseconds later, or as long as this process was kept waiting.
    later_ns = clock.to_duration_ns(clock.ticks() - ticks)
    assert abs(clock.to_ns(ticks) - before) < 1_000_000 + later_ns // 1000


def test_durations_and_times_use_one_rate(clock):
    ticks = clock.ticks()
    later = ticks + clock.frequency_hz
    assert abs(clock.to_duration_ns(clock.frequency_hz) - 1_000_000_000) < 1_000
    assert abs((clock.to_ns(later) - clock.to_ns(ticks)) - clock.to_duration_ns(later - ticks)) <= 1


def test_the_counter_before_the_anchor_has_a_time_too(clock):
    ticks = clock.ticks()
    assert clock.to_ns(ticks - clock.frequency_hz) < clock.to_ns(ticks)


def test_the_source_is_named():
    tsc = _core.TscClock.calibrate(1_000_000)
    assert tsc.uses_tsc == (tsc.source == "tsc")
    assert tsc.uses_tsc <= _core.cpu_features()["invariant_tsc"]
    kernel = _core.TscClock.from_kernel()
    assert not kernel.uses_tsc
    assert kernel.source.startswith("CLOCK_MONOTONIC")
    assert kernel.frequency_hz == 1_000_000_000


def test_the_noise_report_adds_up():
    report = _core.spin_noise(0.02)
    assert report["elapsed_ns"] >= report["asked_ns"] == 20_000_000
    assert report["loops"] > 0
    assert report["over_1us"] >= report["over_10us"] >= report["over_100us"] >= report["over_1ms"]
    assert report["p50_ns"] <= report["p99_ns"] <= report["p99_99_ns"] <= report["max_gap_ns"]
    assert report["stolen_ns"] <= report["elapsed_ns"]
    assert f"Total count    = {report['loops']:12d}]" in report["hgrm"]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), 1e9])
def test_a_senseless_noise_duration_is_refused(seconds):
    with pytest.raises(ValueError, match="seconds"):
        _core.spin_noise(seconds)
