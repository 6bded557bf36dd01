"""The world of `make chaos`: a venue and an engine as processes of their own, and what can be seen of them."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
for _folder in (ROOT / "src", ROOT / "sim"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

from orchestrator.observe.segment import Segment, SegmentError  # noqa: E402
from orchestrator.observe.telemetry import REGION, TelemetryError, read  # noqa: E402

_libc = ctypes.CDLL(None)
PASSWORD_ENV = "PEREGRINE_CHAOS_PASSWORD"
ACCOUNT = "DEMO01"
SYMBOLS = "PRGN,FLCN=250.00"
MORE_SYMBOLS = "PRGN,FLCN=250.00,MRLN=180.00,KSTR=60.00,HBBY=120.00,SAKR=90.00,OSPR=140.00,HRRR=200.00"  # two for each of several shards
VENUE_SILENCE_S = 1.5  # the venue closes a connection that says nothing for so long
ENGINE_SILENCE_S = 2.5
PATIENCE_S = float(os.environ.get("PEREGRINE_TEST_PATIENCE_S", "90"))


class ChaosError(Exception):
    """The world did not do what it must: the run has failed."""


def environment() -> dict[str, str]:
    """For child processes: this tree's packages."""
    paths = [str(ROOT / "src"), str(ROOT / "sim"), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), PASSWORD_ENV: "PEREGRINE1",
            "OPENBLAS_NUM_THREADS": "1"}  # fmt: skip


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    _libc.prctl(pr_set_pdeathsig, signal.SIGKILL)


def until(condition: Callable[[], Any], what: str, timeout_s: float | None = None) -> Any:
    """The first true value of `condition`; ChaosError after the timeout."""
    end = time.monotonic() + (timeout_s or PATIENCE_S)
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            raise ChaosError(f"waited {timeout_s or PATIENCE_S:.0f} s for {what}")
        time.sleep(0.005)


class VenueRun:
    """`peregrine venue --state`: killed and started again it is the same venue."""

    def __init__(self, folder: Path, seed: int, rate: int, cancel_on_disconnect: bool, args: tuple[str, ...] = (), shards: int = 1) -> None:
        self.shards = shards  # as many order-entry ports has the account
        self.symbols = SYMBOLS if shards == 1 else ",".join(MORE_SYMBOLS.split(",")[: 2 * shards])
        self.folder, self.seed, self.rate, self.cancel_on_disconnect, self.args = folder, seed, rate, cancel_on_disconnect, args
        self.state = folder / "venue.day"
        self.process: subprocess.Popen[str] | None = None
        self.ready: dict[str, Any] = {}

    def start(self) -> None:
        """Returns when it can be traded on."""
        options = ["--state", str(self.state), "--seed", str(self.seed), "--rate", str(self.rate), "--symbols", self.symbols, "--shards", str(self.shards),
                   "--silence", f"{VENUE_SILENCE_S}s", "--for", "6h", *self.args]  # fmt: skip
        if self.cancel_on_disconnect:
            options.append("--cancel-on-disconnect")
        with (self.folder / "venue.log").open("a") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "orchestrator", "venue", *options], text=True,
                                            stdout=subprocess.PIPE, stderr=log, env=environment(), preexec_fn=_die_with_parent)  # fmt: skip
        lines: queue.Queue[str] = queue.Queue()
        stdout = self.process.stdout
        assert stdout is not None
        threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=PATIENCE_S)
        except queue.Empty:
            line = ""
        if not line:
            raise ChaosError(f"the venue did not start: {(self.folder / 'venue.log').read_text()[-2000:]}")
        ready = json.loads(line)
        if self.ready and ready != self.ready:
            raise ChaosError(f"the venue came back as another: {ready} was {self.ready}")
        self.ready = ready

    @property
    def pid(self) -> int:
        """Of the running one."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def config(self) -> dict[str, Any]:
        """What `VenueDay` needs to read its file."""
        from orchestrator.cli.venue import venue_config

        faults = self.args[self.args.index("--fault") + 1] if "--fault" in self.args else ""
        return venue_config(seed=self.seed, symbols=self.symbols, rate=self.rate, fault=faults, shards=self.shards,
                            cancel_on_disconnect=self.cancel_on_disconnect, state=str(self.state))  # fmt: skip

    def user(self, shard: int) -> str:
        """The account's name at the port of that shard."""
        from orchestrator.run.shards import user_of

        return user_of(ACCOUNT, shard)

    def port(self, shard: int) -> int:
        """That port's number in the venue's record."""
        return [port["user"] for port in self.config()["ports"]].index(self.user(shard))

    def names(self) -> list[str]:
        """The symbols by their numbers in the venue's record."""
        return [one["symbol"] for one in self.config()["symbols"]]

    def yaml(self) -> dict[str, Any]:
        """The `venue:` section that leads here."""
        keys = ("ouch", "itch_a", "itch_b", "retransmit", "glimpse")
        return {"kind": "external", **{k: self.ready[k] for k in keys}, "interface": "127.0.0.1",
                "cancel_on_disconnect": self.cancel_on_disconnect,
                "account": {"username": ACCOUNT, "password_env": PASSWORD_ENV},
                "shard_logins": [{"username": self.user(k), "password_env": PASSWORD_ENV} for k in range(1, self.shards)]}  # fmt: skip


def settings(idle: str = "sleep", symbols: tuple[str, ...] = ("PRGN", "FLCN")) -> dict[str, Any]:
    """A busy engine with short limits of time and wide limits of money."""
    return {
        "engine.mlock": False, "engine.idle": idle, "engine.supervisor_timeout_ms": 0,
        "engine.cores": {"engine": None, "journal": None, "helper": None},
        "instruments": [{"symbol": s, "increment_ticks": 100, "round_lot_lots": 100} for s in symbols],
        "journal.ring_mb": 1, "journal.segment_mb": 8, "journal.sync": "none", "journal.snapshot_records": 20_000,
        "execution.take_interval_ns": 2_000_000, "execution.min_resting_ns": 2_000_000,
        "execution.session.heartbeat_ns": 300_000_000, "execution.session.silence_ns": int(ENGINE_SILENCE_S * 1e9),
        "execution.session.reconnect_delay_ns": 50_000_000, "execution.session.connect_timeout_ns": 500_000_000,
        "feed.silence_ns": 2_000_000_000, "report.histograms": False,
        "risk.max_loss_units": 10**13, "risk.max_drawdown_units": 10**13, "risk.max_credit_units": 10**13,
        "risk.max_executions": 63, "risk.execution_window_ns": 100_000_000, "policies.decision_interval_ns": 200_000,
    }  # fmt: skip


class EngineRun:
    """`peregrine run` in a process of its own; each life resumes the journal of the one before."""

    def __init__(self, folder: Path, name: str, venue: VenueRun, changes: dict[str, Any] | None = None) -> None:
        self.folder, self.name, self.venue = folder, name, venue
        self.process: subprocess.Popen[str] | None = None
        self.started_ns = 0
        tree: dict[str, Any] = {"extends": "laptop", "version": 1, "name": "chaos", "venue": venue.yaml(),
                                "engine": {"name": name}, "journal": {"dir": str(folder / "runs")}}  # fmt: skip
        for path, value in {**settings(), **(changes or {})}.items():
            at = tree
            *parents, last = path.split(".")
            for key in parents:
                at = at.setdefault(key, {})
            at[last] = value
        self.config = folder / "engine.yaml"
        self.config.write_text(yaml.safe_dump(tree))

    @property
    def journal(self) -> Path:
        """The one journal of all lives."""
        return (self.folder / "runs" / "latest").resolve()

    def start(self, *args: str, preload: dict[str, str] | None = None) -> None:
        """Begins a life; returns at once."""
        resume = ("--resume", str(self.folder / "runs" / "latest")) if (self.folder / "runs" / "latest").exists() else ()
        self.started_ns = time.time_ns()
        with (self.folder / "engine.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", "run", "--one-process", "--config", str(self.config), "--json", "--for", "6h", *resume, *args],
                text=True, stdout=subprocess.PIPE, stderr=log, cwd=self.folder, env={**environment(), **(preload or {})},
                preexec_fn=_die_with_parent,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Of the running one."""
        assert self.process is not None
        return self.process.pid

    def check_alive(self) -> None:
        """ChaosError when it ended by itself."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise ChaosError(f"the engine ended with {self.process.returncode}: {(self.folder / 'engine.log').read_text()[-3000:]}")

    def phase(self) -> str:
        """"" while this life shows nothing yet, else the state its segment names: `starting` while it recovers."""
        self.check_alive()
        with contextlib.suppress(SegmentError, OSError), Segment(self.name) as segment:
            status = segment.status()
            return status.state if status.pid == self.pid else ""
        return ""

    def counters(self) -> dict[str, int]:
        """Telemetry of this life; {} while there is none."""
        self.check_alive()
        try:
            with Segment(self.name) as segment:
                if segment.status().pid != self.pid:
                    return {}
                return dict(read(segment.region(REGION)).counters)
        except (SegmentError, TelemetryError, OSError):
            return {}

    def ready(self) -> dict[str, int] | None:
        """The counters once books are live and every order's fate is known: it may trade."""
        c = self.counters()
        return c if c.get("session_ready") == 1 and c.get("feed_state") == 2 and c.get("trading_state") == 1 else None

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def finish(self) -> dict[str, Any]:
        """SIGTERM, and its report."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        if self.process.returncode != 0:
            raise ChaosError(f"the engine ended with {self.process.returncode}: {(self.folder / 'engine.log').read_text()[-3000:]}")
        report: dict[str, Any] = json.loads(out)
        return report

    def clean_up(self) -> None:
        """Nothing of it is left in shared memory."""
        self.kill()
        for leftover in Path("/dev/shm").glob(f"*{self.name}*"):
            with contextlib.suppress(OSError):
                leftover.unlink()
