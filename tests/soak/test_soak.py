"""A minute of soak on live processes, and proof that its judge finds growth, leaks and stalls."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import soak  # noqa: E402

WARM_S, MESSAGES = 120.0, 1_000_000


@pytest.mark.slow
def test_a_minute_under_load_leaves_the_resident_size_flat_and_a_journal_that_replays(tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools/soak.py"), "--minutes", "1", "--idle", "sleep", "--every", "2", "--folder", str(tmp_path)],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    out = json.loads((tmp_path / "latest.json").read_text())
    assert out["found"] == [] and out["verify"]["identical"] and out["verify"]["snapshots"] > 0
    assert out["run"]["fills"] > 0 and len(out["samples"]) > 10
    assert not (tmp_path / "run").exists()


def steady(n: int = 200) -> list[soak.Sample]:
    """A run of ten minutes in which nothing is wrong: the size wobbles, the venue keeps its day."""
    return [
        soak.Sample(3.0 * i, 110_000 + (i * 7919) % 24, 52_000, 14, 4, 48_000 + i * 200, 11, 15 << 20, 20_000, 1000 * (i + 1), 30 * (i + 1),
                    20 * i, 1100 * (i + 1), 9_000, 40_000, 20_000)
        for i in range(n)
    ]  # fmt: skip


def test_a_steady_run_passes():
    found, figures = soak.judge(steady(), WARM_S, MESSAGES)
    assert found == []
    assert abs(figures["engine_gained_kib"]) < 50 and figures["venue_bytes_per_feed_message"] < 100


def changed(**per_sample) -> list[soak.Sample]:
    return [replace(s, **{name: f(i, getattr(s, name)) for name, f in per_sample.items()}) for i, s in enumerate(steady())]


@pytest.mark.parametrize(("samples", "says"), [
    (changed(engine_kib=lambda i, v: v + 10 * i), "resident size grows"),
    (changed(engine_kib=lambda i, v: v + 100 * (i // 10)), "resident size grows"),
    (changed(engine_files=lambda i, v: v + i // 60), "engine_files went from"),
    (changed(engine_threads=lambda i, v: v + (i > 150)), "engine_threads went from"),
    (changed(venue_files=lambda i, v: v + i // 50), "venue_files went from"),
    (changed(ring_free_bytes=lambda i, v: v if i != 120 else 1 << 20), "ring came down"),
    (changed(shm_kib=lambda i, v: v + i), "/dev/shm grew"),
    (changed(inputs=lambda i, v: v if i < 90 or i > 92 else 91_000), "a stall"),
    (changed(journal_seq=lambda i, v: min(v, 100_000)), "a stall"),
    (changed(orders=lambda i, v: min(v, 300)), "no order"),
    (changed(venue_kib=lambda i, v: v + 2_000 * i), "the venue keeps"),
])  # fmt: skip
def test_what_goes_wrong_is_said(samples, says):
    found, _ = soak.judge(samples, WARM_S, MESSAGES)
    assert [f for f in found if says in f], found


def test_growth_before_the_warm_up_is_over_and_a_wobble_are_no_growth():
    assert soak.judge(changed(engine_kib=lambda i, v: v + min(i, 40) * 500), WARM_S, MESSAGES)[0] == []
    assert soak.judge(changed(engine_kib=lambda i, v: v + (i * 104729) % 900), WARM_S, MESSAGES)[0] == []


def test_the_fitted_line_is_least_squares():
    slope, error = soak.slope_of([0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.0, 7.0])
    assert slope == pytest.approx(2.0) and error == pytest.approx(0.0)
