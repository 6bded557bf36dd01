"""The tree's state once more, in the run's own folder: `RUN/supervisor.json`. What a reboot leaves when the runtime folder is gone.

The run's disk may be slow or full where the runtime folder is memory: a thread of its own writes the newest state there, and
nobody waits for it. A disk that does not take it is said once, until it takes one again.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from orchestrator.config.models import Config
from orchestrator.observe import log
from orchestrator.supervise import state_file
from orchestrator.supervise.state_file import StateFileError, TreeState

_log = log.logger()


class RunCopy:
    """Writes states into the folder `run`, always the newest. `close` waits for the last one, not for ever."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._new = threading.Condition()
        self._state: TreeState | None = None
        self._closed = self._failed = False
        self._thread: threading.Thread | None = None

    def take(self, state: TreeState) -> None:
        """This one is to be written. From any thread; returns at once."""
        with self._new:
            if self._closed:
                return
            self._state = state
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="run-copy", daemon=True)
                self._thread.start()
            self._new.notify()

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is still to be written, and no more."""
        with self._new:
            self._closed = True
            self._new.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _write(self) -> None:
        while True:
            with self._new:
                self._new.wait_for(lambda: self._state is not None or self._closed)
                state, self._state = self._state, None
            if state is None:
                return
            try:
                state_file.write(self._run, state)
                self._failed = False
            except OSError as err:
                if not self._failed:
                    _log.error("the state could not be written into the run's folder", error=str(err))
                self._failed = True


def last_run(cfg: Config) -> TreeState | None:
    """What stands in the folder of the newest run of the engine `cfg.engine.name`, None where there is none. Its processes have
    no numbers: those of before a reboot are others' by now."""
    found: list[TreeState] = []
    for copy in Path(cfg.journal.dir).resolve().glob(f"*/{state_file.FILE}"):
        with suppress(StateFileError):
            if not copy.parent.is_symlink() and (state := state_file.read(copy.parent)).name == cfg.engine.name:
                gone = [msgspec.structs.replace(p, pid=0, start_ticks=0) for p in state.processes]
                found.append(msgspec.structs.replace(state, run=str(copy.parent), processes=gone))
    return max(found, key=lambda state: state.written_ns, default=None)
