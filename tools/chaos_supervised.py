"""A supervised tree as the chaos tools see it: `peregrine up` in the foreground, as a service manager runs it, its processes
by role, and what is left when it has ended. The venue is outside of the tree and outlives it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from chaos_world import PATIENCE_S, ChaosError, VenueRun, _die_with_parent, environment, settings

from orchestrator.observe.segment import FOLDER, Segment, SegmentError, process_start_ticks
from orchestrator.observe.shards import read_engine
from orchestrator.observe.telemetry import TelemetryError
from orchestrator.supervise import paths, state_file
from orchestrator.supervise.process import marked
from orchestrator.supervise.state_file import StateFileError, TreeState

ROLES = ("supervisor", "engine", "telemetry")
DECIDE = 69  # `up` wants a decision: engine and supervisor are both gone
LOST_AFTER_S, STALL_KILL_S = 0.7, 3.0

#: limits that bind: the gate refuses many times in a run
TIGHT = {"risk.max_long_lots": 300, "risk.max_short_lots": 300, "risk.max_working_orders": 2, "risk.max_account_orders": 3,
         "risk.max_account_notional_units": 600_000_000, "risk.max_working_notional_units": 600_000_000,
         "execution.max_inventory_lots": 300}  # fmt: skip
TREE = {
    "observe.metrics": "127.0.0.1:0", "observe.publish_ms": 250, "supervise.after_both_died": "ask",
    "supervise.heartbeat_ms": 50, "supervise.lost_after_ms": int(LOST_AFTER_S * 1e3), "supervise.stall_ms": 800,
    "supervise.stall_kill_ms": int(STALL_KILL_S * 1e3), "supervise.ready_timeout_s": 120, "supervise.stop_timeout_s": 60,
    "supervise.restart": {"max_restarts": 1000, "window_s": 10, "backoff_ms": 50, "backoff_max_ms": 400},
}  # fmt: skip


def several_shards(venue: VenueRun) -> dict[str, Any]:
    """An account of several shards: each has as much of what is divided as one alone has in TIGHT; gross exposure is leased, and
    all positions at their limits would come to more than there is."""
    n = venue.shards
    return {"engine.shards": n, "risk.max_gross_units": n * 600_000_000,
            **{name: n * TIGHT[name] for name in ("risk.max_account_orders", "risk.max_account_notional_units")}}  # fmt: skip


class TreeRun:
    """One tree over all its supervisors. `started` and `killed_by_us` tell a death that was meant from any other."""

    def __init__(self, folder: Path, name: str, venue: VenueRun, ouch: str, changes: dict[str, Any] | None = None,
                 preload: dict[str, str] | None = None) -> None:  # fmt: skip
        self.folder, self.name, self.preload = folder, name, preload or {}
        self.base = Path(tempfile.mkdtemp(prefix="prg"))  # short: a socket's path has little room
        os.environ[paths.VARIABLE] = str(self.base)
        self.runtime = self.base / name
        self.supervisor: subprocess.Popen[str] | None = None
        self._said: queue.Queue[str] = queue.Queue()
        self.starts = self.decisions = 0
        self.killed_by_us = False
        tree: dict[str, Any] = {"extends": "laptop", "version": 1, "name": "chaos", "venue": {**venue.yaml(), "ouch": ouch},
                                "engine": {"name": name}, "journal": {"dir": str(folder / "runs")}}  # fmt: skip
        several = several_shards(venue) if venue.shards > 1 else {}
        for path, value in {**settings(symbols=tuple(venue.names())), **TIGHT, **TREE, **several, **(changes or {})}.items():
            at = tree
            *parents, last = path.split(".")
            for key in parents:
                at = at.setdefault(key, {})
            at[last] = value
        self.settings = tree
        self.config = folder / "engine.yaml"
        self.config.write_text(yaml.safe_dump(tree))

    # ---- commands

    def environment(self) -> dict[str, str]:
        """Of every command of this tree."""
        return {**environment(), paths.VARIABLE: str(self.base), **self.preload}

    def call(self, *args: str, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """`peregrine ARGS` to its end, whatever its exit code."""
        return subprocess.run([sys.executable, "-m", "orchestrator", *args], capture_output=True, text=True, timeout=timeout,
                              cwd=self.folder, env=self.environment())  # fmt: skip

    def start(self, *, take_over: bool = False) -> None:
        """A supervisor, as at boot or after its death; returns at once."""
        how = ["--take-over", "--name", self.name] if take_over else ["--config", str(self.config)]
        self.starts += 1
        self.killed_by_us = False
        with (self.folder / "up.log").open("a") as log:
            self.supervisor = subprocess.Popen([sys.executable, "-m", "orchestrator", "up", *how, "--json", "--no-panel"], text=True,
                                               stdout=subprocess.PIPE, stderr=log, cwd=self.folder, env=self.environment(),
                                               preexec_fn=_die_with_parent)  # fmt: skip
        said, self._said = self.supervisor.stdout, queue.Queue()
        assert said is not None
        into = self._said
        threading.Thread(target=lambda: into.put(said.read()), daemon=True).start()

    def attend(self) -> None:
        """What a service manager does about an end that nobody meant: up again where it asks for a decision, else give up."""
        if self.supervisor is None or self.killed_by_us or self.supervisor.poll() is None:
            return None
        code, self.supervisor = self.supervisor.returncode, None
        if code == DECIDE and "died without a supervisor" in self.log("up.log", 1500):
            self.decisions += 1
            return self.start(take_over=True)
        raise ChaosError(f"the supervisor ended by itself with {code}: {self.log('up.log')}{self.logs()}")

    def kill(self, role: str) -> bool:
        """kill -9; False when there is none to kill."""
        pid = self.pid(role)
        if role == "supervisor" and self.supervisor is not None:
            self.killed_by_us = True
            self.supervisor.kill()
            self.supervisor.wait()
            return True
        return bool(pid) and send(pid, self.ticks(role), signal.SIGKILL)

    def stop(self) -> dict[str, Any]:
        """SIGTERM to the supervisor, and what the tree came to. ChaosError unless it ended well."""
        assert self.supervisor is not None
        self.killed_by_us = True
        self.supervisor.send_signal(signal.SIGTERM)
        code = self.supervisor.wait(timeout=PATIENCE_S + 60)
        if code:
            raise ChaosError(f"the tree ended with {code}: {self.log('up.log')}{self.logs()}")
        report: dict[str, Any] = json.loads(self._said.get(timeout=10))
        return report

    # ---- what is seen of it

    def state(self) -> TreeState | None:
        """The state file; None while there is none."""
        with contextlib.suppress(StateFileError, OSError):
            return state_file.read(self.runtime)
        return None

    def pid(self, role: str) -> int:
        """Of the living process of that role, 0 while there is none."""
        if role == "supervisor":
            return self.supervisor.pid if self.supervisor is not None and self.supervisor.poll() is None else 0
        state = self.state()
        return next((p.pid for p in state.processes if p.role == role and p.alive()), 0) if state else 0

    def ticks(self, role: str) -> int:
        """Start time of that process."""
        return process_start_ticks(self.pid(role))

    def counters(self) -> dict[str, int]:
        """Telemetry of the engine that runs; {} while there is none."""
        try:
            with Segment(self.name) as segment:
                return dict(read_engine(segment).counters) if segment.status().alive else {}
        except (SegmentError, TelemetryError, OSError):
            return {}

    def phase(self) -> str:
        """What the engine's segment says of a living one; "" while there is none."""
        with contextlib.suppress(SegmentError, OSError), Segment(self.name) as segment:
            status = segment.status()
            return status.state if status.alive else ""
        return ""

    def whole(self) -> dict[str, int] | None:
        """The engine's counters once everything is as it should be: this supervisor supervises, engine and telemetry live,
        and orders may leave."""
        state, c = self.state(), self.counters()
        if state is None or state.state != "trading" or state.supervisor_pid != self.pid("supervisor"):
            return None
        if not all(p.alive() and p.state in ("ready", "trading") for p in state.processes):
            return None
        return c if c.get("session_ready") == 1 and c.get("feed_state") == 2 and c.get("trading_state") == 1 else None

    @property
    def run(self) -> Path:
        """The one run of all lives."""
        return (self.folder / "runs" / "latest").resolve()

    def log(self, name: str, tail: int = 3000) -> str:
        """The end of a log of this tool's folder."""
        with contextlib.suppress(OSError):
            return (self.folder / name).read_text(errors="replace")[-tail:]
        return ""

    def logs(self) -> str:
        """The ends of the run's own logs."""
        texts = []
        with contextlib.suppress(OSError):
            for path in sorted((self.run / "logs").iterdir()):
                texts.append(f"\n--- {path.name}\n{path.read_text(errors='replace')[-2500:]}")
        return "".join(texts)

    def left(self) -> list[str]:
        """What of the tree is still there: processes, shared memory, sockets."""
        found = [f"process {name} {pid}" for name, pid, _ in marked(self.runtime)]
        found += [f"{p}" for p in FOLDER.iterdir() if self.name in p.name]
        if self.runtime.is_dir():
            found += [f"{p}" for p in self.runtime.iterdir() if p.is_socket()]
        return found

    def clean_up(self) -> None:
        """End whatever is left, and leave no trace."""
        self.killed_by_us = True
        if self.supervisor is not None and self.supervisor.poll() is None:
            self.supervisor.kill()
            self.supervisor.wait()
        for _ in range(2):  # one that was just being started has its mark by now
            for _, pid, ticks in marked(self.runtime):
                send(pid, ticks, signal.SIGKILL)
            time.sleep(0.05)
        for path in FOLDER.iterdir():
            if self.name in path.name:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.base, ignore_errors=True)


def send(pid: int, ticks: int, number: signal.Signals) -> bool:
    """A signal to that very process; False when it has ended."""
    with contextlib.suppress(ProcessLookupError, OSError):
        fd = os.pidfd_open(pid)
        try:
            if process_start_ticks(pid) == ticks:
                signal.pidfd_send_signal(fd, number)
                return True
        finally:
            os.close(fd)
    return False
