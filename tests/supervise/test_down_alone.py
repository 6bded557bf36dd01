"""`down` where engine and supervisor have died at somebody else's exchange: what is open there is cancelled before the books are closed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from test_tree import verify
from tree_rig import Rig, Venue
from venue_gate import Gate

from orchestrator.observe.segment import process_start_ticks
from orchestrator.run.shards import folders
from orchestrator.supervise import settle, state_file
from orchestrator.supervise.state_file import ProcessState, TreeState
from orchestrator.supervise.view import EngineView, ShardView

WORD = {"SUP_TEST_WORD": "PEREGRINE1"}


@pytest.fixture
def venue():
    made = Venue(cancel_on_disconnect=False)
    yield made
    made.server.stop()


@pytest.fixture
def gate(venue):
    made = Gate(venue.server.ouch)
    yield made
    made.close()


def up(rig: Rig, venue: Venue) -> str:
    """It trades, and has something open; the run."""
    del rig.settings["venue.rate_per_s"]
    run = rig.up(**WORD)["run"]
    rig.wait(lambda: venue.total("open_orders"))
    return str(run)


def both_die(rig: Rig, venue: Venue) -> None:
    """While nothing moves at the venue: what is open there stays open."""
    venue.server.pause_flow(True)
    engine = rig.pid("engine")
    rig.kill_supervisor()
    os.kill(engine, signal.SIGKILL)
    rig.wait(lambda: process_start_ticks(engine) == 0)


def down(rig: Rig, *options: str, code: int, **environment: str) -> tuple[dict[str, Any], str]:
    """`down --json`: what it came to, and what it said besides."""
    done = rig.call("down", rig.name, "--json", *options, code=code, **environment)
    return json.loads(done.stdout), done.stderr


def test_what_is_open_is_cancelled_and_the_feed_is_not_waited_for(make_rig, venue):
    rig = make_rig({**venue.settings(), "observe.metrics": "127.0.0.1:0"})
    run = up(rig, venue)
    both_die(rig, venue)
    venue.server.silence(True)  # the feed: books never get in step
    report, _ = down(rig, code=0, **WORD)
    assert venue.total("open_orders") == 0 == report["open_orders"]
    assert report["run"] == run and settle.SAID in report["reason"] and "peregrine down" in report["reason"]
    assert rig.left() == [] and rig.state().over() and state_file.read(Path(run)).over()
    result = json.loads((Path(run) / "result.json").read_text())
    assert sum(s["position_lots"] for s in result["symbols"].values()) == venue.total("bought") - venue.total("sold")
    for folder in folders(Path(run)):
        verify(folder)
    assert "was down already" in rig.call("down", rig.name).stdout
    venue.server.silence(False)
    venue.server.pause_flow(False)
    assert rig.up(**WORD)["run"] != run, "it is over: another run begins"
    assert rig.down()["open_orders"] == 0


def test_a_venue_that_cannot_be_reached_leaves_the_run_as_it_is_with_the_way_out(make_rig, venue, gate):
    settings = venue.settings()
    settings["venue"] = json.dumps({**json.loads(settings["venue"]), "ouch": gate.address})
    rig = make_rig(settings)
    run = up(rig, venue)
    both_die(rig, venue)
    gate.shut()
    open_orders = venue.total("open_orders")
    report, said = down(rig, "--timeout", "2s", code=69, **WORD)
    assert "could not be cancelled within 2 s" in report["reason"] and report["code"] == 69
    assert f"peregrine down {rig.name} --books-only" in report["hint"] and report["hint"] in said
    assert not rig.state().over() and not state_file.read(Path(run)).over(), "nobody takes it for one that is over"
    assert rig.left() == [] and venue.total("open_orders") == open_orders

    report, said = down(rig, code=78)  # nor without the password
    assert "SUP_TEST_WORD" in report["reason"] and "--books-only" in said and not rig.state().over()

    gate.open()
    report, _ = down(rig, code=0, **WORD)
    assert venue.total("open_orders") == 0 == report["open_orders"] and report["run"] == run and rig.state().over()


@pytest.mark.slow
def test_what_a_run_has_left_is_settled_too(make_rig, venue):
    rig = make_rig(venue.settings())
    del rig.settings["venue.rate_per_s"]
    process = rig.begin("run", "--for", "600s", "--json", *rig.options(), **WORD)
    rig.wait(lambda: rig.state().state == "trading" and venue.total("open_orders"))
    os.kill(rig.pid("engine"), signal.SIGSTOP)  # it is to die before it hears that its supervisor is gone
    engine = rig.pid("engine")
    venue.server.pause_flow(True)
    process.kill()
    process.wait()
    os.kill(engine, signal.SIGKILL)
    rig.wait(lambda: process_start_ticks(engine) == 0)
    report, _ = down(rig, code=0, **WORD)
    assert venue.total("open_orders") == 0 == report["open_orders"] and rig.state().over() and rig.left() == []


def tree(tmp_path: Path, *, result: dict[str, Any] | None = None, **more: Any) -> TreeState:
    (tmp_path / "journal-000001.pgj").touch()
    if result is not None:
        (tmp_path / "result.json").write_text(json.dumps({"mode": "live", "config_name": "x", "config_sha256": "", "seed": None, "journal": "", **result}))
    return TreeState(name="r", supervisor_pid=1, supervisor_start_ticks=0, run=str(tmp_path), **more)


@pytest.mark.parametrize(
    ("more", "result", "may"),
    [
        ({"has_traded": True}, None, True), ({}, None, False), ({"foreground": True}, None, True), ({"has_traded": True}, {"working_orders": 2}, True),
        ({"has_traded": True}, {"working_orders": 0}, False), ({"foreground": True}, {"unknown_orders": 1}, True),
        ({"has_traded": True, "state": "draining"}, {"working_orders": 2}, True),
        ({"has_traded": True, "processes": [ProcessState(name="venue", role="venue")]}, None, False),
    ],
)  # fmt: skip
def test_what_may_be_open_at_an_exchange_that_is_not_ours(tmp_path, more, result, may):
    found = tree(tmp_path, result=result, **more)
    assert settle.may_be_open(found, {}) == may
    assert not settle.may_be_open(found, {"engine": (1, 1)}), "it lives: it is taken over"


def shard(*, ready: bool = True, phase: int = 6, working: int = 0) -> ShardView:
    return ShardView(feed_state=0, session_ready=ready, trading_state=4, working_orders=working, unknown_orders=0, session_phase=phase)


@pytest.mark.parametrize(
    ("shards", "says"),
    [
        ((shard(), shard()), ""), ((shard(), shard(ready=False, phase=8)), ""), ((), "does not run"), ((shard(working=2),), "2 orders are not cancelled"),
        ((shard(), shard(ready=False, phase=0)), "of shard 1 is not reconciled (no connection that is logged in)"),
        ((shard(ready=False, phase=7),), "the order session is not reconciled (no agreement with the venue)"),
        ((shard(ready=False, phase=8, working=1),), "1 orders are not cancelled"),
    ],
)  # fmt: skip
def test_what_keeps_a_recovered_run_from_having_nothing_open(shards, says):
    found = EngineView(pid=1, epoch=1, up=True, heartbeat_count=1, kill_level=0, shards=shards).unsettled()
    assert (says in found) if says else not found
