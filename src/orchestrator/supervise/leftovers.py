"""What dead processes of a tree leave behind, put away: the segment, journal rings, sockets. Never of a living one."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

from orchestrator.observe.segment import FOLDER, PREFIX, Segment, SegmentError
from orchestrator.run.shards import folders

SOCKETS = ("control.sock", "telemetry.sock", "engine.sock")


def put_away(name: str, runtime: Path, run: Path | None) -> list[str]:
    """Clean up after the engine `name`; what was found worth saying, a line each.

    The ring of a journal holds its last records: they are moved to disk before it goes, and where that does not work
    it stays, and is named.
    """
    notes = []
    if not _remove_segment(name):
        notes.append(f"/dev/shm/{PREFIX}{name} belongs to a living process and was left")
    if run is not None and run.is_dir():
        for folder in folders(run):
            notes += _save_ring(folder)
    for path in [*_half_made_rings(name), *(runtime / socket for socket in SOCKETS), *runtime.glob("*.vitals")]:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return notes


def _remove_segment(name: str) -> bool:
    path = FOLDER / f"{PREFIX}{name}"
    try:
        with Segment(name) as segment:
            if segment.status().alive:
                return False
    except SegmentError:
        if not path.exists():
            return True
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return True


def _half_made_rings(name: str) -> list[Path]:
    # A ring is renamed when it is whole (journal/ring.cpp): of a process that died before, there is no record in it.
    named = re.compile(re.escape(name) + r"-(\d+)(-\d\d)?\.pgr\.new")
    found = ((path, named.fullmatch(path.name)) for path in FOLDER.glob("*.pgr.new"))
    return [path for path, m in found if m is not None and not Path("/proc", m[1]).exists()]


def _save_ring(folder: Path) -> list[str]:
    from hotpath._core import journal

    try:
        ring = Path(journal.ring_path_of(str(folder)) or folder / "none")
        if not ring.is_file():
            return []
        found = journal.recover(str(folder), now_ns=time.time_ns())
        ring.unlink(missing_ok=True)
    except Exception as err:  # whatever it is: nothing may be lost over tidying up
        return [f"the last records of {folder} stay in shared memory: {err}"]
    return [f"{found['merged_records']} records of {folder} were moved to disk from the memory of the dead engine"]
