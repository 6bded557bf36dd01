"""What goes wrong on the way of a command: a code for programs, a line and a way out for people."""

from __future__ import annotations

from orchestrator.control.messages import Effect, Problem


class ControlError(Exception):
    """A command that was not done, or only in part: `effects` are those of the shards that took it."""

    def __init__(self, code: str, message: str, hint: str = "", effects: list[Effect] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.effects = effects or []


def problem_of(error: BaseException) -> Problem:
    """The problem an exception stands for: its own words where it has `code`, `message` and `hint`, else `internal`."""
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    if isinstance(code, str) and isinstance(message, str):
        return Problem(code, message, str(getattr(error, "hint", "")))
    if isinstance(code, int) and hasattr(error, "hint"):  # the supervisor's own, with an exit code
        return Problem("refused", str(error), str(error.hint))
    return Problem("internal", f"{type(error).__name__}: {error}", "this is a defect; the supervisor's log says more")
