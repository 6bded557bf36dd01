"""Positions carried from one day into the next: a file written at the close and taken in at the open.

    version: 1
    session_date: "2026-01-05"        the day it was the close of
    venue_session: PRG0003841         as the venue calls it; left out where no session was ever logged in to
    run: /var/lib/peregrine/runs/…
    reconciled: true                  with the venue's drop copy
    positions: {PRGN: -56}            lots
    marks: {PRGN: 995900}             ticks: what they would have been closed at, and cost the next day
    limits: {max_loss_units: …}       of the account for the next day; may be left out, or added by hand
    sha256: …                         of the lines above: a file changed by hand is taken only when it is told so
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.config.problems import Problem
from orchestrator.config.yaml_tree import parse
from orchestrator.day.fills import DayRecord

VERSION = 1
_KEYS = {"version", "session_date", "run", "reconciled", "positions", "marks", "limits", "venue_session", "sha256"}


@dataclass
class Carry:
    """What one day leaves to the next."""

    session_date: str
    run: str
    reconciled: bool
    positions: dict[str, int]
    marks: dict[str, int] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    venue_session: str = ""

    def digest(self) -> str:
        """SHA-256 of all of it."""
        text = json.dumps([VERSION, self.session_date, self.run, self.reconciled, self.positions, self.marks, self.limits,
                           *([self.venue_session] if self.venue_session else [])], sort_keys=True)  # fmt: skip
        return hashlib.sha256(text.encode()).hexdigest()

    def text(self) -> str:
        """The file."""
        session = {"venue_session": self.venue_session} if self.venue_session else {}
        body: dict[str, Any] = {"version": VERSION, "session_date": self.session_date, **session, "run": self.run, "reconciled": self.reconciled,
                                "positions": self.positions, "marks": self.marks, "limits": self.limits, "sha256": self.digest()}  # fmt: skip
        return "".join(f"{key}: {json.dumps(value)}\n" for key, value in body.items())


def carry_of(day: DayRecord, marks: dict[str, int], *, reconciled: bool) -> Carry:
    """The close of a day; symbols that are flat stay in it, as 0: they were looked at."""
    return Carry(day.session_date, str(day.run), reconciled, dict(sorted(day.close_lots().items())), dict(sorted(marks.items())),
                 venue_session=day.venue_session)  # fmt: skip


def read_carry(path: Path) -> tuple[Carry | None, list[Problem]]:
    """The file and every problem of it; None when it cannot be used at all."""
    source = str(path)
    try:
        tree = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        return None, [Problem("", str(err), "a carry-over file", "peregrine day carry RUN -o FILE writes one", source=source)]
    value, problems = tree.value, list(tree.problems)
    if not isinstance(value, dict) or value.get("version") != VERSION:
        return None, [*problems, Problem("version", "nothing" if not isinstance(value, dict) else str(value.get("version")), str(VERSION),
                                         "peregrine day carry RUN -o FILE writes one", tree.line_of(("version",)), source)]  # fmt: skip
    for key in sorted(set(value) - _KEYS):
        problems.append(Problem(key, "an unknown key", ", ".join(sorted(_KEYS)), "", tree.line_of((key,)), source))
    for key in ("positions", "marks", "limits"):
        found = value.get(key, {})
        if not isinstance(found, dict):
            problems.append(Problem(key, "no mapping", "name: number", "", tree.line_of((key,)), source))
            value[key] = {}
            continue
        for name, number in found.items():
            if isinstance(number, bool) or not isinstance(number, int) or abs(number) > 2**53:
                problems.append(Problem(f"{key}.{name}", str(number), "a whole number", "", tree.line_of((key, name)), source))
    if problems:
        return None, problems
    carry = Carry(str(value.get("session_date", "")), str(value.get("run", "")), value.get("reconciled") is True,
                  dict(value.get("positions", {})), dict(value.get("marks", {})), dict(value.get("limits", {})),
                  str(value.get("venue_session", "")))  # fmt: skip
    if value.get("sha256") != carry.digest():
        problems.append(Problem("sha256", str(value.get("sha256", "nothing"))[:16], carry.digest()[:16] + "…",
                                "the file was changed after it was written: check it, then --edited", tree.line_of(("sha256",)), source))  # fmt: skip
    return carry, problems


def opening_problems(carry: Carry, effective: dict[str, Any], today: str, source: str) -> list[Problem]:
    """What keeps the positions from being taken into a configuration on the day `today` (ISO)."""
    known = [i["symbol"] for i in effective["instruments"]]
    out = []
    if carry.session_date >= today:
        out.append(Problem("session_date", carry.session_date, f"a day before today, {today}", "it is the close of a day that is not over", source=source))
    if not carry.reconciled:
        out.append(Problem("reconciled", "false", "true: the venue's drop copy agreed", "peregrine day carry RUN --drop-copy HOST:PORT, or --unreconciled", source=source))
    for symbol, lots in carry.positions.items():
        if lots and symbol not in known:
            out.append(Problem(f"positions.{symbol}", f"{lots} lots of a symbol that is not configured", f"one of {', '.join(known[:12])}",
                               "nobody would watch this position: add the instrument", source=source))  # fmt: skip
        if lots and symbol not in carry.marks:
            out.append(Problem(f"marks.{symbol}", "nothing", "a price in ticks", "without one the whole position would count as profit or loss", source=source))
    for name in carry.limits:
        if name not in effective["risk"]:
            out.append(Problem(f"limits.{name}", "no such limit", "a setting of `risk`", "", source=source))
    return out


def opening_overrides(carry: Carry, effective: dict[str, Any]) -> dict[str, Any]:
    """The settings that take the positions and limits into a configuration."""
    known = {i["symbol"]: i for i in effective["instruments"]}
    lots = {symbol: n for symbol, n in carry.positions.items() if symbol in known}
    cost = {s: n * carry.marks[s] * known[s]["multiplier"] >> known[s]["shift"] for s, n in lots.items() if n}
    return {"account.start_position_lots": lots, "account.start_cost_units": cost, **{f"risk.{name}": value for name, value in carry.limits.items()}}
