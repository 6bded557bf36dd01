"""What the supervisor's watch makes of real processes that are stopped, silent, leaking or gone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from orchestrator.config import load_profile
from orchestrator.observe.profile import read_process
from orchestrator.observe.segment import process_start_ticks
from orchestrator.supervise.upkeep import WATCH_NS, Upkeep

LEAKING = "import sys\nkeep = []\nprint(flush=True)\nfor _ in sys.stdin:\n    keep.append(b'x' * 4_000_000); print(flush=True)\n"


@pytest.fixture
def child():
    """A child that takes 4 MB for each line it is sent."""
    with subprocess.Popen([sys.executable, "-c", LEAKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        yield process
        process.kill()


def living(child) -> dict[str, tuple[int, int]]:
    return {"engine": (child.pid, process_start_ticks(child.pid))}


def test_a_silent_engine_is_an_alarm_until_it_beats_again(child, tmp_path):
    beats = [7]
    upkeep = Upkeep(load_profile("laptop"), tmp_path, lambda: beats[0])
    changed = [upkeep.look(i * WATCH_NS, living(child)) for i in range(7)]
    assert changed == [False] * 4 + [True, False, False]
    assert upkeep.alarms[0].startswith("engine is stalled: no heartbeat for 2.0 s")
    beats[0] = 8
    assert upkeep.look(7 * WATCH_NS, living(child)) and upkeep.alarms == ()


def test_a_stopped_engine_is_an_alarm_at_once_and_names_the_way_out(child, tmp_path):
    upkeep = Upkeep(load_profile("laptop"), tmp_path, lambda: None)
    child.send_signal(signal.SIGSTOP)
    until = time.monotonic() + 10
    while read_process(child.pid).state != "T":
        assert time.monotonic() < until
    assert upkeep.look(0, living(child))
    assert f"kill -CONT {child.pid}" in upkeep.alarms[0]


def test_a_round_between_two_looks_looks_at_nothing(child, tmp_path):
    upkeep = Upkeep(load_profile("laptop"), tmp_path, lambda: 1)
    assert not upkeep.look(0, living(child)) and list(upkeep.verdicts) == ["engine"]
    upkeep.verdicts = {}
    assert not upkeep.look(WATCH_NS - 1, living(child)) and upkeep.verdicts == {}


def test_a_process_that_leaves_the_tree_is_no_alarm(child, tmp_path):
    upkeep = Upkeep(load_profile("laptop"), tmp_path, lambda: 1)
    for i in range(6):
        upkeep.look(i * WATCH_NS, living(child))
    assert upkeep.alarms
    assert upkeep.look(6 * WATCH_NS, {}) and upkeep.alarms == ()


def test_a_leak_is_an_alarm_with_its_rate(child, tmp_path):
    upkeep = Upkeep(load_profile("laptop"), tmp_path, lambda: None)
    rule = upkeep._leaks.rule
    step_ns = int(rule.sample_s * 1e9)
    for i in range(rule.warm_up + rule.windows[0]):
        if i >= rule.warm_up:
            child.stdin.write("\n")
            child.stdin.flush()
            child.stdout.readline()
        raised = upkeep.look(i * step_ns, living(child))
    assert raised and "engine grows by" in upkeep.alarms[0]
    assert upkeep.growth_mb_per_hour()["engine"] > 2000 and abs(upkeep.growth_mb_per_hour()["supervisor"]) < 500
