"""A tree from start to end: readiness in order, orders only after it, recovery, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal

import pytest

from orchestrator.control.bodies import KINDS
from orchestrator.run.journals import verify_journal

COMMAND, INTENT, ADDS_RISK = 21, 64, (1, 2)  # journal/record.h: enter and replace
NAMES = {number: name for name, number in KINDS.items()}


def story(folder) -> list[str]:
    """The run's commands by name and its intents that add risk, in journal order."""
    from hotpath import _core

    out = []
    for r in _core.journal.Reader(str(folder)):
        if r[0] == COMMAND:
            out.append(NAMES[int.from_bytes(bytes(r[4])[8:10], "little")])
        elif r[0] == INTENT and bytes(r[4])[0] in ADDS_RISK:
            out.append("intent")
    return out


def verify(folder) -> None:
    """The run's journal replays to what it recorded."""
    assert verify_journal(folder)["identical"]


def orders(rig) -> int:
    """Orders the engine has sent, by its telemetry; 0 while it shows none."""
    from orchestrator.observe.segment import Segment, SegmentError
    from orchestrator.observe.shards import read_engine
    from orchestrator.observe.telemetry import TelemetryError

    try:
        with Segment(rig.name) as segment:
            return read_engine(segment)["orders"]
    except (SegmentError, TelemetryError):
        return 0


def test_no_order_leaves_before_the_resume_and_after_down_nothing_is_left(rig):
    tree = rig.up()
    assert tree["state"] == "trading" and tree["trading_enabled"] and tree["generation"] == 1
    assert [p["name"] for p in tree["processes"]][:2] == ["venue", "engine"]
    assert all(p["state"] in ("ready", "trading") for p in tree["processes"])
    rig.wait(lambda: orders(rig) > 0)
    engine = next(p for p in rig.state().processes if p.role == "engine")
    assert engine.alive()
    engine.pid = os.getpid()  # the number in other hands
    assert not engine.alive()
    again = rig.call("up", "--detach", *rig.options(), code=75)
    assert "supervised already" in again.stderr and "peregrine down" in again.stderr
    report = json.loads(rig.call("down", rig.name, "--json").stdout)
    assert report["code"] == 0 and report["open_orders"] == 0 and report["notes"] == [] and report["orders"] > 0
    assert rig.left() == []
    state = rig.state()
    assert state.state == "stopped" and not state.trading_enabled and all(p.pid == 0 for p in state.processes)
    rows = story(rig.run_folder())
    assert rows[0] == "pause" and rows.index("resume") < rows.index("intent")
    assert "intent" not in rows[: rows.index("resume")] and "drain" in rows
    assert "down already" in rig.call("down", rig.name).stdout
    verify(rig.run_folder())


@pytest.mark.slow
def test_an_engine_killed_or_stopped_is_recovered_and_trades_on_in_the_same_run(make_rig):
    rig = make_rig({"supervise.stall_ms": "1000", "supervise.stall_kill_ms": "6000"})
    run = rig.up()["run"]
    venue, first = rig.pid("venue"), rig.pid("engine")
    rig.wait(lambda: orders(rig) > 0)

    os.kill(first, signal.SIGKILL)
    rig.wait(lambda: rig.state().state == "trading" and rig.pid("engine") not in (0, first))
    engine = next(p for p in rig.state().processes if p.role == "engine")
    assert engine.restarts >= 1 and engine.recovery_ns > 0
    before = orders(rig)
    rig.wait(lambda: orders(rig) > before)

    os.kill(engine.pid, signal.SIGSTOP)
    rig.wait(lambda: "stopped by a signal" in (rig.run_folder() / "logs" / "supervisor.log").read_text())
    rig.wait(lambda: rig.state().state == "trading" and rig.pid("engine") not in (0, engine.pid))

    state = rig.state()
    assert state.run == run and rig.pid("venue") == venue, "the same run, the same exchange"
    report = rig.down()
    assert report["restarts"]["engine"] >= 2 and report["recovery_ns"] > 0 and report["open_orders"] == 0
    rows = story(rig.run_folder())
    assert rows.count("pause") == rows.count("resume") == report["restarts"]["engine"] + 1
    verify(rig.run_folder())


@pytest.mark.slow
def test_an_embedded_exchange_that_dies_ends_the_tree_with_its_reason(make_rig):
    rig = make_rig({"supervise.stop_timeout_s": "4"})  # the engine has nobody left to cancel at
    rig.up()
    os.kill(rig.pid("venue"), signal.SIGKILL)
    rig.wait(lambda: rig.state().state == "failed")
    rig.wait(lambda: not rig.state().supervisor_alive())
    assert "exchange" in rig.state().reason and "SIGKILL" in rig.state().reason
    assert rig.left() == []
    assert rig.up()["state"] == "trading", "and the next start begins a new day"
    rig.down()


@pytest.mark.slow
def test_an_engine_that_dies_too_often_is_given_up_and_its_last_records_are_saved(make_rig):
    rig = make_rig({"supervise.restart.max_restarts": "0"})
    rig.up()
    rig.wait(lambda: orders(rig) > 0)
    os.kill(rig.pid("engine"), signal.SIGKILL)
    rig.wait(lambda: not rig.state().supervisor_alive())
    assert rig.state().state == "failed" and "given up" in rig.state().reason
    assert rig.left() == []
    verify(rig.run_folder())
    assert "intent" in story(rig.run_folder())


@pytest.mark.slow
def test_in_the_foreground_a_ctrl_c_ends_all_and_the_report_is_printed(rig):
    up = rig.begin("up", "--no-panel", *rig.options())
    rig.wait(lambda: rig.state().state == "trading")
    up.send_signal(signal.SIGINT)
    out, err = up.communicate(timeout=180)
    assert up.returncode == 0, err
    assert f"{rig.name} is down after" in out and "0 open" in out
    assert "waiting for engine" in err and "is trading after" in err
    assert rig.left() == []
