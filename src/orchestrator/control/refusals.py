"""Refused attempts: every one counted, and logged without letting an attacker fill the disk.

The first few of a reason in a second get a line each; the rest of that second become one line with their `count`. So the
counts of all lines together are the number of attempts, once `flush` was called.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

LINES_A_SECOND = 5


class Refusals:
    """Counts by reason, and lines through `tell(fields)`. Called from any thread."""

    def __init__(self, tell: Callable[[dict[str, Any]], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._told: Counter[str] = Counter()  # lines of this second
        self._silent: Counter[str] = Counter()  # attempts without a line of their own
        self._second = 0

    def add(self, reason: str, **fields: Any) -> None:
        """One attempt more."""
        with self._lock:
            lines = self._roll()
            self._counts[reason] += 1
            if self._told[reason] < LINES_A_SECOND:
                self._told[reason] += 1
                lines.append({"event": "refused", "refused": reason, "count": 1, **fields})
            else:
                self._silent[reason] += 1
        for line in lines:
            self._tell(line)

    def flush(self, *, whole: bool = False) -> None:
        """Tell what was kept back, when its second is over; with `whole` in any case."""
        with self._lock:
            lines = self._roll(whole)
        for line in lines:
            self._tell(line)

    def counts(self) -> dict[str, int]:
        """Attempts so far, by reason."""
        with self._lock:
            return dict(self._counts)

    def _roll(self, whole: bool = False) -> list[dict[str, Any]]:
        second = int(self._clock())
        if second == self._second and not whole:
            return []
        self._second = second
        self._told.clear()
        lines = [{"event": "refused", "refused": reason, "count": n, "more": True} for reason, n in self._silent.items()]
        self._silent.clear()
        return lines
