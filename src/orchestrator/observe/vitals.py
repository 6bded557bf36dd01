"""Signs of life and garbage collection of our own Python processes, in a file another process reads without asking.

A process installs `Vitals(folder, "telemetry")` once, calls `beat()` in its main loop, and is done: the interpreter calls
back at the start and end of each collection. The file, `NAME.vitals` in the engine's runtime folder, is mapped, so that
to write it is a store into memory and no system call; whoever watches reads it with `read_vitals`.

    0    magic u64 | pid i32 | zero u32 | start_ticks u64 | version u64
    32   beats u64 | beat_ns i64                                            main loop; monotonic clock
    64   turn u64                                                           odd while the numbers below are being written
    72   collections u64[3] of generation 0, 1, 2 | collected u64 | uncollectable u64
    112  pause_ns u64, all together | longest_ns u64 | last_ns u64 | last_end_ns i64, monotonic clock
    144  begun_ns i64, monotonic clock: of a collection that goes on now, 0 = none
    152  zero to 192
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.observe.segment import process_start_ticks

SUFFIX = ".vitals"
MAGIC = 0x534C41544956_5250  # "PRVITALS", little-endian
VERSION = 1
SIZE = 192
_HEAD = struct.Struct("<QiIQQ")
_BEAT = struct.Struct("<Qq")
_TURN = struct.Struct("<Q")
_BEGUN = struct.Struct("<q")
_BEAT_AT, _TURN_AT, _GC_AT, _BEGUN_AT = 32, 64, 72, 144
assert _HEAD.size == 32 and _GC_AT + struct.calcsize("<8Qq") == _BEGUN_AT


@dataclass(frozen=True)
class GcNumbers:
    """The interpreter's collections since the process started."""

    collections: tuple[int, int, int] = (0, 0, 0)
    collected: int = 0
    uncollectable: int = 0
    pause_ns: int = 0
    longest_ns: int = 0
    last_ns: int = 0
    last_end_ns: int = 0
    begun_ns: int = 0


@dataclass(frozen=True)
class Reading:
    """A vitals file as it was read."""

    name: str
    pid: int
    start_ticks: int
    beats: int
    beat_ns: int
    gc: GcNumbers

    def alive(self) -> bool:
        """Is it that very process, and not another of the same number?"""
        return self.start_ticks == process_start_ticks(self.pid)


class Vitals:
    """Our own numbers, written for others. One an interpreter; `close` takes the file away. Raises OSError."""

    def __init__(self, folder: Path, name: str, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.path = folder / f"{name}{SUFFIX}"
        self._clock = clock
        new = folder / f".{name}{SUFFIX}.{os.getpid()}"
        with new.open("wb+") as file:
            file.truncate(SIZE)
            self._map = mmap.mmap(file.fileno(), SIZE)
        _HEAD.pack_into(self._map, 0, MAGIC, os.getpid(), 0, process_start_ticks(os.getpid()), VERSION)
        new.replace(self.path)  # a predecessor's readers keep its file
        self._inode = self.path.stat().st_ino
        self._beats = 0
        self._turn = 0
        self._begun_ns = 0
        self._numbers = [0] * 9
        gc.callbacks.append(self._collected)

    def beat(self) -> None:
        """The main loop came round."""
        self._beats += 1
        _BEAT.pack_into(self._map, _BEAT_AT, self._beats, self._clock())

    def close(self) -> None:
        """Stop counting; the file goes, unless a successor has put its own there."""
        with contextlib.suppress(ValueError):
            gc.callbacks.remove(self._collected)
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        self._map.close()

    def __enter__(self) -> Vitals:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        # No lock: a collection may begin anywhere, even within beat(), and only one runs at a time.
        if phase == "start":
            self._begun_ns = self._clock()
            _BEGUN.pack_into(self._map, _BEGUN_AT, self._begun_ns)
            return
        end_ns = self._clock()
        paused_ns = max(0, end_ns - self._begun_ns) if self._begun_ns else 0
        n = self._numbers
        n[min(info["generation"], 2)] += 1
        n[3] += info["collected"]
        n[4] += info["uncollectable"]
        n[5] += paused_ns
        n[6] = max(n[6], paused_ns)
        n[7], n[8] = paused_ns, end_ns
        _TURN.pack_into(self._map, _TURN_AT, self._turn + 1)
        struct.pack_into("<8Qqq", self._map, _GC_AT, *n, 0)
        self._turn += 2
        _TURN.pack_into(self._map, _TURN_AT, self._turn)


def read_vitals(folder: Path, name: str) -> Reading | None:
    """The numbers of the process called `name`; None when it wrote none, or another version did."""
    try:
        path = folder / f"{name}{SUFFIX}"
        for _ in range(8):
            data = path.read_bytes()
            if len(data) != SIZE:
                return None
            turn = _TURN.unpack_from(data, _TURN_AT)[0]
            if turn % 2 == 0:
                break
    except OSError:
        return None
    magic, pid, _, start_ticks, version = _HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        return None
    beats, beat_ns = _BEAT.unpack_from(data, _BEAT_AT)
    n = struct.unpack_from("<8Qqq", data, _GC_AT)
    numbers = GcNumbers((n[0], n[1], n[2]), n[3], n[4], n[5], n[6], n[7], n[8], n[9])
    return Reading(name, pid, start_ticks, beats, beat_ns, numbers)


def read_all(folder: Path) -> dict[str, Reading]:
    """Every process of an engine's runtime folder that writes vitals and lives, by name."""
    out = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.name.startswith("."):
            continue
        found = read_vitals(folder, path.name.removesuffix(SUFFIX))
        if found is not None and found.alive():
            out[found.name] = found
    return out

def vitals(folder: Path, name: str) -> contextlib.AbstractContextManager[Vitals | None]:
    """Vitals of a process of the tree; a disk that does not take them costs the numbers and nothing else."""
    try:
        return Vitals(folder, name)
    except OSError:
        return contextlib.nullcontext()
