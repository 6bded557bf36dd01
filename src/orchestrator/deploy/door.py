"""The way to an engine's control API, as a deploy needs it: one call, and what goes wrong on it."""

from __future__ import annotations

from typing import Any, Protocol

from orchestrator.control.messages import Reply, Request


class DoorError(Exception):
    """A command that was not done; `code` as in messages.Problem."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


class Door(Protocol):
    """Whatever answers requests: a control client, or a stand-in."""

    def send(self, request: Request) -> Reply:
        """The reply to this very request, good or bad."""
        ...


def ask(door: Door, cmd: str, args: dict[str, Any], *, who: str, why: str, id: str = "") -> Reply:
    """Have one command done. Raises DoorError for what was not, and for a door that does not answer."""
    request = Request(cmd=cmd, args=args, who=who, why=why)
    if id:
        request.id = id
    try:
        reply = door.send(request)
    except Exception as err:  # a client's own errors say what they are; anything else is a defect told with its name
        if not hasattr(err, "code"):
            raise DoorError("internal", f"{type(err).__name__}: {err}") from err
        raise DoorError(str(err.code), str(getattr(err, "message", err)), str(getattr(err, "hint", ""))) from err
    if not reply.ok:
        problem = reply.error
        raise DoorError(*(problem.code, problem.message, problem.hint) if problem else ("internal", "refused without a reason"))
    return reply


def open_door(engine: str) -> Any:
    """The control client of the engine's supervisor. Raises DoorError when there is none."""
    try:
        from orchestrator.control.client import ControlClient  # type: ignore[import-not-found, unused-ignore]
    except ImportError as err:
        raise DoorError("unavailable", "this build has no control client", "take a release that has `peregrine up`") from err
    try:
        return ControlClient.local(engine)
    except Exception as err:
        if not hasattr(err, "code"):
            raise
        raise DoorError(str(err.code), str(getattr(err, "message", err)), str(getattr(err, "hint", ""))) from err
