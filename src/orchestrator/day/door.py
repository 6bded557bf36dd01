"""How the reconciler stops an engine: by the control API like anybody else, and past a supervisor that does not answer.

Every act is a command in the journal, with `reconciler` as who gave it and the difference as why. Its id is made of the run and
of what was found, so that a reconciler that was started again does not do it twice.
"""

from __future__ import annotations

import hashlib
import time
from typing import Protocol

from orchestrator.control.client import ControlClient
from orchestrator.control.errors import ControlError
from orchestrator.control.kill_word import set_kill_word
from orchestrator.control.messages import MAX_WHY_CHARS
from orchestrator.observe import log

WHO = "reconciler"
ASK_S = 1.0
PATIENCE_NS = 3_000_000_000  # without an answer for so long: the kill word
COMMANDS = {"halt": ("pause", {"all": True, "keep": True}), "cancel": ("pause", {"all": True}), "kill": ("kill", {})}
_log = log.logger()


class Door(Protocol):
    """What the reconciler does to an engine."""

    def act(self, how: str, request_id: str, why: str, since_ns: int) -> str:
        """Do `how` (halt, cancel, kill). "" once it is done, else why it is not yet: it is asked again."""
        ...


def request_id(run: str, how: str, key: str) -> str:
    """The id of what is done about a difference of a run."""
    return f"{WHO}-" + hashlib.sha256(f"{run}\n{how}\n{key}".encode()).hexdigest()[:32]


class ControlDoor:
    """To the engine called `name`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def act(self, how: str, request_id: str, why: str, since_ns: int) -> str:
        """As Door. `since_ns`: monotonic, of the first try."""
        cmd, args = COMMANDS[how]
        try:
            with ControlClient.local(self.name, timeout_s=ASK_S) as control:
                reply = control.call(cmd, args, why=why[:MAX_WHY_CHARS], who=WHO, request_id=request_id)
        except ControlError as err:
            if time.monotonic_ns() - since_ns < PATIENCE_NS:
                return str(err)
            said = set_kill_word(self.name, "cancel")
            if said:
                return f"{err}; the kill word neither: {said}"
            _log.error("the kill word is set: no command was answered", why=why, id=request_id, error=str(err))
            return ""
        _log.warning(f"{cmd}: done", why=why, id=request_id, seq=" ".join(f"{e.shard}:{e.seq}" for e in reply.effects))
        return ""
