"""The rig of these tests: venue, engine process, journal as Python values. Waits are generous and on conditions."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hotpath import _core, _venue
from orchestrator.cli.venue import venue_config
from orchestrator.observe.segment import Segment, SegmentError
from orchestrator.observe.shards import read_engine
from orchestrator.observe.telemetry import TelemetryError
from orchestrator.run.shards import user_of

# journal/record.h
HEADER, FEED, SNAPSHOT, FEED_STATE, SESSION, SESSION_STATE, COMMAND, TIMER, CONTROL = 1, 16, 17, 18, 19, 20, 21, 22, 23
DEVICE, SIGNAL, SEND_RESULT, RECOVERED, INTENT, DECISION, STATE_HASH = 24, 25, 26, 27, 64, 65, 66
ENTER, REPLACE, CANCEL, MASS_CANCEL, ACCOUNT_QUERY = 1, 2, 3, 4, 5
NEW_RISK = (ENTER, REPLACE)  # what adds risk at the venue; everything else takes it away

PATIENCE_S = float(os.environ.get("PEREGRINE_TEST_PATIENCE_S", "90"))
PASSWORD_ENV = "PEREGRINE_TEST_PASSWORD"
LONGEST = "1800s"  # an engine outlives a test run that was killed by no more, and no test needs as much
#: however long a test takes and wherever the market goes meanwhile, no breaker of money ends its trading: the laptop's credit
ROOM_TO_LOSE = {"max_loss_units": 4 * 10**9, "max_drawdown_units": 4 * 10**9}


class Record(NamedTuple):
    """One journal record."""

    type: int
    seq: int
    ts_ns: int
    generation: int
    payload: bytes


class Intent(NamedTuple):
    """journal::IntentHead and the message behind it."""

    seq: int
    kind: int
    side: int
    action: int
    tif: int
    user_ref_num: int
    orig_ref_num: int
    instrument: int
    price_ticks: int
    qty_lots: int
    decision: int
    policy_version: int
    message: bytes


def until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """The first true value of `condition`; fails after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.02)


def environment() -> dict[str, str]:
    """For child processes: this checkout's packages, no colour, one thread for numeric libraries."""
    return {**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), PASSWORD_ENV: "PEREGRINE1"}


def call(cwd: Path, *args: str, code: int | None = 0, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """One command of the command line, to its end."""
    result = subprocess.run(
        [sys.executable, "-m", "orchestrator", *args], capture_output=True, text=True, cwd=cwd, timeout=timeout, env=environment()
    )
    if code is not None:
        assert result.returncode == code, (args, result.returncode, result.stderr, result.stdout[-2000:])
    return result


class Venue:
    """The simulated venue, run by a thread of this process."""

    def __init__(self, *, cancel_on_disconnect: bool = False, **options: Any) -> None:
        self.config = venue_config(cancel_on_disconnect=cancel_on_disconnect, **options)
        self.shards = int(options.get("shards", 1))
        self.cancel_on_disconnect = cancel_on_disconnect
        self.server = _venue.VenueServer(self.config)
        self.server.start()

    def stop(self) -> None:
        """Ends it; may be called twice."""
        self.server.stop()

    def yaml(self) -> dict[str, Any]:
        """The `venue:` section that leads here."""
        s = self.server
        return {
            "kind": "external", "ouch": s.ouch, "itch_a": s.itch_a, "itch_b": s.itch_b, "retransmit": s.retransmit,
            "glimpse": s.glimpse, "interface": "127.0.0.1", "cancel_on_disconnect": self.cancel_on_disconnect,
            "account": {"username": "DEMO01", "password_env": PASSWORD_ENV},
            "shard_logins": [{"username": user_of("DEMO01", k), "password_env": PASSWORD_ENV} for k in range(1, self.shards)],
        }  # fmt: skip

    def ours(self, shard: int = 0) -> list[dict[str, Any]]:
        """The venue's own record of what account DEMO01, or a further port of it, did."""
        users = [port["user"] for port in self.config["ports"]]
        port = users.index(user_of("DEMO01", shard))
        return [e for e in self.server.record() if e["port"] == port]

    def summary(self) -> dict[str, Any]:
        """Totals of account DEMO01, all its ports together."""
        each = [self.server.summary(user_of("DEMO01", k)) for k in range(self.shards)]
        return {name: sum(s[name] for s in each) for name in each[0]}

    def position_lots(self) -> int:
        """What the venue says account DEMO01 holds."""
        s = self.summary()
        return int(s["bought"]) - int(s["sold"])


class Engine:
    """`peregrine run --one-process`: the engine is the very process that is started here."""

    def __init__(self, folder: Path, name: str, venue: Venue | None, *, settings: dict[str, Any] | None = None,
                 args: tuple[str, ...] = (), resume: Path | None = None, launcher: list[str] | None = None) -> None:
        self.folder, self.name, self.venue = folder, name, venue
        self.line: Any = None  # what a test has put between engine and venue
        options = [*(() if "--for" in args else ("--for", LONGEST)), *args]
        if resume is not None:
            options += ["--resume", str(resume)]
        self.process = subprocess.Popen(
            [*(launcher or [sys.executable, "-m", "orchestrator"]), "run", "--one-process", "--config", str(self._config(settings or {})), "--json", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment(),
        )  # fmt: skip

    def _config(self, settings: dict[str, Any]) -> Path:
        tree: dict[str, Any] = {
            "extends": "laptop", "version": 1, "name": "test",
            "engine": {"name": self.name, "mlock": False, "idle": "sleep", "supervisor_timeout_ms": 0},
            "journal": {"dir": str(self.folder / "runs"), "ring_mb": 4, "segment_mb": 64, "sync": "none"},
            "risk": dict(ROOM_TO_LOSE),
        }  # fmt: skip
        if self.venue is not None:
            tree["venue"] = self.venue.yaml()
        for path, value in settings.items():
            at = tree
            *parents, last = path.split(".")
            for key in parents:
                at = at.setdefault(key, {})
            at[last] = value
        path = self.folder / f"{self.name}.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    @property
    def run_folder(self) -> Path:
        """The folder of the last run that began."""
        return (self.folder / "runs" / "latest").resolve()

    def counters(self) -> dict[str, int]:
        """Telemetry's counters; {} while there is none."""
        if self.process.poll() is not None:
            out, err = self.process.communicate()
            raise AssertionError(f"the engine ended with {self.process.returncode}: {err[-3000:]} {out[-500:]}")
        try:
            with Segment(self.name) as segment:
                if segment.status().pid != self.process.pid:
                    return {}
                return dict(read_engine(segment).counters)
        except (SegmentError, TelemetryError, OSError):
            return {}

    def until(self, what: str, least: int = 1) -> dict[str, int]:
        """Waits until a counter has reached `least`; the counters then."""
        def reached() -> dict[str, int] | None:
            now = self.counters()
            return now if now.get(what, 0) >= least else None

        return until(reached, f"{what} >= {least}")

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def finish(self, number: int | None = None, code: int = 0) -> dict[str, Any]:
        """Its report, after `number` (a signal) or its own end."""
        if number is not None:
            self.signal(number)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == code, (self.process.returncode, err[-3000:], out[-500:])
        return json.loads(out)

    def kill_9(self) -> None:
        """As a power failure would."""
        self.process.kill()
        self.process.communicate()

    def end(self) -> None:
        """Nothing of it is left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


# ---- journals

def records(folder: Path) -> list[Record]:
    """Every record of the journal in `folder`, the ring's included."""
    return [Record(r[0], r[1], r[2], r[3], bytes(r[4])) for r in _core.journal.Reader(str(folder))]


_INTENT = struct.Struct("<BBBBIIIqqQQ")


def intent_of(r: Record) -> Intent:
    """The intent in a record of type INTENT."""
    return Intent(r.seq, *_INTENT.unpack_from(r.payload), r.payload[_INTENT.size :])


def intents(journal: list[Record]) -> list[Intent]:
    """All intents, in order."""
    return [intent_of(r) for r in journal if r.type == INTENT]


def controls(journal: list[Record]) -> list[tuple[int, int, int]]:
    """(seq, kind, value) of every control input."""
    return [(r.seq, r.payload[0], struct.unpack_from("<Q", r.payload, 8)[0]) for r in journal if r.type == CONTROL]


def commands(journal: list[Record]) -> list[tuple[int, int]]:
    """(seq, kind) of every command."""
    return [(r.seq, struct.unpack_from("<H", r.payload, 8)[0]) for r in journal if r.type == COMMAND]


def replayer(folder: Path) -> tuple[Any, Any]:
    """(header, a fresh ReplayEngine made from it)."""
    from orchestrator.run import journals, plan

    parsed, _ = journals.read_header(folder)
    policies = plan.policies_of_header(parsed)
    engine = _core.ReplayEngine(
        shard=parsed.config["shard"], policies=[p.spec for p in policies], quorum=parsed.config["quorum"], stage=plan.bank_spec
    )
    return parsed, engine


def feed_all(engine: Any, journal: list[Record]) -> dict[str, Any]:
    """Feeds records one by one; the result."""
    for r in journal:
        engine.feed(r.type, r.seq, r.ts_ns, r.payload)
    return engine.finish()


def verify(folder: Path) -> dict[str, Any]:
    """The verdict on the journal in `folder`."""
    from orchestrator.run.journals import verify_journal

    return verify_journal(folder)


# ---- an engine in this process, for commands

LIMITS, WEIGHTS, BANK_SWAP, PAUSE, RESUME, DRAIN, KILL, FLATTEN, LEASE_GRANT, LEASE_RETURN = range(1, 11)


class LiveEngine:
    """A `LiveRun` on a thread of this process: takes commands as a supervisor would give them."""

    def __init__(self, folder: Path, name: str, venue: Venue, changes: dict[str, Any] | None = None) -> None:
        import threading

        from orchestrator.config import load_profile
        from orchestrator.run import live
        from orchestrator.run.addresses import venue_addresses

        settings = {
            "engine.name": name, "engine.mlock": False, "engine.idle": "sleep", "venue": venue.yaml(),
            "journal.dir": str(folder / "runs"), "journal.ring_mb": 4, "journal.segment_mb": 64, "journal.sync": "none",
            **{f"risk.{limit}": units for limit, units in ROOM_TO_LOSE.items()}, **(changes or {}),
        }  # fmt: skip
        os.environ[PASSWORD_ENV] = "PEREGRINE1"
        cfg = load_profile("laptop", settings)
        with venue_addresses(cfg, None) as addresses:
            self._run = live.make(cfg, {"engine": None, "journal": None, "feed": None, "helper": None}, addresses)
        self.live, self.folder, self.name = self._run.engine, self._run.folder, name
        self._summary: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._go)
        self._thread.start()

    def _go(self) -> None:
        self._summary = self.live.run()

    def counters(self) -> dict[str, int]:
        """Telemetry's counters."""
        with Segment(self.name) as segment:
            return dict(read_engine(segment).counters)

    def until(self, what: str, least: int = 1) -> dict[str, int]:
        """Waits until a counter has reached `least`; the counters then."""
        def reached() -> dict[str, int] | None:
            now = self.counters()
            return now if now.get(what, 0) >= least else None

        return until(reached, f"{what} >= {least}")

    def command(self, kind: int, body: bytes = b"", key: int = 0, policy: Any = None) -> None:
        """Posts a command and waits until it stands in the journal, and telemetry tells of the time after it."""
        before = len(commands(records(self.folder)))
        until(lambda: self.live.command(kind, body, key, policy), "room for a command")
        until(lambda: len(commands(records(self.folder))) > before, "the command consumed")
        self.fresh()

    def refused(self, reason: str) -> int:
        """Orders the gate refused so far for reasons whose name begins so."""
        with Segment(self.name) as segment:
            return sum(n for name, n in read_engine(segment).rejects.items() if name.startswith(reason))

    def fresh(self) -> None:
        """Waits for telemetry that was written from now on: two rounds of it, as the first may be under way."""
        for _ in range(2):
            self.until("now_ns", self.counters()["now_ns"] + 1)

    def events(self, n: int) -> None:
        """Lets `n` more feed messages pass."""
        self.until("events", self.counters()["events"] + n)

    def stop(self) -> dict[str, Any]:
        """Ends the run; its summary."""
        self.live.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self._summary


def constant_policy(action: int, name: str = "constant") -> bytes:
    """An artifact that always answers `action`."""
    import numpy as np

    from hotpath.policy import artifact
    from hotpath.policy.oracle import Layer, Network

    bias = np.zeros(5, np.int32)
    bias[action] = 1000
    layer = Layer(np.zeros((5, 1), np.int8), bias, None, False)
    network = Network(np.zeros(1, np.uint16), np.ones(1, np.int16), np.zeros(1, np.uint8), (layer,))
    return artifact.dump(artifact.make(network, name=f"{name}-{action}", provenance={"data": {}, "seed": 0, "versions": {}}))
