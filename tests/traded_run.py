"""A live run that ends when it has traded enough, for tests of every room: how long that takes is the machine's business."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.observe.segment import Segment, SegmentError
from orchestrator.observe.shards import read_engine
from orchestrator.observe.telemetry import Snapshot, TelemetryError

PATIENCE_S = float(os.environ.get("PEREGRINE_TEST_PATIENCE_S", "90"))


def run_until(folder: Path, name: str, enough: Callable[[Snapshot], Any], *options: str, **environment: str) -> dict[str, Any]:
    """`peregrine run OPTIONS --json` in `folder`, interrupted once `enough` holds of the telemetry of its engine `name`: its report."""
    process = subprocess.Popen([sys.executable, "-m", "orchestrator", "run", *options, "--for", "1800s", "--json"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, cwd=folder,
                               env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **environment})  # fmt: skip
    try:
        end = time.monotonic() + 2 * PATIENCE_S
        while (seen := _seen(name)) is None or not enough(seen):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, f"the run did not trade enough: {seen and dict(seen.counters)}"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=2 * PATIENCE_S)
        assert process.returncode == 0, (process.returncode, err, out)
        found: dict[str, Any] = json.loads(out)
        return found
    finally:
        process.kill()
        process.communicate()


def _seen(name: str) -> Snapshot | None:
    try:
        with Segment(name) as segment:
            return read_engine(segment)
    except (SegmentError, TelemetryError, OSError):
        return None
