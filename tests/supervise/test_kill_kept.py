"""A kill that its engine did not live to see, or that came while none lived, holds the engine that is started next."""

from __future__ import annotations

import os
import signal

import pytest
from tree_rig import Venue

from orchestrator.observe.segment import process_start_ticks
from orchestrator.supervise import state_file
from orchestrator.supervise.view import read_view


def killed(rig) -> bool:
    """Is the present engine back, let trade, and killed?"""
    view, state = read_view(rig.name), rig.state()
    return bool(view and view.up and view.kill_level == 1 and view.shards[0].trading_state == 5 and state.trading_enabled
                and state.reason == "no shard trades: killed")  # fmt: skip


def revive(rig) -> None:
    """Both steps, and trading again."""
    token = rig.ask("revive", why="go on")["token"]
    rig.ask("revive", why="go on", token=token)
    rig.wait(lambda: rig.state().state == "trading")


def test_a_kill_unseen_by_a_stopped_engine_or_given_while_none_lives_holds_the_next_one(make_rig):
    rig = make_rig({"supervise.restart.backoff_ms": "2000"})  # doubled each time: away for four seconds, then for eight
    rig.up()

    first = rig.pid("engine")
    os.kill(first, signal.SIGSTOP)
    said = rig.call("kill", rig.name, "--yes", "--why", "it stands still").stderr
    assert "its supervisor knows who and why" in said and "could not be told" not in said
    os.kill(first, signal.SIGKILL)
    rig.wait(lambda: rig.pid("engine") not in (0, first) and killed(rig))
    revive(rig)

    second = rig.pid("engine")
    os.kill(second, signal.SIGKILL)
    rig.wait(lambda: rig.pid("engine") == 0)
    said = rig.here("kill", rig.name, "--yes", "--why", "it is away")
    assert "no engine runs just now" in said and "before it may trade" in said
    rig.wait(lambda: rig.pid("engine") not in (0, second) and killed(rig))
    assert rig.state().kill_owed == 0
    revive(rig)

    third = rig.pid("engine")
    os.kill(third, signal.SIGKILL)
    rig.wait(lambda: rig.pid("engine") == 0)
    rig.ask("kill")
    assert rig.state().kill_owed == 1, "written down before it is answered"
    rig.kill_supervisor()
    rig.call("up", "--take-over", "--name", rig.name, "--detach")
    rig.wait(lambda: rig.pid("engine") not in (0, third) and killed(rig))
    rig.call("down", rig.name)


def test_a_kill_while_neither_engine_nor_supervisor_lives_holds_what_is_started_next(make_rig):
    rig = make_rig()
    rig.up()
    first = rig.pid("engine")
    rig.kill_supervisor()
    os.kill(first, signal.SIGKILL)
    rig.wait(lambda: process_start_ticks(first) == 0)
    said = rig.call("kill", rig.name, "--yes", "--why", "all of it is gone").stdout
    assert "neither its supervisor" in said and "before it may trade" in said
    assert rig.state().kill_owed == 1 == state_file.read(rig.run_folder()).kill_owed
    rig.call("up", "--take-over", "--name", rig.name, "--detach")
    rig.wait(lambda: rig.pid("engine") not in (0, first) and killed(rig))
    revive(rig)

    second = rig.pid("engine")
    os.kill(second, signal.SIGSTOP)
    rig.kill_supervisor()
    rig.call("kill", rig.name, "--yes", "--why", "the word is set, and nobody there looks at it")
    os.kill(second, signal.SIGKILL)
    rig.wait(lambda: process_start_ticks(second) == 0)
    rig.call("up", "--take-over", "--name", rig.name, "--detach")
    rig.wait(lambda: rig.pid("engine") not in (0, second) and killed(rig))
    rig.call("down", rig.name)
    assert rig.call("kill", rig.name, "--yes", code=69).stderr, "it was taken down: nothing is to be started for that run"
    assert rig.state().kill_owed == 0


@pytest.mark.slow
@pytest.mark.parametrize("where", ["embedded", "external"])
def test_a_kill_in_a_run_that_was_given_up_holds_the_next_up(make_rig, where):
    venue = Venue(cancel_on_disconnect=False) if where == "external" else None
    rig = make_rig({**(venue.settings() if venue else {}), "supervise.restart.max_restarts": "0", "supervise.after_both_died": "resume"})
    if venue:
        del rig.settings["venue.rate_per_s"]
    run = rig.up(SUP_TEST_WORD="PEREGRINE1")["run"]
    rig.call("kill", rig.name, "--yes", "--why", "it looks wrong")
    os.kill(rig.pid("engine"), signal.SIGKILL)
    rig.wait(lambda: not rig.state().supervisor_alive())
    assert rig.state().state == "failed" and rig.state().kill_owed == 1
    tree = rig.up(SUP_TEST_WORD="PEREGRINE1")
    assert (tree["run"] == run) == (venue is not None) and tree["state"] == "ready", tree
    view = read_view(rig.name)
    assert view and view.kill_level == 1 and {s.trading_state for s in view.shards} == {5} and rig.state().kill_owed == 0
    rig.down()
    if venue is None:
        assert rig.up()["state"] == "trading", "down and up are a person's decision"
        rig.down()
    else:
        venue.server.stop()
