"""Heartbeats and garbage collections of our own processes, as another one reads them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from orchestrator.observe.vitals import SIZE, Vitals, read_all, read_vitals


@pytest.fixture
def quiet_gc():
    """No collections but those the test asks for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Clock:
    """A clock that goes on by a step each time it is read."""

    def __init__(self, step_ns: int) -> None:
        self.now_ns, self.step_ns = 1_000, step_ns

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


def test_collections_are_counted_by_generation_with_their_pauses(tmp_path, quiet_gc):
    with Vitals(tmp_path, "telemetry", clock=Clock(500)):
        gc.collect(0)
        gc.collect(2)
        gc.collect(2)
        found = read_vitals(tmp_path, "telemetry")
    assert found is not None
    assert found.gc.collections == (1, 0, 2)
    assert (found.gc.pause_ns, found.gc.longest_ns, found.gc.last_ns, found.gc.begun_ns) == (1500, 500, 500, 0)


def test_what_a_collection_frees_is_counted(tmp_path, quiet_gc):
    class Loop:
        pass

    with Vitals(tmp_path, "telemetry"):
        for _ in range(10):
            a = Loop()
            a.itself = a
        del a
        gc.collect()
        found = read_vitals(tmp_path, "telemetry")
    assert found is not None and found.gc.collected >= 10


def test_a_collection_that_goes_on_shows_when_it_began(tmp_path, quiet_gc):
    seen = []
    with Vitals(tmp_path, "telemetry", clock=Clock(500)):
        def look(phase, info):
            if phase == "start":
                seen.append(read_vitals(tmp_path, "telemetry").gc.begun_ns)

        gc.callbacks.append(look)
        try:
            gc.collect()
        finally:
            gc.callbacks.remove(look)
        assert read_vitals(tmp_path, "telemetry").gc.begun_ns == 0
    assert seen == [1_500]


def test_beats_carry_their_time(tmp_path):
    with Vitals(tmp_path, "supervisor", clock=Clock(7)) as vitals:
        vitals.beat()
        first = read_vitals(tmp_path, "supervisor")
        vitals.beat()
        second = read_vitals(tmp_path, "supervisor")
    assert (first.beats, second.beats) == (1, 2)
    assert second.beat_ns > first.beat_ns
    assert (second.pid, second.alive()) == (os.getpid(), True)


def test_the_file_goes_with_its_process_and_no_callback_is_left(tmp_path):
    before = list(gc.callbacks)
    Vitals(tmp_path, "telemetry").close()
    assert list(tmp_path.iterdir()) == [] and gc.callbacks == before


def test_a_successor_keeps_its_file_when_the_one_before_it_closes(tmp_path):
    old = Vitals(tmp_path, "telemetry")
    with Vitals(tmp_path, "telemetry") as new:
        new.beat()
        old.close()
        assert read_vitals(tmp_path, "telemetry").beats == 1


def test_another_process_is_read_while_it_lives_and_left_out_when_it_was_killed(tmp_path):
    code = ("import sys, pathlib\nfrom orchestrator.observe.vitals import Vitals\n"
            "v = Vitals(pathlib.Path(sys.argv[1]), 'venue')\nfor _ in range(3): v.beat()\nprint('ready', flush=True)\ninput()\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as child:
        child.stdout.readline()
        assert {name: r.beats for name, r in read_all(tmp_path).items()} == {"venue": 3}
        child.kill()
        child.wait()
        assert read_all(tmp_path) == {} and read_vitals(tmp_path, "venue").beats == 3


@pytest.mark.parametrize("data", [b"", b"x" * SIZE, b"\0" * SIZE, b"\0" * (SIZE + 1)])
def test_a_file_that_is_no_vitals_file_is_none(tmp_path, data):
    (tmp_path / "venue.vitals").write_bytes(data)
    assert read_vitals(tmp_path, "venue") is None
    assert read_all(tmp_path) == {}


def test_a_file_that_is_not_there_is_none(tmp_path):
    assert read_vitals(tmp_path, "venue") is None
