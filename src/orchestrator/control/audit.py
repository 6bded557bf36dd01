"""control.log: every change asked for and every refused attempt, one JSON object a line, appended and never rewritten.

It stands beside the journal, not in its place: what took effect is in the journal, under the same `id`, with `seq`.
Lines are written by a thread of their own, so that a disk that is slow or full holds nothing up; what could not be written
is counted in `lost`, and control goes on.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

FILE = "control.log"
ROOM = 4096


class Audit:
    """Appends lines to a file. `write` never waits and never raises."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lost = 0
        self.written = 0
        self._torn = False  # the last line is not whole: begin the next on a line of its own
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(ROOM)
        self._thread = threading.Thread(target=self._work, name="control-audit", daemon=True)
        if path is not None:
            self._thread.start()

    def write(self, fields: dict[str, Any]) -> None:
        """One line, stamped now."""
        if self.path is None:
            return
        try:
            self._queue.put_nowait({"ts": _stamp(time.time_ns()), **fields})
        except queue.Full:
            self.lost += 1

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, at most this long."""
        if self.path is None or not self._thread.is_alive():
            return
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while (fields := self._queue.get()) is not None:
            try:
                self._append(msgspec.json.encode(fields) + b"\n")
            except Exception:  # OSError of the disk; a value JSON cannot hold
                self.lost += 1

    def _append(self, line: bytes) -> None:
        assert self.path is not None
        # Opened for each line: a file moved away by log rotation is followed, and a full disk may have room again.
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            whole = b"\n" + line if self._torn else line
            taken = os.write(handle, whole)
            self._torn = taken < len(whole) and (taken > 0 or self._torn)
            if taken < len(whole):
                raise OSError("the line did not fit")
            self.written += 1
        finally:
            os.close(handle)


def _stamp(ns: int) -> str:
    return dt.datetime.fromtimestamp(ns / 1e9, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
