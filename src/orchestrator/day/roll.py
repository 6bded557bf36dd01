"""The end of a day in one go: stop in order, agree with the venue, write what is carried, put the run away.

Each step is there to be seen before the next one begins, and one that was done is not done again: after what stopped it has
been put right, the same command goes on from there.

    FOLDER/SESSION.yaml            what the next day starts with
    FOLDER/RUN.archive             the run, with a manifest
    FOLDER/SESSION.json            the steps, what each came to, and when
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.day.archive import archive, verify
from orchestrator.day.drop_copy import DropCopy
from orchestrator.day.fills import DayRecord, read_day
from orchestrator.day.marks import closing_marks
from orchestrator.day.positions import Carry, carry_of, read_carry
from orchestrator.day.reconcile import reconcile
from orchestrator.day.reconciler import STATUS, read_status
from orchestrator.supervise.files import replace_whole


class RollStopped(Exception):
    """A step did not come out as it must; nothing after it was done. `hint` says how to go on."""

    def __init__(self, step: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.step, self.hint = step, hint


@dataclass
class Rolled:
    """What it came to."""

    run: Path
    carry_file: Path
    archive: Path
    carry: Carry
    chain: str
    steps: list[dict[str, Any]] = field(default_factory=list)


def reconciled_by(run: Path, day: DayRecord) -> tuple[bool | None, list[str]]:
    """What the reconciler beside this run came to: did it agree to the end (None: there is no word of it), and what it said."""
    status = read_status(run)
    if status is None:
        return None, []
    if status.standing:
        return False, status.standing
    if status.state != "ended":
        return None, [f"it did not see the end: {status.problem or status.state}"]
    lots = {symbol: pair for symbol, pair in status.positions.items() if any(pair)}
    close = {symbol: (n, n) for symbol, n in day.close_lots().items() if n}
    if lots != close:
        return False, [f"{run / STATUS}: positions {lots}, the journals' {close}"]
    return True, []


def agree(run: Path, day: DayRecord, read_venue: Callable[[], DropCopy] | None, *, whole_firm: bool = True) -> tuple[bool, str]:
    """(has the venue agreed, how). Raises RollStopped where it disagrees."""
    hint = "docs/runbooks/drop-copy-disagrees.md; nothing was written"
    if read_venue is not None:
        found = reconcile(day, read_venue(), whole_firm=whole_firm)
        if not found.agreed:
            raise RollStopped("reconcile", f"{len(found.problems)} differences with the venue:\n  " + "\n  ".join(found.problems[:50]), hint)
        return True, f"{found.fills} fills, read from the drop copy"
    agreed, said = reconciled_by(run, day)
    if agreed is False:
        raise RollStopped("reconcile", f"{len(said)} differences with the venue:\n  " + "\n  ".join(said[:50]), hint)
    if agreed:
        return True, f"{len(day.fills)} fills, by the reconciler beside the run"
    return False, "; ".join(said) or "nobody has compared this run with the venue"


def roll(run: Path, folder: Path, *, read_venue: Callable[[], DropCopy] | None = None, unreconciled: bool = False,
         whole_firm: bool = True, before: list[dict[str, Any]] | None = None) -> Rolled:
    """Everything after the engine has ended. Raises RollStopped, JournalUnreadable, ArchiveError, DropCopyError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    day = read_day(run)
    name = "-".join(part for part in (day.session_date, day.venue_session) if part)
    steps = list(before or [])

    def done(step: str, **what: Any) -> None:
        steps.append({"step": step, "at_ns": time.time_ns(), **what})

    if not day.closed:
        raise RollStopped("stop", f"{run} was not closed cleanly", "peregrine run --resume on it cancels what may be open and closes it")
    if day.open_orders:
        raise RollStopped("stop", f"{day.open_orders} orders of {run} are open at the venue by its journal",
                          "peregrine run --resume on it cancels them; or the venue does, at its close")  # fmt: skip
    agreed, how = agree(run, day, read_venue, whole_firm=whole_firm)
    if not agreed and not unreconciled:
        raise RollStopped("reconcile", f"{run}: {how}", "--drop-copy HOST:PORT asks the venue; --unreconciled goes on without its word")
    done("reconcile", agreed=agreed, how=how)
    carry = carry_of(day, closing_marks(run, day.close_lots()), reconciled=agreed)
    carry_file = folder / f"{name}.yaml"
    if carry_file.exists() and read_carry(carry_file)[0] != carry:
        raise RollStopped("carry", f"{carry_file} is there already, and says something else", "look at both, and move it away")
    replace_whole(carry_file, carry.text().encode())
    done("carry", file=str(carry_file), positions={s: n for s, n in carry.positions.items() if n})
    to = folder / f"{run.resolve().name}.archive"
    if to.exists():
        found = verify(to)
        if found.problems:
            raise RollStopped("archive", f"{to} is there and damaged: {found.problems[0]}", "move it away, then again")
        chain = found.chain
    else:
        facts = {"run": run.resolve().name, "session_date": day.session_date, "venue_session": day.venue_session,
                 "engine": day.effective["engine"]["name"], "configuration": day.effective["name"], "fills": len(day.fills),
                 "positions_lots": day.close_lots(), "reconciled": agreed}  # fmt: skip
        chain = archive(run, to, facts)["chain"]
    done("archive", folder=str(to), chain=chain)
    replace_whole(folder / f"{name}.json", (json.dumps({"run": str(run), "steps": steps}, indent=1) + "\n").encode())
    return Rolled(run, carry_file, to, carry, chain, steps)
