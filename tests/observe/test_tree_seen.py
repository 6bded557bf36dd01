"""A whole tree as `up` starts it, seen by Prometheus and a collector of traces: every panel of the dashboard has data; pause,
a dead engine, its restart and recovery, refusals and a lost supervisor are told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
import zmq

from orchestrator.config.models_operate import AlertRule
from orchestrator.control.client import ControlClient
from orchestrator.observe import dashboard
from tests.observe.collector import Collector
from tests.observe.monitoring import PANELS, QUICK, Monitoring, needs_prometheus, until

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "supervise"))
from tree_rig import Rig  # noqa: E402

pytestmark = [
    needs_prometheus, pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("PEREGRINE_ALERTS") != "all", reason="make alerts runs it"),
]  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    """A tree whose telemetry process serves at a port of its own, and a collector of its traces."""
    pytest.importorskip("opentelemetry.sdk.trace")
    collector = Collector()
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as one:
        address = f"127.0.0.1:{one.getsockname()[1]}"
    rig = Rig(tmp_path, {
        "observe.metrics": address, "observe.otlp": collector.url, "supervise.heartbeat_ms": "50", "supervise.restart.backoff_ms": "3000",
        "instruments": json.dumps([{"symbol": s, "increment_ticks": 100, "round_lot_lots": 100} for s in ("PRGN", "FLCN", "HAWK", "KITE")]),
        "engine.shards": "2", "venue.rate_per_s": "1000", "venue.faults": "reject=10%", "risk.max_working_orders": "1",
        "policies.placement": "device", "device.backend": "cpu", "day.reconcile.enabled": "true",
    })  # fmt: skip
    try:
        rig.up()
        yield rig, address, collector
    finally:
        rig.sweep()
        collector.close()


def garbage(path: Path, count: int) -> None:
    context = zmq.Context()
    client = context.socket(zmq.DEALER)
    client.connect(f"ipc://{path}")
    for _ in range(count):
        client.send_multipart([b"", b"\xc1 no message of ours"])
    client.close(1000)
    context.term()


def every_panel(seen: Monitoring, name: str) -> None:
    """Ask what each panel asks, until each has an answer; PANELS remembers them for the summary."""
    waiting = [(title, expr.replace("$engine", name).replace("$__rate_interval", "6s")) for title, expr, _ in dashboard.queries()]

    def answered() -> bool:
        for one in list(waiting):
            if rows := seen.query(one[1]):
                waiting.remove(one)
                PANELS.append((*one, len(rows)))
        return not waiting

    until(answered, f"an answer to each of {waiting}")


def test_a_real_tree_gives_every_panel_data_and_is_seen_pausing_failing_restarting_refusing_and_losing_its_supervisor(tree, tmp_path, monkeypatch):
    rig, address, collector = tree
    monkeypatch.setenv("PEREGRINE_RUNTIME_DIR", str(rig.runtime_base))
    with Monitoring(tmp_path / "m", AlertRule(**QUICK | {"refused_attempts": 10}), scrape="1500ms") as seen:
        seen.watch(address)
        E = f'engine="{rig.name}"'
        until(lambda: len(seen.query(f"peregrine_process_up{{{E}}} == 1")) == 4, "venue, engine, reconciler and telemetry")
        assert seen.query(f"peregrine_trading_enabled{{{E}}} == 1") and seen.query(f"peregrine_supervisor_up{{{E}}} == 1")
        for name in ("thread_cpu_seconds_total", "thread_run_delay_seconds_total", "thread_switches_total", "thread_faults_total"):
            until(lambda name=name: seen.query(f'peregrine_{name}{{{E},process="engine"}} > 0'), name)
        every_panel(seen, rig.name)

        with ControlClient.local(rig.name) as control:
            control.call("pause", {"shard": 1}, who="kim", why="a look")
            seen.expect("PeregrineNotTrading", engine=rig.name, shard="1", state="paused", severity="info")
            control.call("resume", {"shard": 1}, who="kim", why="looked")

        noted = json.loads(rig.call("note", "lunch", "--why", "it is noon", "--name", rig.name, "--json").stdout)
        number, journaled = noted["id"], {(e["shard"], e["seq"]) for e in noted["effects"]}
        (span,) = until(lambda: [s for s in collector.spans() if s.trace_id.hex() == number], "the trace of a command", 20)
        at = [{a.key.removeprefix("peregrine."): a.value.int_value for a in e.attributes} for e in span.events if e.name == "journaled"]
        assert span.name == "control.note" and {(a["shard"], a["seq"]) for a in at} == journaled and len(journaled) == 2
        asked = next(e.time_unix_nano for e in span.events if e.name == "asked")
        assert asked < min(e.time_unix_nano for e in span.events if e.name == "journaled")
        assert any(number in line for line in (rig.run_folder() / "control.log").read_text().splitlines())
        assert any(number in line for line in (rig.run_folder() / "logs/supervisor.log").read_text().splitlines())

        os.kill(rig.pid("engine"), signal.SIGKILL)
        seen.expect("PeregrineProcessFailed", engine=rig.name, process="engine", severity="page")
        seen.expect("PeregrineProcessRestarted", engine=rig.name, process="engine")
        until(lambda: seen.query(f'peregrine_process_recovery_seconds{{{E},process="engine"}} > 0'), "the time it took")
        until(lambda: seen.query(f"peregrine_up{{{E}}} == 1"), "the engine's next life")

        garbage(rig.runtime / "control.sock", 60)
        seen.expect("PeregrineControlRefused", engine=rig.name)
        assert seen.query(f'peregrine_control_refused_total{{{E},reason="garbage"}} > 10')

        stages = {a.value.string_value for s in collector.spans() if s.name == "supervise.stage" for a in s.attributes}
        assert stages >= {"venue", "engine", "books", "session", "telemetry", "trading"}
        until(lambda: [s for s in collector.spans() if s.name == "supervise.recovery"], "the span of the recovery", 20)

        rig.kill_supervisor()
        seen.expect("PeregrineSupervisorLost", engine=rig.name, severity="critical")
