"""The start of a day against the venue's own word: who says what we hold, and in which session."""

from __future__ import annotations

import getpass
import time
from typing import Any

from orchestrator.config.problems import Problem
from orchestrator.day.drop_copy import DropCopy
from orchestrator.day.positions import Carry

DATE = "session_date"


def venue_problems(carry: Carry, told: DropCopy, source: str) -> list[Problem]:
    """Everything in which what is carried is not what the venue says the session begins with."""
    out = []
    if carry.venue_session and carry.venue_session == told.session:
        out.append(Problem("venue_session", f"{told.session}, and the venue is in it still", "a later session of the venue",
                           "the day is not over there: wait for the next session, or go on with the run: peregrine run --resume", source=source))  # fmt: skip
    if told.fills or told.broken:
        out.append(Problem("positions", f"{len(told.fills)} executions of the firm in session {told.session} already", "none before the open",
                           "something has traded: go on with that run, or carry from it", source=source))  # fmt: skip
    if told.start_lots is None:
        out.append(Problem("positions", f"session {told.session} of the venue, which says nothing of positions", "what the firm holds, told on the drop copy",
                           "compare with the clearing house's own list, then --despite", source=source))  # fmt: skip
        return out
    for symbol in sorted({*carry.positions, *told.start_lots}):
        ours, venue = carry.positions.get(symbol, 0), told.start_lots.get(symbol, 0)
        if ours != venue:
            out.append(Problem(f"positions.{symbol}", f"{ours:+} lots carried, {venue:+} at the venue", "the same on both sides",
                               f"ask the venue what happened since {carry.run}; where it is right, put its number into the file and --edited; "
                               "where the file is, --despite WHY", source=source))  # fmt: skip
    return out


def another_session(carry: Carry, told: DropCopy | None) -> bool:
    """Is the venue in a later session than the one that was closed, whatever the calendar says?"""
    return told is not None and bool(carry.venue_session) and told.session not in ("", carry.venue_session)


def opened(carry_file: str, carry: Carry, told: DropCopy | None, overridden: list[Problem], why: str) -> dict[str, Any]:
    """The settings that say in the day's configuration, and so in its journal, what it was opened with."""
    said: dict[str, Any] = {"carry": carry_file, "carry_date": carry.session_date, "venue_session": told.session if told else "",
                            "overridden": [f"{p.path}: {p.found}" for p in overridden], "opened_ns": time.time_ns()}  # fmt: skip
    if overridden:
        said |= {"who": getpass.getuser(), "why": why}
    out = {f"day.opened.{key}": value for key, value in said.items()}
    if any(p.path.startswith("positions") for p in overridden):  # the reconciler would say it again, and let nothing be traded
        out["day.reconcile.start_positions"] = "ignored"
    return out
