"""Dead, stopped, stalled, slow, alive: the verdict from sightings by hand, and on real children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.observe.profile import ProcessProfile, ThreadProfile, read_process
from orchestrator.observe.segment import process_start_ticks
from orchestrator.observe.vitals import GcNumbers, Vitals
from orchestrator.observe.watchdog import (
    Limits,
    Sighting,
    Watchdog,
    engine_beats,
    judge,
    process_beats,
)

SECOND = 1_000_000_000
LIMITS = Limits.of(2_000)


def seen(at_s: float = 0, state: str = "S", beats: int = 5, gc: GcNumbers | None = None, steal_ns: int = 0, ticks: int = 100,
         **thread: int | str) -> Sighting:
    """A sighting of process 7 at a moment, its one thread as given."""
    one = ThreadProfile(7, "prg-engine", **{"state": state, **thread})  # type: ignore[arg-type]
    profile = ProcessProfile(7, "python3", state, ticks, int(at_s * SECOND), steal_ns={0: steal_ns}, threads=(one,))
    return Sighting(beats, profile, gc, start_ticks=100)


@pytest.mark.parametrize(
    ("now", "silent_s", "kind", "words"),
    [
        (seen(3), 0.1, "alive", "beats"),
        (seen(3), 0.6, "slow", "0.6 s"),
        (seen(3), 3, "stalled", "no heartbeat for 3.0 s"),
        (seen(3, state="T"), 3, "stopped", "kill -CONT 7"),
        (seen(3, state="T"), 0, "stopped", "kill -CONT 7"),
        (seen(3, state="t"), 3, "stopped", "debugger"),
        (seen(3, state="Z"), 0, "dead", "zombie"),
        (seen(3, ticks=101), 3, "dead", "another process"),
        (Sighting(5, None, None, 100), 0, "dead", "gone"),
    ],
)
def test_the_kind_follows_from_state_and_silence(now, silent_s, kind, words):
    verdict = judge("engine", seen(), now, int(silent_s * SECOND), LIMITS)
    assert verdict.kind == kind and words in verdict.line and "\n" not in verdict.line


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (seen(3, major_faults=40), "40 major page faults"),
        (seen(3, state="D"), "state D"),
        (seen(3, state="R", run_ns=2_950_000_000), "it loops"),
        (seen(3, run_delay_ns=2 * SECOND, involuntary_switches=90), "waited 2000 ms for a core, 90 times"),
        (seen(3, steal_ns=SECOND), "took 1000 ms of its cores"),
        (seen(3, gc=GcNumbers((0, 0, 2), pause_ns=700_000_000)), "paused it 700 ms in 2 collections"),
        (seen(3, gc=GcNumbers(begun_ns=SECOND)), "goes on for 2000 ms"),
        (seen(3), "sleeps in a call of the kernel"),
    ],
)
def test_a_stall_names_what_held_the_process_up(now, words):
    verdict = judge("engine", seen(gc=GcNumbers()), now, 3 * SECOND, LIMITS)
    assert verdict.kind == "stalled" and words in verdict.line


def test_the_weightiest_cause_stands_first():
    now = seen(3, major_faults=2, gc=GcNumbers((0, 0, 1), pause_ns=2_900_000_000), steal_ns=SECOND)
    verdict = judge("engine", seen(gc=GcNumbers()), now, 3 * SECOND, LIMITS)
    assert [e.split()[0] for e in verdict.evidence] == ["garbage", "other", "thread"]


def test_without_a_profile_before_there_is_a_verdict_without_evidence():
    verdict = judge("engine", Sighting(5, None), seen(3), 3 * SECOND, LIMITS)
    assert verdict.kind == "stalled" and "no cause seen" in verdict.line


@settings(deadline=None)
@given(st.integers(0, 10**11), st.integers(0, 10**11), st.sampled_from("RSDTtZ"))
def test_longer_silence_never_makes_a_milder_verdict(a, b, state):
    order = ["alive", "slow", "stalled", "stopped", "dead"]
    first, second = (order.index(judge("x", seen(), seen(1, state=state), s, LIMITS).kind) for s in sorted((a, b)))
    assert first <= second


@pytest.fixture
def child():
    """A child that sleeps, ended after the test."""
    with subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def wait_for_state(pid: int, state: str) -> None:
    """Until the kernel shows it."""
    until = time.monotonic() + 60
    while read_process(pid).state != state:
        assert time.monotonic() < until
        time.sleep(0.005)


def watching(child, beats) -> Watchdog:
    dog = Watchdog(LIMITS)
    dog.watch("child", child.pid, process_start_ticks(child.pid), beats)
    return dog


def test_a_silent_child_becomes_slow_then_stalled_and_alive_with_its_next_beat(child):
    beats = [1]
    dog = watching(child, lambda: beats[0])
    kinds = [dog.look(int(s * SECOND))["child"].kind for s in (0, 0.3, 0.7, 1.4, 2.1)]
    assert kinds == ["alive", "alive", "slow", "slow", "stalled"]
    beats[0] = 2
    assert dog.look(3 * SECOND)["child"].kind == "alive"


def test_a_watcher_that_was_itself_away_does_not_blame_the_other(child):
    dog = watching(child, lambda: 1)
    dog.look(0)
    assert dog.look(3600 * SECOND)["child"].kind == "slow"  # one look after an hour asleep
    assert dog.look(3601 * SECOND)["child"].kind == "stalled"  # it had a second of its own and still said nothing


def test_a_stopped_child_is_stopped_and_a_killed_one_dead(child):
    dog = watching(child, lambda: 1)
    child.send_signal(signal.SIGSTOP)
    wait_for_state(child.pid, "T")
    assert dog.look(0)["child"].kind == "stopped"
    child.send_signal(signal.SIGCONT)
    wait_for_state(child.pid, "S")
    assert dog.look(1)["child"].kind == "alive"
    child.kill()
    wait_for_state(child.pid, "Z")
    assert dog.look(2)["child"].kind == "dead"
    child.wait()
    assert dog.look(3)["child"].kind == "dead"


def test_a_process_without_a_heartbeat_is_never_stalled_but_stopped_and_dead_are_seen(child):
    dog = watching(child, lambda: None)
    assert [dog.look(s * SECOND)["child"].kind for s in range(10)] == ["alive"] * 10
    child.send_signal(signal.SIGSTOP)
    wait_for_state(child.pid, "T")
    assert dog.look(11 * SECOND)["child"].kind == "stopped"
    child.kill()
    wait_for_state(child.pid, "Z")
    assert dog.look(12 * SECOND)["child"].kind == "dead"


def test_what_is_forgotten_is_looked_at_no_more(child):
    dog = watching(child, lambda: 1)
    dog.forget("child")
    assert dog.look(0) == {}


def test_an_engine_without_a_segment_has_no_beats():
    assert engine_beats(f"nobody-{os.getpid()}")() is None


def test_our_own_processes_beat_by_their_vitals(tmp_path):
    beats, collections = process_beats(tmp_path, "telemetry")
    assert (beats(), collections()) == (None, None)
    with Vitals(tmp_path, "telemetry") as vitals:
        vitals.beat()
        assert beats() == 1 and collections() is not None


def test_a_python_process_that_collects_garbage_for_long_is_told_so_by_name(tmp_path):
    code = """
import gc, pathlib, sys, time
from orchestrator.observe.vitals import Vitals
vitals = Vitals(pathlib.Path(sys.argv[1]), "telemetry")
vitals.beat()
slow = lambda phase, info: time.sleep(60) if phase == "start" else None
gc.callbacks.append(slow)
print(flush=True)
gc.collect()
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    beats, collections = process_beats(tmp_path, "telemetry")
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=env) as process:
        process.stdout.readline()
        dog = Watchdog(LIMITS)
        dog.watch("telemetry", process.pid, process_start_ticks(process.pid), beats, collections)
        until = time.monotonic() + 60
        while not (collections() or GcNumbers()).begun_ns and time.monotonic() < until:
            time.sleep(0.01)
        verdicts = [dog.look(int(s * SECOND))["telemetry"] for s in (0, 1, 2)]
        process.kill()
    assert verdicts[-1].kind == "stalled" and "garbage collection goes on" in verdicts[-1].line
