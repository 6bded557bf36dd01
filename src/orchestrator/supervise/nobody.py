"""A kill where neither engine nor supervisor lives: it waits in the tree's state for whatever is started next."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from orchestrator.supervise import paths, state_file
from orchestrator.supervise.holds import REDUCING
from orchestrator.supervise.lock import Locked, SupervisorLock
from orchestrator.supervise.state_file import StateFileError


class SomebodyThere(Exception):
    """A supervisor lives, or is just coming: it is to be told."""


def owe_kill(name: str, level: int) -> bool:
    """Write it down, under the supervisor's lock, so that none begins with what stood there before. False where that tree
    was taken down, or there never was one: what is started then is another decision. Raises SomebodyThere, OSError."""
    folder = paths.runtime_dir(name)
    if not folder.is_dir():
        return False
    try:
        lock = SupervisorLock(folder)
    except Locked as err:
        raise SomebodyThere(str(err)) from err
    try:
        with suppress(StateFileError):
            state = state_file.read(folder)
            if state.state != "stopped":
                state.kill_owed = max(state.kill_owed, level)
                state.holds = [h for h in state.holds if h.kind not in REDUCING]  # owed before it: a kill ends that
                state_file.write(folder, state)
                with suppress(OSError):  # what a reboot leaves
                    state_file.write(Path(state.run), state)
                return True
        return False
    finally:
        lock.close()
