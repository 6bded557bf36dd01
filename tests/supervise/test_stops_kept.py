"""A pause, a drain or a resume that comes while no engine runs: what it means for the one that comes next."""

from __future__ import annotations

import json
import os
import signal

import pytest

TWO = {"instruments": json.dumps([{"symbol": s, "increment_ticks": 100, "round_lot_lots": 100} for s in ("PRGN", "FLCN")]), "engine.shards": "2"}


def lose_engine(rig) -> int:
    """Kill it; its number. The next one comes after a wait."""
    pid = rig.pid("engine")
    os.kill(pid, signal.SIGKILL)
    rig.wait(lambda: rig.pid("engine") == 0)
    return pid


def back(rig, before: int, reason: str) -> bool:
    """Is another engine there, let trade, and in this state by its own reading?"""
    state = rig.state()
    return rig.pid("engine") not in (0, before) and state.trading_enabled and state.reason.startswith(reason)


def test_what_is_stopped_while_no_engine_runs_is_stopped_before_the_next_one_trades(make_rig):
    rig = make_rig({"supervise.restart.backoff_ms": "2500", **TWO})
    rig.up()

    first = lose_engine(rig)
    said = rig.here("pause", "--all", "--name", rig.name, "--why", "it is away", "--who", "anna")
    assert "before it may trade" in said
    assert [(h.shard, h.kind, h.owed) for h in rig.state().holds] == [(0, "pause", True), (1, "pause", True)], "written down before it is answered"
    rig.wait(lambda: back(rig, first, "no shard trades: paused by anna (it is away)"))
    assert not any(h.owed for h in rig.state().holds)
    rig.ask("resume", why="go on", all=True)
    rig.wait(lambda: rig.state().state == "trading")

    second = lose_engine(rig)
    rig.ask("drain", why="enough", who="bob", shard=1)
    rig.ask("drain", why="not this one", who="bob", shard=0)
    assert "taken_back" in rig.ask("resume", why="a slip", shard=0)
    rig.kill_supervisor()
    rig.call("up", "--take-over", "--name", rig.name, "--detach")
    rig.wait(lambda: back(rig, second, "books in step") and "shard 1 drained by bob (enough)" in rig.state().reason)
    assert "shard 0" not in rig.state().reason
    rig.call("down", rig.name)


@pytest.mark.slow
def test_a_symbol_paused_while_no_engine_runs_is_paused_in_the_next_one_and_only_that_resumes_it(make_rig):
    rig = make_rig({"supervise.restart.backoff_ms": "2500"})
    rig.up()
    first = lose_engine(rig)
    symbol = "PRGN"
    rig.ask("pause", why="news", who="anna", symbol=symbol)
    rig.wait(lambda: back(rig, first, "books in step"))
    assert rig.state().holds == [] and rig.ask("resume", why="all", all=True) == {"still_paused": [symbol], "hint": "paused by themselves: resume them by name"}
    rig.call("down", rig.name)
