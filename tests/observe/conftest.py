"""What the tests of observing share: a runtime folder of their own, an engine's segment written by hand, two runs."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent, HERE.parent / "engine", HERE.parents[1] / "tools"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from orchestrator.observe import segment, telemetry  # noqa: E402
from tests.traded_run import run_until  # noqa: E402


def pytest_terminal_summary(terminalreporter) -> None:
    """With `make alerts`: which alerts were fired and read back, and what each panel's queries gave."""
    if os.environ.get("PEREGRINE_ALERTS") != "all":
        return
    from tests.observe.monitoring import FIRED, PANELS

    if FIRED:
        terminalreporter.section("alerts fired by a fault, read back from Prometheus and Alertmanager")
        for name, labels, severity, waited_s in sorted(FIRED, key=lambda f: f[0]):
            where = ", ".join(f"{k}={v}" for k, v in labels.items() if k not in ("engine", "severity"))
            terminalreporter.write_line(f"{severity:<9} {name:<30} after {waited_s:4.1f} s  {where}")
        terminalreporter.write_line(f"{len({f[0] for f in FIRED})} alerts")
    if PANELS:
        terminalreporter.section("panels of the dashboard, asked of Prometheus")
        for title in dict.fromkeys(p[0] for p in PANELS):
            series = [n for name, _, n in PANELS if name == title]
            terminalreporter.write_line(f"{title:<40} {len(series):>2} queries, {sum(series):>4} series")
        terminalreporter.write_line(f"{len({p[0] for p in PANELS})} panels, none without data")


LIVE = {"feed_state": 2, "session_ready": 1, "trading_state": 1, "journal_free_bytes": 900, "journal_ring_bytes": 1000}


@pytest.fixture(autouse=True)
def runtime_folder(monkeypatch):
    """Every test has a runtime folder of its own, a short one: a socket's path has little room."""
    folder = Path(tempfile.mkdtemp(prefix="prg"))
    monkeypatch.setenv("PEREGRINE_RUNTIME_DIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class StandIn:
    """A segment as an engine would have made it: the real layout, written from here."""

    def __init__(self, name: str, shards: int = 1, pid: int | None = None) -> None:
        self.name, self.path = name, segment.FOLDER / f"{segment.PREFIX}{name}"
        self.pid = os.getpid() if pid is None else pid
        self.epoch = 1
        self.shards = shards
        self.counters: list[dict[str, int]] = [dict.fromkeys(telemetry.COUNTERS, 0) | LIVE for _ in range(shards)]
        self.histograms = {name: [100 * i for i in range(1, 20)] for name in telemetry.HISTOGRAMS}
        self.rejects = {"pass": 5, "price_collar": 0, "killed": 0, "venue.0": 0, "venue.12": 0}
        self.limits = [(100, 1000, 0, 1000, 1, 16, 5_000_000, 2_000_000_000)]
        self.head: dict[str, int] = {"state": 2}
        self.write()

    def write(self) -> None:
        """As it is now; an engine that is started again comes under another inode."""
        regions = [
            telemetry.build(c, self.histograms, [(f"S{i}", 10, 11, 10, 300, -12_345, 200, 1)], rejects=self.rejects, limits=self.limits)
            for i, c in enumerate(self.counters)
        ]
        head = np.zeros(1, segment.HEADER_DTYPE)
        at = segment.HEADER_BYTES
        fields = {"magic": segment.MAGIC, "layout_version": segment.LAYOUT_VERSION, "header_bytes": at, "epoch": self.epoch, "pid": self.pid,
                  "start_ticks": segment.process_start_ticks(self.pid), "n_regions": len(regions), "heartbeat_ns": time.time_ns(), **self.head}  # fmt: skip
        for name, value in fields.items():
            head[name] = value
        rows = np.zeros(len(regions), segment.REGION_DTYPE)
        for i, region in enumerate(regions):
            rows[i] = (b"telemetry" if i == 0 else f"telemetry-{i:02}".encode(), at, len(region), 0, 1, 0, 0)
            at += len(region)
        data = bytearray(head.tobytes())
        data[segment.REGIONS_AT : segment.REGIONS_AT + rows.nbytes] = rows.tobytes()
        data += b"".join(regions)
        if self.path.exists() and self.path.stat().st_size == len(data):
            with self.path.open("r+b") as file:  # in place, as an engine writes
                file.write(data)
        else:
            self.path.write_bytes(data)

    def restart(self) -> None:
        """Another segment under the name, of the next epoch."""
        self.path.unlink()
        self.epoch += 1
        self.write()

    def remove(self) -> None:
        """As after a clean end."""
        self.path.unlink(missing_ok=True)


@pytest.fixture
def stand_in():
    """Makes stand-ins: `stand_in(shards=2)`; they are gone after the test."""
    made: list[StandIn] = []

    def make(**options) -> StandIn:
        made.append(StandIn(f"obs-{os.getpid()}-{uuid.uuid4().hex[:8]}", **options))
        return made[-1]

    yield make
    for one in made:
        one.remove()


@pytest.fixture
def engine_name() -> str:
    """A name no other test uses: engines share /dev/shm."""
    return f"t{os.getpid()}-{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="session")
def virtual_run(tmp_path_factory):
    """A virtual run of two seconds: its RunResult and the folder of its journal."""
    from orchestrator.config import load_profile
    from orchestrator.run.virtual import run_virtual

    folder = tmp_path_factory.mktemp("virtual")
    result = run_virtual(load_profile("replay", {"journal.dir": str(folder)}), for_ns=2_000_000_000)
    return SimpleNamespace(result=result, folder=Path(result.journal))


@pytest.fixture(scope="session")
def live_run(tmp_path_factory):
    """A live run of two shards and three symbols on loopback: what `run --json` said, and the folder of its journals."""
    folder, name = tmp_path_factory.mktemp("live"), f"t{os.getpid()}-{uuid.uuid4().hex[:8]}"
    config = folder / "run.yaml"
    config.write_text(
        "extends: laptop\nversion: 1\nname: three\ninstruments:\n"
        + "".join(f"  - {{symbol: {s}, increment_ticks: 100, round_lot_lots: 100}}\n" for s in ("PRGN", "FLCN", "HAWK"))
        + f"engine: {{name: {name}, shards: 2, idle: sleep, mlock: false}}\n"
        + "risk: {max_loss_units: 2_000_000_000, max_drawdown_units: 2_000_000_000}\n"  # a slow machine loses more until it has traded enough
        + "journal: {dir: runs, ring_mb: 4, segment_mb: 1, sync: none}\n"
    )

    def enough(seen: telemetry.Snapshot) -> bool:
        earned = {bytes(row["symbol"]).strip(b"\0 "): row["pnl_units"] for row in seen.instruments}
        return seen["fills"] >= 30 and bool(earned.get(b"PRGN"))

    said = run_until(folder, name, enough, "--config", str(config))
    return SimpleNamespace(said=said, folder=folder / said["journal"])
