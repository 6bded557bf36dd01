"""Errors a person can act on: what was found, where, and the fix; each with its exit code."""

from __future__ import annotations

EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69
EXIT_INTERNAL = 70
EXIT_TRY_AGAIN = 75
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130


class CliError(Exception):
    """An error shown as `error: message` and `hint: …`, ending the command with `code`."""

    def __init__(self, message: str, *, hint: str = "", code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code
