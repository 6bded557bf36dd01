"""`top` and `kill` against a segment made by the engine's own code."""

from __future__ import annotations

import os
import uuid

import pytest

from orchestrator.observe import telemetry
from orchestrator.observe.segment import Segment, running

core = pytest.importorskip("hotpath._core")
pytestmark = pytest.mark.skipif(not hasattr(core, "Segment"), reason="shared memory is not bound in this build")

REGION = telemetry.build({"events": 7, "orders": 3}, {"tick_to_order": [440, 900]}, [("PRGN", 1, 2, 2, -3, 4, 5, 1)])


@pytest.fixture
def engine():
    """A segment as an engine makes it, owned by this process."""
    name = f"test-{os.getpid()}-{uuid.uuid4().hex[:10]}"
    made = core.Segment.create(name, [core.RegionSpec("other", 64), core.RegionSpec("telemetry", len(REGION))])
    memoryview(made.region("telemetry"))[: len(REGION)] = REGION
    made.set_state(core.EngineState.TRADING)
    yield name, made
    made.close(remove_name=True)


def test_what_the_engine_made_is_read_without_the_engine(engine):
    name, made = engine
    with Segment(name) as segment:
        status = segment.status()
        assert (status.pid, status.state, status.alive, status.kill_level) == (os.getpid(), "trading", True, 0)
        assert status.epoch == made.header()["epoch"]
        assert telemetry.read(segment.region("telemetry"))["events"] == 7
    assert name in {s.name for s in running()}


def test_top_shows_it_and_changes_nothing(engine, peregrine, read_json):
    name, made = engine
    before = bytes(made.region("telemetry")), made.header()
    report = read_json(peregrine("top", name, "--json"))
    assert report["counters"]["orders"] == 3 and report["latency_ns"]["tick_to_order"]["count"] == 2
    assert report["instruments"][0]["symbol"] == "PRGN" and report["engine"]["pid"] == os.getpid()
    assert "440 ns" in peregrine("top", name, "--once").stdout
    assert (bytes(made.region("telemetry")), made.header()) == before


def test_kill_sets_the_level_that_the_engine_reads(engine, peregrine):
    name, made = engine
    assert "kill word set" in peregrine("kill", name).stdout
    assert made.header()["kill_level"] == int(core.KillLevel.CANCEL_ALL) and made.header()["kill_ns"] > 0
    assert "flattening" in peregrine("kill", name, "--flatten").stdout
    assert made.header()["kill_level"] == int(core.KillLevel.FLATTEN)
    peregrine("kill", name, "--signal", "--flatten", code=64)
    peregrine("kill", f"{name}-other", code=69)


def test_an_engine_that_has_not_published_yet_is_try_again(engine, peregrine):
    name, made = engine
    memoryview(made.region("telemetry"))[48:56] = bytes(8)
    assert "still starting" in peregrine("top", name, "--json", code=75).stderr
