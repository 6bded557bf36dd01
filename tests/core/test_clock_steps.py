"""The wall clock is set while the engine's clock runs: it follows no step, loses no nanosecond, and says what it saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hotpath import _core

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from chaos_clock import SteppedClock  # noqa: E402

S = 1_000_000_000

#: steps the clock of its own process and prints what each clock there shows of it
STORY = """
import json, mmap, os, struct, sys, time
from hotpath import _core
with open(os.environ["PEREGRINE_CLOCK_FILE"], "r+b") as f:
    words = mmap.mmap(f.fileno(), 16)
clock = _core.TscClock.calibrate(1_000_000) if sys.argv[1] == "tsc" else _core.TscClock.from_kernel()
out = []

def look():  # again when this process was kept waiting between two of them
    while True:
        began = _core.monotonic_ns()
        seen = clock.now_ns(), _core.monotonic_ns(), time.monotonic_ns(), _core.wall_ns(), time.time_ns()
        if _core.monotonic_ns() - began < 20_000_000:
            return seen

for offset_s in (0, 0.4, 3600, 3600, -7200, 0):
    before = look()
    struct.pack_into("<q", words, 0, int(offset_s * 1e9))
    error = clock.discipline()
    after = look()
    out.append({"took": [b - a for a, b in zip(before, after)], "error": error, "told": clock.error_ns, "steps": clock.steps_seen,
                "python": after[4] - after[3]})
print(json.dumps(out))
"""


@pytest.mark.parametrize("source", ["tsc", "kernel"])
def test_a_step_of_the_wall_clock_moves_no_other_clock_and_is_counted_there_and_back(source, tmp_path):
    clock = SteppedClock(tmp_path)
    done = subprocess.run([sys.executable, "-c", STORY, source], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **clock.environment})  # fmt: skip
    seen = json.loads(done.stdout)
    assert clock.asked > 10, "the shim was asked"
    walls = [round((look["took"][3] - look["took"][1]) / S) for look in seen]  # beside the time that went by
    assert walls == [0, 0, 3600, 0, -10800, 7200], "the wall clock did step"
    for look in seen:
        engine, monotonic, python, _, _ = look["took"]
        assert 0 <= engine < 0.2 * S + monotonic and monotonic >= 0 and python >= 0, "no other clock did"
        assert look["told"] == look["error"] and abs(look["python"]) < S
    assert [look["steps"] for look in seen] == [0, 0, 1, 1, 2, 3], "less than a second is no step, and one that stays is one"
    assert [round(look["error"] / S) for look in seen] == [0, 0, 3600, 3600, -7200, 0]


@pytest.mark.parametrize("made", [lambda: _core.TscClock.calibrate(1_000_000), _core.TscClock.from_kernel], ids=["tsc", "kernel"])
def test_a_clock_that_must_not_be_early_starts_at_the_time_asked_for_and_runs_on_from_there(made):
    clock = made()
    ahead = clock.now_ns() + 3600 * S
    clock.start_at_least(ahead)
    first = clock.now_ns()
    assert ahead <= first
    clock.start_at_least(ahead - S)  # that is past
    assert clock.now_ns() >= first
    ticks = clock.ticks()
    assert abs(clock.to_ns(ticks + clock.frequency_hz) - clock.to_ns(ticks) - S) < 1_000_000, "at the rate it had"
    assert round(clock.discipline() / S) == -3600 and clock.steps_seen == 1
    assert clock.now_ns() >= first, "nothing runs backwards to the wall clock"
