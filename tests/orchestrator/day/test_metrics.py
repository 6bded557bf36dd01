"""How long nothing was heard of the reconciler: by our own clock, whatever the wall clock does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from orchestrator.day import metrics
from orchestrator.day.reconciler import Status

S = 1_000_000_000


@pytest.fixture
def world(monkeypatch):
    """Two clocks in seconds, and the status that is found; `age()` as it is scraped."""
    made = SimpleNamespace(wall=1_000_000.0, own=50.0, status=None)
    clocks = SimpleNamespace(time=lambda: made.wall, monotonic=lambda: made.own)
    monkeypatch.setattr(metrics, "time", clocks)
    monkeypatch.setattr(metrics, "_seen", {})
    monkeypatch.setattr(metrics, "_status", lambda reading: made.status)

    def tell(before_s: float = 0.0) -> None:
        made.status = Status(name="e", run="r", state="agreed", written_ns=int((made.wall - before_s) * S))

    def go_on(seconds: float, step: float = 0.0) -> None:
        made.own += seconds
        made.wall += seconds + step

    made.tell, made.go_on = tell, go_on
    made.age = lambda: [round(value, 3) for _, value in metrics._age(SimpleNamespace(name="e"))]
    return made


def test_a_status_that_goes_on_is_young_and_one_that_stands_still_grows_old(world):
    assert world.age() == [], "no status, no age: that is what the alert looks for"
    world.tell()
    assert world.age() == [0.0]
    world.go_on(3)
    assert world.age() == [3.0]
    world.tell()
    assert world.age() == [0.0]


def test_a_wall_clock_that_is_set_is_no_silence_and_hides_none(world):
    world.tell()
    assert world.age() == [0.0]
    world.go_on(1, step=3600)
    assert world.age() == [1.0]
    world.tell()
    assert world.age() == [0.0]
    world.go_on(20, step=-3600)
    assert world.age() == [20.0]


def test_one_that_stood_there_before_we_looked_is_as_old_as_it_says(world):
    world.tell(before_s=90)
    assert world.age() == [90.0]
    world.go_on(5)
    assert world.age() == [95.0]
