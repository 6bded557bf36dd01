"""What the tests of report and screen share: one virtual run, and one live run of two shards, each made once a process."""

from __future__ import annotations

import json
import os
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent, HERE.parent / "engine"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from rig import call  # noqa: E402


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
    folder = tmp_path_factory.mktemp("live")
    config = folder / "run.yaml"
    config.write_text(
        "extends: laptop\nversion: 1\nname: three\ninstruments:\n"
        + "".join(f"  - {{symbol: {s}, increment_ticks: 100, round_lot_lots: 100}}\n" for s in ("PRGN", "FLCN", "HAWK"))
        + f"engine: {{name: t{os.getpid()}-{uuid.uuid4().hex[:8]}, shards: 2, idle: sleep, mlock: false}}\n"
        + "journal: {dir: runs, ring_mb: 4, segment_mb: 1, sync: none}\n"
    )
    said = json.loads(call(folder, "run", "--config", str(config), "--for", "3s", "--json").stdout)
    return SimpleNamespace(said=said, folder=folder / said["journal"])
