"""A trading day under test: the simulated exchange in a process of its own, and a tree that trades there as at any other."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tree_rig import Rig

from orchestrator.control.told import Told
from orchestrator.day.reconciler import Status, read_status

PASSWORDS = {"PW": "PEREGRINE1", "DPW": "PEREGRINE1"}


@contextlib.contextmanager
def exchange(folder: Path, *options: str) -> Iterator[dict[str, Any]]:
    """`peregrine venue`; its ready line, with `pid`. Ended cleanly, so that it writes down what the firms hold."""
    process = subprocess.Popen([sys.executable, "-m", "orchestrator", "venue", "--no-cancel-on-disconnect", "--for", "3600s", *options],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder,
                               env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})  # fmt: skip
    try:
        assert process.stdout is not None
        yield {**json.loads(process.stdout.readline()), "pid": process.pid}
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.communicate()


def desk(rig: Rig, at: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """The configuration of an engine that trades there, and keeps no limit that a busy test would come to."""
    return {
        "extends": "laptop", "name": "day",
        "venue": {"kind": "external", **{k: at[k] for k in ("ouch", "itch_a", "itch_b", "retransmit", "glimpse")}, "interface": "127.0.0.1",
                  "cancel_on_disconnect": False, "account": {"username": "DEMO01", "password_env": "PW"}},
        "risk": {"max_drawdown_units": 2_000_000_000, "max_loss_units": 2_000_000_000},
        "engine": {"name": rig.name, "mlock": False, "idle": "sleep"},
        "journal": {"dir": str(rig.folder / "runs"), "ring_mb": 4, "segment_mb": 16, "sync": "none"},
        "supervise": {"ready_timeout_s": 150, "stop_timeout_s": 60, "lost_after_ms": 60_000, "restart": {"backoff_ms": 50}},
        "observe": {"metrics": None}, "report": {"histograms": False},
        **sections,
    }  # fmt: skip


def reconcile(address: str | None, **settings: Any) -> dict[str, Any]:
    """The section `day` with a reconciler."""
    return {"reconcile": {"enabled": True, "login": {"address": address, "password_env": "DPW"}, "status_ms": 50, **settings}}


def start(rig: Rig, tree: dict[str, Any], *, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`up --detach` with it."""
    (rig.folder / "day.yaml").write_text(yaml.safe_dump(tree))
    return rig.call("up", "--detach", "-c", "day.yaml", code=code, **PASSWORDS)


def status(rig: Rig) -> Status | None:
    """How the reconciler stands."""
    return read_status(rig.runtime)


def commands(run: Path, who: str) -> list[dict[str, Any]]:
    """What somebody commanded, by the journal."""
    return [line for line in Told(lambda: str(run)).listed(0, 1000)["commands"] if line.get("who") == who]
