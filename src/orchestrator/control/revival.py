"""Trading again after a kill, in two steps, so that neither a slip nor a replayed message does it.

The first request gets a token: for this caller, for a while, once. The second brings it. A kill in between makes the token
void, whoever gave it.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Caller, Request
from orchestrator.observe.segment import Segment, SegmentError


@dataclass
class _Asked:
    token: str
    caller: Caller
    until_s: float
    killed: tuple[int, int]
    kills: int


class Revival:
    """Holds the one token there is. `valid_s()` is its life."""

    def __init__(self, valid_s: Callable[[], int], clock: Callable[[], float] = time.monotonic,
                 kill_of: Callable[[str], tuple[int, int]] | None = None) -> None:
        self._valid_s = valid_s
        self._clock = clock
        self._kill_of = kill_of or _kill_of
        self._asked: _Asked | None = None
        self._taken: _Asked | None = None
        self.kills = 0  # how many came

    def ask(self, name: str, caller: Caller, request: Request) -> dict[str, object]:
        """The first step: a token, in place of any before."""
        valid_s = self._valid_s()
        killed = self._kill_of(name)
        self._asked = _Asked(secrets.token_hex(8), caller, self._clock() + valid_s, killed, self.kills)
        return {"token": self._asked.token, "valid_s": valid_s, "kill_level": killed[0],
                "next": "ask again with this token, and a new id, to trade again"}  # fmt: skip

    def take(self, name: str, caller: Caller, token: str) -> None:
        """The second step: uses the token up. Raises ControlError when it is not good."""
        asked, hint = self._asked, "ask for a token first: revive without one"
        if asked is None or not hmac.compare_digest(asked.token.encode(), token.encode("utf-8", "replace")):
            raise ControlError("refused", "no such token", hint)
        if asked.caller != caller:
            raise ControlError("refused", f"this token is {asked.caller.name}'s", hint)
        self._asked = None
        if self._clock() > asked.until_s:
            raise ControlError("refused", "the token is too old", hint)
        self._taken = asked
        self.still_good(name)

    def still_good(self, name: str) -> int:
        """The kill word as it was when the token that was taken was given. Raises ControlError where there has been a kill since."""
        if self._taken is None or self._kill_of(name) != self._taken.killed or self.killed_since():
            raise killed_again()
        return self._taken.killed[1]

    def killed_since(self) -> bool:
        """Did a kill come by the API since the token that was taken was given?"""
        return self._taken is None or self.kills != self._taken.kills

    def forget(self) -> None:
        """There was a kill: what was asked for before it is void."""
        self.kills += 1
        self._asked = None


def killed_again() -> ControlError:
    """What is raised where a kill came between the two steps."""
    return ControlError("refused", "killed again since the token was given", "ask for a token first: revive without one")


def _kill_of(name: str) -> tuple[int, int]:
    """The engine's kill word: its level, and the whole of it."""
    try:
        with Segment(name) as segment:
            word = segment.kill_word()
            return word & 0xFFFFFFFF, word
    except SegmentError as err:
        raise ControlError("unavailable", str(err)) from err
