"""What the tests of the control plane share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from orchestrator.observe import segment, telemetry


@pytest.fixture
def peregrine(tmp_path):
    """Runs the command line in a process of its own, in an empty folder: `peregrine("run", …)` → CompletedProcess."""

    def call(*args: str, code: int | None = 0, env: dict[str, str] | None = None, timeout: float = 300):
        result = subprocess.run(
            [sys.executable, "-m", "orchestrator", *args],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=timeout,
            env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path), **(env or {})},
        )
        if code is not None:
            assert result.returncode == code, result.stderr or result.stdout
        return result

    return call


@pytest.fixture
def read_json():
    """Reads the one object a `--json` command printed."""

    def read(result) -> dict:
        lines = result.stdout.strip().splitlines()
        assert len(lines) == 1, result.stdout
        return json.loads(lines[0])

    return read


@pytest.fixture
def write_segment():
    """Writes a segment file as an engine leaves it."""
    return _write_segment


def _write_segment(path: Path, region: bytes, *, pid: int | None = None, start_ticks: int | None = None, **head: int) -> None:
    """A segment file as an engine leaves it, with one region "telemetry"."""
    pid = os.getpid() if pid is None else pid
    header = np.zeros(1, segment.HEADER_DTYPE)
    fields = {
        "magic": segment.MAGIC,
        "layout_version": segment.LAYOUT_VERSION,
        "header_bytes": segment.HEADER_BYTES,
        "total_bytes": segment.HEADER_BYTES + len(region),
        "epoch": 3,
        "pid": pid,
        "start_ticks": segment.process_start_ticks(pid) if start_ticks is None else start_ticks,
        "n_regions": 1,
        "state": 2,
        **head,
    }
    for name, value in fields.items():
        header[name] = value
    data = bytearray(header.tobytes())
    row = np.array([(telemetry.REGION.encode(), segment.HEADER_BYTES, len(region), 0, 1, 0, 0)], segment.REGION_DTYPE)
    data[segment.REGIONS_AT : segment.REGIONS_AT + row.nbytes] = row.tobytes()
    path.write_bytes(bytes(data) + region)
