"""The supervisor's heartbeat into the engine: given by a thread of its own, for a main loop that goes on.

The main loop may have to wait: for a disk that is slow to sync the state file, for a shard that is slow to take a command.
The engine is not to take that for the supervisor's death. But a main loop that stands still for good is as good as dead, so
the beats stop when it has made no progress for `supervise.hung_after_ms`; the engine finds out `supervise.lost_after_ms`
later and follows its policy, and beats go on once the loop does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from orchestrator.observe import log

_log = log.logger()


class Heartbeat:
    """Calls `beat` every `every_s` while `progress` has been called within `bound_s`. `beat` must not raise or wait."""

    def __init__(self, beat: Callable[[], None], every_s: float, bound_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._beat, self._every_s, self._bound_s, self._clock = beat, every_s, bound_s, clock
        self._last_s = clock()
        self._silent = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def progress(self) -> None:
        """The main loop has come round."""
        self._last_s = self._clock()

    def start(self) -> None:
        """Begin."""
        self.progress()
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it; one that was never begun too."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def round(self) -> None:
        """One beat, if there is to be one."""
        still_s = self._clock() - self._last_s
        if (silent := still_s > self._bound_s) != self._silent:
            self._silent = silent
            if silent:
                _log.error("the supervisor's main loop stands still: its heartbeat to the engine stops", still_s=round(still_s, 3))
            else:
                _log.warning("the supervisor's main loop goes on: so does its heartbeat to the engine")
        if not silent:
            self._beat()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self.round()
