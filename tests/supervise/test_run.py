"""`peregrine run`: the tree of `up` for one run, which ends with its process whatever ends that."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import msgspec
import pytest
from test_tree import orders, story, verify

from orchestrator.cli._errors import CliError
from orchestrator.config import load_profile
from orchestrator.control.doors import SOCKET
from orchestrator.day.reconciler import read_status
from orchestrator.observe.result import RunResult
from orchestrator.observe.segment import process_start_ticks
from orchestrator.supervise.launch import _worth_taking
from orchestrator.supervise.state_file import ProcessState, TreeState
from orchestrator.supervise.stopping import read_result


@pytest.mark.parametrize(
    ("role", "traded", "open_orders", "resumes", "worth_a_decision"),
    [("venue", True, None, False, False), ("engine", False, None, False, False), ("engine", True, 0, False, False),
     ("engine", True, None, False, True), ("engine", True, 2, False, True), ("engine", True, None, True, False)],
)  # fmt: skip
def test_what_a_killed_run_left_needs_a_decision_only_where_orders_may_be_open(tmp_path, role, traded, open_orders, resumes, worth_a_decision):
    found = TreeState(name="r", supervisor_pid=1, supervisor_start_ticks=0, run=str(tmp_path), foreground=True, has_traded=traded,
                      state="trading", processes=[ProcessState(name=role, role=role)])  # fmt: skip
    if open_orders is not None:
        (tmp_path / "result.json").write_bytes(msgspec.json.encode(RunResult(working_orders=open_orders)))
    cfg = load_profile("laptop")
    resume = tmp_path if resumes else None
    if worth_a_decision:
        with pytest.raises(CliError, match="died without a supervisor") as refused:
            _worth_taking(cfg, found, {}, resume)
        assert "peregrine down r" in refused.value.hint and "--resume" in refused.value.hint
    else:
        assert not _worth_taking(cfg, found, {}, resume), "never taken over"


def started(rig, *args: str):
    """A run under way: its process, once it trades."""
    run = rig.begin("run", "--json", *args, *rig.options())
    rig.wait(lambda: rig.state().state == "trading" and rig.state().supervisor_pid == run.pid)
    return run


@pytest.mark.slow
def test_a_run_recovers_its_engine_obeys_the_control_api_and_goes_on_in_the_same_folder_another_time(rig):
    run = started(rig)
    assert [p.role for p in rig.state().processes] == ["venue", "engine"]
    rig.wait(lambda: orders(rig) > 0)
    rig.ask("pause", why="a look", who="anna", all=True)
    rig.wait(lambda: rig.state().reason == "no shard trades: paused by anna (a look)")
    rig.ask("resume", why="seen", who="anna", all=True)

    engine = rig.pid("engine")
    os.kill(engine, signal.SIGKILL)
    rig.wait(lambda: rig.state().state == "trading" and rig.pid("engine") not in (0, engine))
    before = orders(rig)
    rig.wait(lambda: orders(rig) > before)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=180)
    assert run.returncode == 0, err
    report = json.loads(out)
    assert report["recoveries"] == 1 and report["recovered_ns"] > 0 and report["stopped_by"] == "signal"
    assert report["orders"] > 0 and report["unknown_orders"] == 0 and rig.left() == []
    folder = rig.run_folder()
    rows = story(folder)
    assert rows[0] == "pause" and "intent" not in rows[: rows.index("resume")]

    again = json.loads(rig.call("run", "--json", "--for", "300ms", "--resume", str(folder), *rig.options()).stdout)
    assert again["stopped_by"] == "time" and again["journal"] == report["journal"] == str(folder)
    assert again["recovery"]["replayed_inputs"] > 0 and again["orders"] >= report["orders"] and "recoveries" not in again
    verify(folder)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["supervised", "--one-process"])
def test_nothing_outlives_a_run_that_is_killed(rig, how):
    if how == "supervised":
        run = started(rig)
        rig.wait(lambda: orders(rig) > 0)
        children = [p.pid for p in rig.state().processes]
    else:
        run = rig.begin("run", "--json", how, *rig.options())
        rig.wait(lambda: orders(rig) > 0)
        children = [int(pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    assert children and all(process_start_ticks(pid) for pid in children)
    run.kill()
    rig.wait(lambda: not any(process_start_ticks(pid) for pid in children))
    if how == "supervised":
        result = read_result(rig.run_folder())
        assert result is not None and result.working_orders == 0, "the engine has ended in order"
        report = json.loads(rig.call("run", "--json", "--for", "100ms", *rig.options()).stdout)
        assert report["stopped_by"] == "time"
    else:
        for path in rig.left():
            Path(path).unlink()  # the segment and the ring of the killed engine, which its `--resume` would have found


def test_a_run_that_cannot_begin_says_why_and_leaves_nothing(make_rig):
    rig = make_rig({"policies.members.0.file": "/nowhere/policy.safetensors"})
    refused = rig.call("run", "--json", "--for", "1s", *rig.options(), code=78)
    assert "/nowhere/policy.safetensors" in refused.stderr and "hint:" in refused.stderr and refused.stdout == ""
    assert rig.left() == []


def test_a_run_with_a_reconciler_trades_once_the_venue_agrees_and_it_ends_with_the_run_however_that_ends(make_rig):
    rig = make_rig({"day.reconcile.enabled": "true", "day.reconcile.status_ms": "50"})
    report, said = json.loads(rig.call("run", "--json", "--for", "300ms", *rig.options()).stdout), read_status(rig.run_folder())
    assert [p.role for p in rig.state().processes] == ["venue", "engine", "reconciler"]
    assert report["stopped_by"] == "time" and report["warnings"] == [] and said is not None
    assert said.state == "ended" and said.agreed == report["fills"] and said.standing == []
    assert rig.left() == []

    run = started(rig)
    rig.wait(lambda: (s := read_status(rig.runtime)) and s.run == str(rig.run_folder()) and s.agreed > 0)
    children = [p.pid for p in rig.state().processes]
    assert len(children) == 3 and all(process_start_ticks(pid) for pid in children)
    run.kill()
    rig.wait(lambda: not any(process_start_ticks(pid) for pid in children))
    result, said = read_result(rig.run_folder()), read_status(rig.run_folder())
    assert result is not None and result.working_orders == 0 and said is not None, "the engine has ended in order, and then it"
    assert said.state == "ended" and said.agreed == result.fills and said.standing == []
    assert rig.left() == [str(rig.runtime / SOCKET)]
    (rig.runtime / SOCKET).unlink()  # which the next supervisor of that name would have taken
