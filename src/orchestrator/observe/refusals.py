"""What the control API did and refused, from its audit log as it grows: refused attempts counted, and commands that stand.

`control.log` in the engine's runtime folder holds a JSON object a line (control/audit.py); of refused attempts a line has
`"refused"` with a word that says why, and `"count"` where it stands for several. The file is read from where the last
reading ended; a file that was replaced or cut is begun again, and what was counted before is kept: the count never falls.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from orchestrator.observe.standing import Standing

FILE = "control.log"
MOST_BYTES = 4 << 20  # read at once; the rest comes with the next reading
MOST_REASONS = 32
#: told from the start, as 0: a series that begins above 0 hides its first attempts from `increase`
KNOWN = ("oversized", "garbage", "version", "command", "form", "arguments", "role", "key", "stale", "rate", "queue", "conflict", "handshake")


class RefusalCounter:
    """Counts by reason; `standing` is who stopped what and why. `read` never raises."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._inode = 0
        self._offset = 0
        self._counts: dict[str, int] = dict.fromkeys(KNOWN, 0)
        self.standing = Standing()

    def read(self) -> dict[str, int]:
        """All counts so far, by reason."""
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._offset:
                    self._inode, self._offset = found.st_ino, 0
                file.seek(self._offset)
                data = file.read(MOST_BYTES)
        except OSError:
            return dict(self._counts)
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole) if whole or len(data) < MOST_BYTES else len(data)  # one endless line is passed over
        for line in whole.splitlines():
            self._count(line)
        return dict(self._counts)

    def _count(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            return
        reason = entry.get("refused") if isinstance(entry, dict) else None
        if not reason:
            if isinstance(entry, dict):
                self.standing.audited(entry)
            return
        name, count = str(reason)[:40], entry.get("count", 1)
        if name not in self._counts and len(self._counts) >= MOST_REASONS:
            name = "other"
        if isinstance(count, int) and count > 0:
            self._counts[name] = self._counts.get(name, 0) + count
