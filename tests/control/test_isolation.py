"""The kill switch works whatever befalls the control plane: supervisor stopped, flooded, log disk full, subscriber hung.

A whole tree as `peregrine up` starts it. After each disturbance the word (or the signal) must stop the engine; a revival by
the control API, once it can answer again, starts the next case. How much of it the engine's latency feels is measured by
bench/control_isolation.py, never asserted here.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
import zmq
from control_rig import until

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "supervise"))
from tree_rig import Patient, Rig  # noqa: E402

from orchestrator.cli.main import main  # noqa: E402
from orchestrator.control.errors import ControlError  # noqa: E402
from orchestrator.control.messages import Request  # noqa: E402
from orchestrator.observe.segment import Segment  # noqa: E402
from orchestrator.observe.shards import read_engine  # noqa: E402

KILLED = 5
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tree():
    folder = Path(tempfile.mkdtemp(prefix="prg"))
    rig = Rig(folder, {"supervise.engine_loss_policy": "trade", "observe.metrics": "127.0.0.1:0", "risk.max_drawdown_units": "2_000_000_000", "risk.max_loss_units": "2_000_000_000"})
    patch = pytest.MonkeyPatch()
    patch.setenv("PEREGRINE_RUNTIME_DIR", str(rig.runtime_base))
    try:
        rig.up()
        yield rig
        rig.down(code=None)
    finally:
        rig.sweep()
        patch.undo()
        shutil.rmtree(folder, ignore_errors=True)


def counters(name):
    with Segment(name) as segment:
        return read_engine(segment).counters


def revive(name):
    with Patient.local(name, timeout_s=60) as control:
        token = control.call("revive", why="next case").data["token"]
        control.call("revive", {"token": token}, why="next case")
    before = counters(name)["orders"]
    until(lambda: counters(name)["orders"] > before)


def kill(capsys, *args):
    """`peregrine kill`, in this process; what it prints."""
    with pytest.raises(SystemExit) as end:
        main(["kill", *args, "--yes"])
    assert end.value.code == 0
    return capsys.readouterr().out


def killed(name):
    c = counters(name)
    return c["trading_state"] == KILLED and c["working_orders"] == 0


@contextmanager
def supervisor_stopped(tree):
    pid = tree.state().supervisor_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def subscriber_hung(tree):
    """Connected, subscribed to everything, never reads."""
    context = zmq.Context()
    s = context.socket(zmq.SUB)
    s.setsockopt(zmq.RCVHWM, 1)
    s.subscribe(b"")
    s.connect(f"ipc://{tree.runtime}/telemetry.sock")
    time.sleep(0.3)
    try:
        yield
    finally:
        context.destroy(linger=0)


@contextmanager
def flooded(tree, request=None):
    """Questions as fast as they go, from several connections that do not read their answers."""
    over = threading.Event()
    context = zmq.Context()

    def flood():
        s = context.socket(zmq.DEALER)
        s.linger = 0
        s.connect(f"ipc://{tree.runtime}/control.sock")
        while not over.is_set():
            with suppress(zmq.Again):
                s.send(request or msgspec.msgpack.encode(Request(cmd="status")), zmq.NOBLOCK)
            time.sleep(0.001)
        s.close()

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        time.sleep(0.3)
        yield
    finally:
        over.set()
        for t in threads:
            t.join()
        context.term()


@contextmanager
def garbage(tree):
    with flooded(tree, b"\xc1" * 1000):
        yield


@contextmanager
def log_disk_full(tree):
    """Every file the supervisor writes is at its limit; the engine's journal is another process's."""
    import resource

    pid = tree.state().supervisor_pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


DISTURBANCES = [supervisor_stopped, subscriber_hung, flooded, garbage, log_disk_full]


@pytest.mark.parametrize("disturbance", DISTURBANCES, ids=lambda d: d.__name__)
def test_the_kill_word_stops_the_engine_while(tree, disturbance, capsys):
    with disturbance(tree):
        before = counters(tree.name)["orders"]
        until(lambda: counters(tree.name)["orders"] > before)  # it trades on
        assert "kill word set" in kill(capsys, tree.name, "--why", "test")
        until(lambda: killed(tree.name))
    revive(tree.name)


@pytest.mark.parametrize("disturbance", [flooded, garbage, log_disk_full, subscriber_hung], ids=lambda d: d.__name__)
def test_a_kill_by_the_control_api_is_answered_and_journaled_while(tree, disturbance):
    with disturbance(tree), Patient.local(tree.name, timeout_s=60) as control:
        reply = control.call("kill", why="test")
        assert reply.data["kill_word"] and (reply.effects or "not_journaled" in reply.data)  # an engine that got no core
        until(lambda: killed(tree.name))
    with Patient.local(tree.name, timeout_s=60) as control:
        until(lambda: any(c.get("id") == reply.id for c in control.call("commands").data["commands"]))
    revive(tree.name)


def test_what_the_full_disk_lost_is_counted_and_commands_go_on(tree):
    with log_disk_full(tree), Patient.local(tree.name, timeout_s=60) as control:
        assert control.call("note", {"text": "no room"}, why="test").effects
        until(lambda: control.call("status").data["control"]["audit_lost"] >= 1)
    with Patient.local(tree.name, timeout_s=60) as control:
        assert any(c.get("text") == "no room" for c in control.call("commands").data["commands"])


def test_policies_and_snapshots_reach_the_engine_process_of_a_tree(tree):
    with Patient.local(tree.name, timeout_s=60) as control:
        control.call("policy.load", {"slot": 0, "path": "builtin:default"}, why="test")
        assert control.call("policy.swap", {"slot": 0}, why="test").effects
        assert control.call("snapshot", why="test").data["shards"] == [{"shard": 0, "asked": True}]
        assert control.call("log_level", {"level": "debug"}, why="test").data["level"] == "debug"


def test_the_signal_stops_the_engine_with_the_supervisor_stopped(tree, capsys):
    with supervisor_stopped(tree):
        assert "SIGUSR1 sent" in kill(capsys, tree.name, "--signal")
        until(lambda: killed(tree.name))


def test_limits_and_commands_are_known_over_a_restart_of_the_engine(tree):
    """Last: the signal before has killed this engine for good; a new process of it goes on with the run."""
    with Patient.local(tree.name, timeout_s=60) as control:
        control.call("limits.set", {"limits": {"collar_bps": 321}}, why="before the restart")
        first = control.call("commands").data["commands"]
        token = control.call("revive", why="too soon").data["token"]
        with pytest.raises(ControlError, match="kill stands"):
            control.call("revive", {"token": token}, why="too soon")
        with Segment(tree.name) as segment:  # of this engine: opened before the next one can be there
            control.call("start", {"restart": True}, why="test")
            until(segment.superseded)

        def again():
            try:
                effects = control.call("note", {"text": "after the restart"}, why="test").effects
            except ControlError:
                return False
            return effects[0].seq > first[-1]["seq"]

        until(again)
        assert control.call("limits.get").data["symbols_default"]["collar_bps"] == 321
        listed = control.call("commands").data["commands"]
        assert [c["seq"] for c in listed[: len(first)]] == [c["seq"] for c in first]
        assert any(c.get("text") == "after the restart" for c in listed)
    revive(tree.name)  # the signal's kill lasted as long as the process it was sent to, and its effect until now
