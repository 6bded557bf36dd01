"""What `peregrine run` asks of its tree beyond a configuration, and the pipes by which the tree ends with it.

    `run`, the supervisor ──▶ engine's standard input        closes when `run` is gone: the engine ends in order
    `run` and the engine  ──▶ exchange's standard input      closes when both are gone: the exchange ends

Whatever ends a process, SIGKILL too, closes its ends of the pipes. So nothing of a `run` outlives it, and its engine still
has an exchange to cancel at; and an engine that is killed leaves the exchange to the one that is recovered.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.supervise.state_file import Role


@dataclass(frozen=True)
class Once:
    """One run and no more, in the foreground."""

    for_ns: int | None = None  # of trading; None: until it is stopped
    resume: Path | None = None  # folder of an earlier run that goes on
    use_snapshots: bool = True
    cut_damaged_tail: bool = False


class Lifelines:
    """The two pipes, on the supervisor's side. `close` lets go of them: the others take it for the supervisor's end."""

    def __init__(self) -> None:
        self._engine = os.pipe()
        self._venue = os.pipe()

    def of(self, role: Role) -> tuple[int, tuple[int, ...]]:
        """Standard input of a process of that role, and what else it is to inherit."""
        if role == "engine":
            return self._engine[0], (self._venue[1],)
        return self._venue[0], ()

    def close(self) -> None:
        """Once only."""
        for fd in (*self._engine, *self._venue):
            os.close(fd)


def when_input_ends(act: Callable[[], None]) -> None:
    """Call `act` on a thread of its own once standard input has come to its end."""

    def wait() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1})  # these are for other threads
        while True:
            try:
                if not os.read(0, 4096):
                    break
            except OSError:
                break
        act()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
