"""One tree whose supervisor is made to wait, whose engine and supervisor are killed, and which a person has drained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from test_tree import orders, story, verify

from orchestrator.observe.segment import process_start_ticks
from orchestrator.supervise.view import read_view

#: a supervisor whose main loop stands still while a file is there; beside it lies another meanwhile
STANDING = """
import sys, time
from pathlib import Path
from orchestrator.config import load_profile
from orchestrator.supervise.launch import launch
gate = Path(sys.argv[1])
inside = gate.with_suffix(".in")
def wait(_):
    while gate.exists():
        inside.touch()
        time.sleep(0.01)
launch(load_profile("laptop", sys.argv[2:]), on_round=wait).run()
"""


def beats(rig) -> int:
    """How often the supervisor has beaten into the engine's memory."""
    from hotpath import _core

    return int(_core.Segment.attach(rig.name).header()["supervisor_beats"])


@pytest.mark.slow
def test_a_drain_outlives_engine_and_supervisor_and_the_heartbeat_a_loop_that_waits(make_rig, tmp_path):
    rig = make_rig({"supervise.heartbeat_ms": "20", "supervise.hung_after_ms": "4000"})
    gate = tmp_path / "gate"
    settings = [f"{key}={value}" for key, value in rig.settings.items()]
    rig.others.append(subprocess.Popen([sys.executable, "-c", STANDING, str(gate), *settings], cwd=tmp_path, env=rig.environment(),
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True))  # fmt: skip
    rig.wait(lambda: rig.state().state == "trading")

    gate.touch()
    rig.wait(gate.with_suffix(".in").exists)
    before = beats(rig)
    rig.wait(lambda: "main loop stands still" in (rig.run_folder() / "logs" / "supervisor.log").read_text())
    still = beats(rig)
    assert still > before + 2, "it beat while the loop was waited for"
    time.sleep(0.2)
    assert beats(rig) == still, "a loop that stands still for good is found"
    gate.unlink()
    rig.wait(lambda: beats(rig) > still)

    rig.ask("drain", why="lunch", who="anna", all=True)
    rig.wait(lambda: rig.state().reason == "no shard trades: drained by anna (lunch)")
    engine = rig.pid("engine")
    os.kill(engine, signal.SIGKILL)
    rig.wait(lambda: rig.state().trading_enabled and rig.pid("engine") not in (0, engine) and rig.state().state == "ready")
    rig.wait(lambda: "drained by anna" in rig.state().reason)
    sent = orders(rig)

    os.kill(rig.state().supervisor_pid, signal.SIGKILL)
    rig.others[0].wait()
    engine = rig.pid("engine")
    os.kill(engine, signal.SIGKILL)  # and now both of them at once
    rig.wait(lambda: process_start_ticks(engine) == 0)
    rig.call("up", "--take-over", "--detach")
    state = rig.state()
    assert state.state == "ready" and state.reason == "no shard trades: drained by anna (lunch)"
    assert [(h.shard, h.kind, h.who, h.why) for h in state.holds] == [(0, "drain", "anna", "lunch")]
    view = read_view(rig.name)
    assert view is not None and view.open_orders() == 0 and orders(rig) == sent

    rig.ask("resume", why="back", who="bob", all=True)
    rig.wait(lambda: rig.state().state == "trading" and orders(rig) > sent)
    assert rig.state().holds == []
    os.kill(rig.state().supervisor_pid, signal.SIGUSR1)  # sent to the wrong process, and meant for the engine
    rig.wait(lambda: rig.state().reason == "no shard trades: killed")
    assert rig.down()["open_orders"] == 0
    rows = story(rig.run_folder())
    first = rows.index("drain")
    last = len(rows) - 1 - rows[::-1].index("resume")
    assert "intent" in rows[:first] and "intent" in rows[last:] and "intent" not in rows[first:last]
    verify(rig.run_folder())
