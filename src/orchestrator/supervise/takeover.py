"""Taking a running engine over from a supervisor that died, as a state machine with named states.

    locking ▶ reading ▶ checking ▶ adopting ▶ leasing ▶ beating ▶ writing ▶ done
        │         │          │                                      every state can be the last of a supervisor that is
        └─────────┴──────────┴──▶ refused                           killed: the next one begins at `locking` again

    locking    the supervisor's lock; whoever has it is the only one that goes on
    reading    supervisor.json: the processes, the run, how far it was
    checking   which of them live (pid and start time), and which were started and not written down (by their mark)
    adopting   a pidfd of each, so that its death is seen though it is nobody's child here
    leasing    the command ring's lease, which the dead one's start time gives free
    beating    the first heartbeat: from here on the engine has a supervisor again
    writing    supervisor.json with this process as its writer and the generation raised by one

Nothing before `writing` changes what the next one reads, and nothing at all touches the engine but lease and heartbeat.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from orchestrator.supervise import state_file
from orchestrator.supervise.lock import SupervisorLock
from orchestrator.supervise.process import Process, marked
from orchestrator.supervise.state_file import TreeState

TakeoverState = Literal["locking", "reading", "checking", "adopting", "leasing", "beating", "writing", "done", "refused"]
STATES: tuple[TakeoverState, ...] = get_args(TakeoverState)
MOVES: frozenset[tuple[TakeoverState, TakeoverState]] = frozenset(
    [*zip(STATES[:7], STATES[1:8], strict=True), ("locking", "refused"), ("reading", "refused"), ("checking", "refused")]
)
#: For tests: the name of a state at whose beginning this process kills itself.
DIE_AT = "PEREGRINE_TAKEOVER_DIES_AT"


class TakeoverRefused(Exception):
    """There is nothing to take over, or it is somebody else's; the text says which, `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass
class Takeover:
    """One attempt. `begin` ends in `adopting`; the supervisor made from it goes through the rest by `move`."""

    folder: Path
    state: TakeoverState = "locking"
    found: TreeState | None = None
    living: dict[str, tuple[int, int]] = field(default_factory=dict)  # name → pid, start ticks
    adopted: dict[str, Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._maybe_die()

    def move(self, after: TakeoverState) -> None:
        """Go on. Raises AssertionError for a move that is not in the table."""
        assert (self.state, after) in MOVES, f"takeover: {self.state} to {after}"
        self.state = after
        self._maybe_die()

    def _maybe_die(self) -> None:
        if os.environ.get(DIE_AT) == self.state:
            os.kill(os.getpid(), signal.SIGKILL)

    def lock(self) -> SupervisorLock:
        """`locking`. Raises Locked."""
        try:
            return SupervisorLock(self.folder)
        except BaseException:
            self.state = "refused"
            raise

    def read(self) -> TreeState:
        """`reading`. Raises TakeoverRefused."""
        self.move("reading")
        try:
            self.found = state_file.read(self.folder)
        except state_file.StateFileError as err:
            self.move("refused")
            raise TakeoverRefused(str(err), "start one: peregrine up") from err
        return self.found

    def check(self) -> dict[str, tuple[int, int]]:
        """`checking`: the living processes by name. One that was started twice counts once, the younger."""
        assert self.found is not None
        self.move("checking")
        for name, pid, ticks in marked(self.folder):
            self.living[name] = (pid, ticks)
        for process in self.found.processes:
            if process.alive():
                self.living[process.name] = (process.pid, process.start_ticks)
        return self.living

    def refuse(self, message: str, hint: str) -> TakeoverRefused:
        """From `checking`: the exception to raise."""
        self.move("refused")
        return TakeoverRefused(message, hint)

    def adopt(self) -> dict[str, Process]:
        """`adopting`: a pidfd of each; one that has ended since is left out."""
        self.move("adopting")
        for name, (pid, ticks) in self.living.items():
            with contextlib.suppress(ProcessLookupError):
                self.adopted[name] = Process.adopt(pid, ticks)
        return self.adopted


def end_all(folder: Path, timeout_s: float = 3.0) -> list[str]:
    """End every process started for the tree of `folder`, engine and all; their names. For what nobody supervises."""
    ended = []
    for name, pid, ticks in marked(folder):
        with contextlib.suppress(ProcessLookupError):
            process = Process.adopt(pid, ticks)
            process.send(signal.SIGTERM)
            process.send(signal.SIGCONT)
            if not process.wait(timeout_s):
                process.send(signal.SIGKILL)
                process.wait(timeout_s)
            process.close()
            ended.append(name)
    return ended


__all__ = ["DIE_AT", "STATES", "Takeover", "TakeoverRefused", "end_all"]
