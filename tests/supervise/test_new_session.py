"""The venue has begun another session of the same date, with none of the orders of the one before, when an engine that died comes back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from test_tree import orders, verify
from tree_rig import Rig, Venue
from venue_gate import Gate

from orchestrator.cli.venue import venue_config
from orchestrator.observe.segment import process_start_ticks
from orchestrator.observe.states import lost_words
from orchestrator.run.shards import folders
from orchestrator.supervise import settle
from orchestrator.supervise.view import EngineView, ShardView, read_view
from orchestrator.supervise.watching import engine_state

WORD = {"SUP_TEST_WORD": "PEREGRINE1"}


class TwoSessions:
    """A venue behind doors of its own, and the session it begins next: another one, with everything from 1."""

    def __init__(self) -> None:
        self.first = Venue(cancel_on_disconnect=False)
        self.doors = {"ouch": Gate(self.first.server.ouch), "glimpse": Gate(self.first.server.glimpse)}
        self.now = self.first

    def settings(self) -> dict[str, str]:
        """Of a tree that trades here."""
        found = self.first.settings()
        return {**found, "venue": json.dumps({**json.loads(found["venue"]), **{name: door.address for name, door in self.doors.items()}})}

    def next_session(self) -> None:
        """It ends the one and begins the other."""
        from hotpath import _venue

        before = self.first.server
        before.stop()
        self.now = object.__new__(Venue)
        self.now.users, self.now.cancel_on_disconnect = self.first.users, False
        self.now.server = _venue.VenueServer(venue_config(symbols="PRGN,FLCN", rate=300, shards=2, session="PRGNEXT001", itch_a=before.itch_a, itch_b=before.itch_b))
        self.now.server.start()
        for name, door in self.doors.items():
            door.lead_to(getattr(self.now.server, name))

    def close(self) -> None:
        """The end."""
        for door in self.doors.values():
            door.close()
        self.first.server.stop()
        self.now.server.stop()


@pytest.fixture
def venue():
    made = TwoSessions()
    yield made
    made.close()


def both_die_with_orders_of_every_shard_out(rig: Rig, venue: TwoSessions) -> int:
    """No answer comes through any more, so no order ends by the engine's knowledge: what it has out stays out. How many."""
    venue.doors["ouch"].hold()
    rig.wait(lambda: (view := read_view(rig.name)) and all(s.working_orders for s in view.shards))
    engine = rig.pid("engine")
    os.kill(engine, signal.SIGSTOP)
    rig.kill_supervisor()
    view = read_view(rig.name)
    os.kill(engine, signal.SIGKILL)
    rig.wait(lambda: process_start_ticks(engine) == 0)
    assert view is not None
    return sum(s.working_orders for s in view.shards)


def test_orders_that_were_open_hold_the_run_until_a_person_has_compared_and_revived(make_rig, venue):
    rig = make_rig({**venue.settings(), "supervise.after_both_died": "resume"})
    del rig.settings["venue.rate_per_s"]
    run = rig.up(**WORD)["run"]
    out = both_die_with_orders_of_every_shard_out(rig, venue)
    venue.next_session()
    tree = rig.up(**WORD)
    assert tree["run"] == run and tree["state"] == "ready", tree
    assert "no shard trades: killed: the venue began another session while" in tree["reason"] and "peregrine revive" in tree["reason"]
    view = read_view(rig.name)
    assert view is not None and sum(s.lost_orders for s in view.shards) >= out and all(s.lost_orders for s in view.shards)
    assert any("began another session" in line for line in rig.ask("status")["reasons"])
    assert venue.now.total("accepted") == 0, "nothing new has left"

    token = rig.ask("revive", why="positions are the venue's", who="anna")["token"]
    rig.ask("revive", why="positions are the venue's", who="anna", token=token)
    rig.wait(lambda: rig.state().state == "trading")
    before = orders(rig)
    rig.wait(lambda: orders(rig) > before and venue.now.total("accepted"))
    assert rig.down()["open_orders"] == 0 and venue.now.total("open_orders") == 0
    for folder in folders(Path(run)):
        verify(folder)


@pytest.mark.slow
def test_down_says_what_nobody_knows_and_closes_the_books(make_rig, venue):
    rig = make_rig(venue.settings())
    del rig.settings["venue.rate_per_s"]
    rig.up(**WORD)
    both_die_with_orders_of_every_shard_out(rig, venue)
    venue.next_session()
    report: dict[str, Any] = json.loads(rig.call("down", rig.name, "--json", code=69, **WORD).stdout)
    assert "began another session" in report["reason"] and report["open_orders"] == 0 and report["hint"] == settle.BEGIN_ANEW
    assert rig.state().over() and venue.now.total("accepted") == 0


def test_a_shard_that_was_killed_for_it_says_so():
    shards = tuple(ShardView(2, True, doing, 0, 0, session_phase=6, lost_orders=lost) for doing, lost in ((5, 2), (5, 0), (1, 0)))
    state, why = engine_state("trading", EngineView(7, 1, True, 1, 0, shards), 7, enabled=True)
    assert state == "trading" and f"shard 0 killed: {lost_words(2)}; shard 1 killed" in why
    assert lost_words(0) == "" and "1 order was open" in lost_words(1) and "2 orders were open" in lost_words(2)
