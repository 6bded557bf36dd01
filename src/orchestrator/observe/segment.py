"""The shared segment of a running engine as the control plane sees it: found by name, mapped, never disturbed.

The layout is drawn in core/shm.h and compared with it by the tests. Reading needs nothing of the engine: not its
compiled module, not its cooperation. The one thing written from here is the kill word.
"""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

FOLDER = Path("/dev/shm")
PREFIX = "peregrine."
MAGIC = 0x31304D4853475250
LAYOUT_VERSION = 1
HEADER_BYTES = 4096
REGIONS_AT = 256
KILL_AT = 128
STATES = ("starting", "ready", "trading", "paused", "killed", "ended")
KILL_LEVELS = {"run": 0, "cancel": 1, "flatten": 2}

HEADER_DTYPE = np.dtype(
    {
        "names": [
            "magic", "layout_version", "header_bytes", "total_bytes", "epoch", "pid", "start_ticks", "created_ns",
            "n_regions", "heartbeat_ns", "heartbeat_count", "state", "kill_level", "kill_stamp", "kill_ns", "kill_pid",
            "lease_owner", "lease_takeovers", "supervisor_beats",
        ],
        "formats": ["<u8", "<u4", "<u4", "<u8", "<u8", "<i4", "<u8", "<i8", "<u4", "<i8", "<u8", "<u8", "<u4", "<u4", "<i8", "<i4",
                    "<u8", "<u8", "<u8"],
        "offsets": [0, 8, 12, 16, 24, 32, 40, 48, 56, 64, 72, 80, 128, 132, 136, 144, 192, 200, 208],
        "itemsize": HEADER_BYTES,
    }
)  # fmt: skip
REGION_DTYPE = np.dtype(
    [
        ("name", "S32"),
        ("offset", "<u8"),
        ("bytes", "<u8"),
        ("kind", "<u4"),
        ("version", "<u4"),
        ("lock", "<u4"),
        ("zero", "<u4"),
    ]
)
assert REGION_DTYPE.itemsize == 64


class SegmentError(Exception):
    """The segment is not there, half made, or of another layout."""


@dataclass(frozen=True)
class Status:
    """Who owns a segment and how it is."""

    name: str
    pid: int
    epoch: int
    state: str
    alive: bool
    heartbeat_ns: int
    kill_level: int
    heartbeat_count: int = 0


class Segment:
    """A mapping of `/dev/shm/peregrine.<name>`; read-only unless `write`. Use as a context manager.

    Raises SegmentError when there is none, when it is still being made, and for another layout version.
    """

    def __init__(self, name: str, *, write: bool = False, folder: Path | None = None) -> None:
        self.name = name
        self.path = (folder or FOLDER) / f"{PREFIX}{name}"
        try:
            fd = os.open(self.path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)
        except OSError as err:
            raise SegmentError(f"no engine called {name}: {err.strerror} ({self.path})") from err
        try:
            size = os.fstat(fd).st_size
            if size < HEADER_BYTES:
                raise SegmentError(f"{self.path} has {size} bytes: an engine that is just starting, or none at all")
            self._map = mmap.mmap(fd, size, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)
            self._inode = os.fstat(fd).st_ino
        finally:
            os.close(fd)
        head = self._header()
        if int(head["magic"]) != MAGIC:
            self.close()
            raise SegmentError(f"{self.path} is not ready: an engine that is just starting, or none at all")
        if int(head["layout_version"]) != LAYOUT_VERSION:
            self.close()
            version = int(head["layout_version"])
            raise SegmentError(
                f"{name}: layout {version}, this peregrine reads {LAYOUT_VERSION}: use the engine's own release"
            )

    def __enter__(self) -> Segment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the mapping go."""
        self._map.close()

    def _header(self) -> np.void:
        return np.frombuffer(self._map[:HEADER_BYTES], HEADER_DTYPE, 1)[0]

    def status(self) -> Status:
        """The header as it is now."""
        head = self._header()
        state = int(head["state"])
        return Status(
            name=self.name,
            pid=int(head["pid"]),
            epoch=int(head["epoch"]),
            state=STATES[state] if state < len(STATES) else f"state {state}",
            alive=process_start_ticks(int(head["pid"])) == int(head["start_ticks"]),
            heartbeat_ns=int(head["heartbeat_ns"]),
            kill_level=int(head["kill_level"]),
            heartbeat_count=int(head["heartbeat_count"]),
        )

    def kill_ns(self) -> int:
        """When the kill word was last set, by the wall clock; 0 = never."""
        return int(self._header()["kill_ns"])

    def kill_word(self) -> int:
        """Level (low 32 bits) and stamp of the kill word in one reading: another number after each kill."""
        with memoryview(self._map) as view, view[KILL_AT : KILL_AT + 8] as part, part.cast("Q") as word:
            return int(word[0])

    def heartbeat_count(self) -> int:
        """How often the engine has said that it lives."""
        return int(self._header()["heartbeat_count"])

    def superseded(self) -> bool:
        """Does the name lead to another segment now (the engine restarted), or to none?"""
        try:
            return self.path.stat().st_ino != self._inode
        except OSError:
            return True

    def region(self, name: str, limit: int | None = None) -> bytes:
        """A copy of a region, of its first `limit` bytes at most. Raises SegmentError when there is none of that name."""
        head = self._header()
        table = np.frombuffer(self._map[REGIONS_AT:HEADER_BYTES], REGION_DTYPE)[: int(head["n_regions"])]
        for row in table:
            if row["name"].decode("ascii", "replace") == name:
                end = int(row["offset"]) + int(row["bytes"])
                if end > len(self._map):
                    raise SegmentError(
                        f"{self.name}: region {name} ends at {end}, the segment has {len(self._map)} bytes"
                    )
                if limit is not None:
                    end = min(end, int(row["offset"]) + limit)
                return self._map[int(row["offset"]) : end]
        raise SegmentError(f"{self.name}: no region {name}: an engine of another release")

    def region_names(self) -> list[str]:
        """Names of all regions, in the order they were made."""
        n = int(self._header()["n_regions"])
        table = np.frombuffer(self._map[REGIONS_AT:HEADER_BYTES], REGION_DTYPE)[:n]
        return [row["name"].decode("ascii", "replace") for row in table]

    def kill(self, level: int) -> None:
        """Set the kill word, who set it and when; level and stamp last, in one store: whoever is about to lift a kill he saw
        before sees that this is another one."""
        now_ns = time.time_ns()
        with memoryview(self._map) as view:
            with view[136:144].cast("q") as long, view[144:148].cast("i") as pid:
                long[0], pid[0] = now_ns, os.getpid()
            with view[KILL_AT : KILL_AT + 8].cast("Q") as word:
                word[0] = (now_ns & 0xFFFFFFFF) << 32 | level


def names(folder: Path | None = None) -> list[str]:
    """Names of the segments that exist, alive or left behind, sorted."""
    return sorted(p.name.removeprefix(PREFIX) for p in (folder or FOLDER).glob(f"{PREFIX}*") if p.is_file())


def running(folder: Path | None = None) -> list[Status]:
    """Engines that are alive. What cannot be read as a segment is passed over."""
    found = []
    for name in names(folder):
        try:
            with Segment(name, folder=folder) as segment:
                status = segment.status()
        except SegmentError:
            continue
        if status.alive and status.state != "ended":
            found.append(status)
    return found


def process_start_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat: with the pid it names a process for good. 0 when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in ("Z", "X") else int(fields[19])
