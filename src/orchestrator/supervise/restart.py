"""When a process that died is started again, and when it is given up. Time comes in; nothing is read or slept here."""

from __future__ import annotations

from collections import deque

from orchestrator.config.models_operate import Restart

MS = 1_000_000
S = 1_000_000_000


class RestartPolicy:
    """Restarts of one process: at most `max_restarts` within `window_s`, each wait twice the one before, up to a bound.

    The wait is counted from the restarts of the window: who has been well for a window's length starts afresh.
    """

    def __init__(self, settings: Restart) -> None:
        self._settings = settings
        self._restarts: deque[int] = deque()

    def next_wait_ns(self, now_ns: int) -> int | None:
        """How long to wait after a death seen at `now_ns`, None: given up. Counts as a restart when it is not."""
        self._forget(now_ns)
        if len(self._restarts) >= self._settings.max_restarts:
            return None
        wait_ns = self._settings.backoff_ms * MS << len(self._restarts)
        self._restarts.append(now_ns)
        return min(wait_ns, self._settings.backoff_max_ms * MS)

    def words(self, now_ns: int) -> str:
        """The count, for a person."""
        self._forget(now_ns)
        return f"{len(self._restarts)} of {self._settings.max_restarts} restarts within {self._settings.window_s} s used"

    def _forget(self, now_ns: int) -> None:
        while self._restarts and now_ns - self._restarts[0] >= self._settings.window_s * S:
            self._restarts.popleft()


class StallWatch:
    """Tells from heartbeat counts that an engine stands still, though its process is there."""

    def __init__(self, stall_ms: int, kill_ms: int) -> None:
        self._stall_ns, self._kill_ns = stall_ms * MS, kill_ms * MS
        self._count = -1
        self._since_ns = 0

    def reset(self) -> None:
        """Another engine: its first count is news."""
        self._count = -1

    def take(self, count: int, now_ns: int) -> int:
        """How long, ns, the count has stood at `count`; 0 when it has just moved. `now_ns` never runs backwards."""
        if count != self._count:
            self._count, self._since_ns = count, now_ns
        return now_ns - self._since_ns

    def stalled(self, still_ns: int) -> bool:
        """Long enough to be said?"""
        return still_ns >= self._stall_ns

    def to_be_killed(self, still_ns: int) -> bool:
        """Long enough to be ended?"""
        return 0 < self._kill_ns <= still_ns
