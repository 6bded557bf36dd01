"""A flatten or a reduce-only that is asked for while no engine runs: what the engine that comes next makes of it."""

from __future__ import annotations

import os
import signal

import pytest
from tree_rig import Rig, Venue

from orchestrator.control.errors import ControlError

CARRIED = 1000  # lots of shard 0's symbol at the start: there is something to close whatever was traded before
NEVER = {"supervise.restart.backoff_ms": "600000", "supervise.restart.backoff_max_ms": "600000"}  # nothing is started again in time


@pytest.fixture
def venue():
    made = Venue()
    yield made
    made.server.stop()


def without_engine(rig: Rig) -> None:
    """It dies, and its supervisor waits longer than the test."""
    os.kill(rig.pid("engine"), signal.SIGKILL)
    rig.wait(lambda: rig.pid("engine") == 0)


def next_engine(rig: Rig) -> None:
    """The next supervisor starts one at once, and it is let trade."""
    rig.kill_supervisor()
    rig.call("up", "--take-over", "--name", rig.name, "--detach", SUP_TEST_WORD="PEREGRINE1")
    rig.wait(lambda: rig.pid("engine") != 0 and rig.state().trading_enabled)


def traded(venue: Venue, user: str) -> int:
    """Lots bought less lots sold, by the venue's own record."""
    summary = venue.server.summary(user)
    return int(summary["bought"]) - int(summary["sold"])


def told(rig: Rig, shard: int) -> list[tuple[str, str, str]]:
    """Kind, who and why of the commands in that shard's journal, in its order; but for the budget, which moves when it will."""
    found = [c for c in rig.ask("commands")["commands"] if c["shard"] == shard and c.get("who", "leases") != "leases"]
    return [(c["kind"], c["who"], c["why"]) for c in sorted(found, key=lambda c: c["seq"])]


def test_what_reduces_is_kept_over_the_death_of_both_and_done_by_the_next_engine_before_anything_else(make_rig, venue):
    rig = make_rig({**venue.settings(), **NEVER, "account.start_position_lots": f'{{"PRGN": {CARRIED}}}'})
    del rig.settings["venue.rate_per_s"]
    rig.up(SUP_TEST_WORD="PEREGRINE1")
    without_engine(rig)
    said = rig.call("flatten", "--shard", "0", "--name", rig.name, "--why", "enough", "--who", "anna").stdout
    assert "before it may trade" in said and "positions are closed once" in said
    rig.ask("reduce_only", why="a slip", who="bob", on=True)
    assert "taken_back" in rig.ask("reduce_only", why="not 0", who="bob", on=False, shard=0)
    assert [(h.shard, h.kind, h.owed) for h in rig.state().holds] == [(0, "flatten", True), (1, "reduce_only", True)], "written down before it is answered"
    owed = "owed to the engine that comes next: "
    assert rig.ask("status")["remarks"] == [owed + "flatten by anna: enough, shard 0", owed + "reduce-only by bob: a slip, shard 1"]
    next_engine(rig)
    rig.wait(lambda: traded(venue, "DEMO01") == -CARRIED and int(venue.server.summary("DEMO01")["open_orders"]) == 0)
    assert rig.state().holds == [], "the journal keeps them from here on"
    for shard, given in ((0, ("flatten", "anna", "enough")), (1, ("reduce_only", "bob", "a slip"))):
        commands = told(rig, shard)
        assert commands[-2] == given and commands[-1][:2] == ("resume", "supervisor"), commands
    assert any("shard 1: reduce-only by bob: a slip" in line for line in rig.ask("status")["remarks"])
    report = rig.down()
    assert report["open_orders"] == 0 and traded(venue, "DEMO01") == -CARRIED, "flat it stays"


@pytest.mark.slow
def test_a_flatten_that_is_owed_is_taken_back_by_a_resume_and_ended_by_a_kill(make_rig, venue):
    rig = make_rig({**venue.settings(), **NEVER})
    del rig.settings["venue.rate_per_s"]
    rig.up(SUP_TEST_WORD="PEREGRINE1")
    without_engine(rig)
    rig.ask("flatten", why="enough", who="anna")
    with pytest.raises(ControlError, match="to be flattened by anna"):
        rig.ask("reduce_only", why="?", on=False)
    assert "to be flattened by anna (enough)" in rig.ask("resume", why="a slip", all=True)["taken_back"]
    assert rig.state().holds == []
    rig.ask("flatten", why="enough", who="anna")
    rig.ask("kill")
    rig.ask("reduce_only", why="as well", who="bob", on=True, shard=1)
    assert [(h.shard, h.kind, h.after_kill) for h in rig.state().holds] == [(1, "reduce_only", True)]
    next_engine(rig)
    rig.wait(lambda: rig.state().reason == "no shard trades: killed")
    assert "flatten" not in [kind for shard in (0, 1) for kind, *_ in told(rig, shard)]
    assert ("reduce_only", "bob", "as well") in told(rig, 1)
    rig.down()
