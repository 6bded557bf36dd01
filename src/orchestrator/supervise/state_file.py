"""`supervisor.json`: the process tree of one engine as its supervisor last saw it, for whoever looks from outside.

The supervisor is its only writer and replaces it whole (write, fsync, rename), so a reader never sees half of one. It is
also what a new supervisor takes over from when the old one died: a pid counts only together with its start time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from orchestrator.observe.segment import process_start_ticks
from orchestrator.supervise.files import replace_whole

FILE = "supervisor.json"
VERSION = 1

#: Life of a process; the moves between them are in lifecycle.py.
LifeState = Literal["starting", "syncing", "ready", "trading", "draining", "stopped", "failed"]
Role = Literal["venue", "engine", "reconciler", "telemetry"]
#: What persons stop, as commands of the engine.
StopKind = Literal["drain", "pause", "pause_symbol", "reduce_only", "flatten"]


class StateFileError(Exception):
    """The file is not there, of another version, or no state file at all."""


class ProcessState(msgspec.Struct, kw_only=True):
    """One process of the tree."""

    name: str
    role: Role
    pid: int = 0  # 0: not running
    start_ticks: int = 0
    state: LifeState = "starting"
    since_ns: int = 0  # of `state`, wall clock
    restarts: int = 0
    reason: str = ""  # of the last change, a line for a person
    cpus: list[int] = []
    log: str = ""
    recovery_ns: int = 0  # of the last restart: death seen to trading again, 0 = none yet
    stalled_ns: int = 0  # its heartbeat has stood still so long, 0 = it has not

    def alive(self) -> bool:
        """Is it that very process, and not another of the same number?"""
        return self.pid > 0 and process_start_ticks(self.pid) == self.start_ticks


class Hold(msgspec.Struct, kw_only=True):
    """A shard that a person has stopped by command and nobody has resumed. `reduce_only` and `flatten` only while they are owed:
    once an engine has taken them, its journal keeps them."""

    shard: int
    kind: StopKind
    symbol: str = ""  # of a pause_symbol; its shard is the engine's to say
    keep: bool = False  # a pause that cancels nothing
    owed: bool = False  # given while no engine ran: the next one gets it before it may trade
    after_kill: bool = False  # of reduce_only and flatten: a kill stood already when it was asked for
    who: str = ""
    why: str = ""
    when_ns: int = 0
    seq: int = 0  # where it stands in the shard's journal; 1: not known, 0: not answered yet


class TreeState(msgspec.Struct, kw_only=True):
    """The whole tree."""

    name: str  # engine.name: of the shared segment too
    supervisor_pid: int
    supervisor_start_ticks: int
    version: int = VERSION
    generation: int = 1  # rises by one with each takeover
    run: str = ""  # folder of the run, absolute
    config: str = ""  # file it was started with, absolute; "" = a shipped profile
    config_sha256: str = ""  # of the effective configuration
    trading_enabled: bool = False
    has_traded: bool = False  # since the run began: orders may have gone out
    unsettled: bool = False  # ended, and what is open at an external venue is not known
    both_died_ns: int = 0  # wall clock: it was last recovered after the death of engine and supervisor; 0 = never
    foreground: bool = False  # of `peregrine run`: its processes end with it, nobody takes them over
    state: LifeState = "starting"
    reason: str = ""
    started_ns: int = 0
    written_ns: int = 0
    processes: list[ProcessState] = []
    holds: list[Hold] = []  # what persons have stopped: stays over the death of the engine, and of the supervisor
    kill_owed: int = 0  # a kill that no living engine has in its memory: the next one gets it before it may trade
    alarms: list[str] = []  # stalls and leaks that stand now, a line each
    addresses: dict[str, str] = {}  # control, telemetry, metrics …: where they are reached

    def over(self) -> bool:
        """Has it ended, with nothing left to be recovered?"""
        return self.state in ("stopped", "failed") and not self.unsettled

    def supervisor_alive(self) -> bool:
        """Is the supervisor that wrote this still there?"""
        return process_start_ticks(self.supervisor_pid) == self.supervisor_start_ticks


def read(folder: Path) -> TreeState:
    """The state in an engine's runtime folder. Raises StateFileError."""
    path = folder / FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=TreeState)
    except OSError as err:
        raise StateFileError(f"no supervisor has run here: {err.strerror} ({path})") from err
    except msgspec.MsgspecError as err:
        raise StateFileError(f"{path} is no state file: {err}") from err
    if found.version != VERSION:
        raise StateFileError(f"{path}: version {found.version}, this peregrine reads {VERSION}: use the supervisor's own release")
    return found


def write(folder: Path, state: TreeState) -> None:
    """Replace the state file, whole. Raises OSError."""
    replace_whole(folder / FILE, msgspec.json.format(msgspec.json.encode(state), indent=1))
