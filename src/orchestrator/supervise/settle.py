"""`down` where engine and supervisor have both died, at an exchange that is not ours: nothing is closed before nothing is open.

The run is recovered as `supervise.after_both_died: cancel` does it, drained, and just far enough: its engine logs in, agrees
with the exchange, and what works is cancelled. Then it is ended in order. The feed, the reconciler and telemetry are not
waited for. Where that does not come about in time the run stays what it was, unsettled, and `down` says so.
"""

from __future__ import annotations

import time
from pathlib import Path

from orchestrator.cli._errors import EXIT_UNAVAILABLE
from orchestrator.supervise.both_died import engine_gone
from orchestrator.supervise.engine_main import PLAN, Plan, read
from orchestrator.supervise.launch import recover_to_end
from orchestrator.supervise.state_file import TreeState
from orchestrator.supervise.stopping import EndReport, read_result
from orchestrator.supervise.supervisor import Supervisor

BEGIN_ANEW = "the run is closed; begin the next one with the positions that the venue has read out, in account.start_position_lots"
SAID = "engine and supervisor had both died, so the run was recovered first, and what was open is cancelled"


def may_be_open(found: TreeState, living: dict[str, tuple[int, int]]) -> bool:
    """May something be open at an exchange that is not ours, before this tree's books are closed?"""
    return not nothing_open(found) and engine_gone(found, living)


def nothing_open(found: TreeState) -> bool:
    """Is it certain, without asking the venue? An engine that never traded had nothing, but one of `run` may have gone on with a
    run that had; and one that ended in order knows."""
    if (result := read_result(Path(found.run))) is not None:
        return not max(result.working_orders, result.unknown_orders)
    return not found.has_traded and not found.foreground


def settle(found: TreeState, why: str, timeout_s: float | None) -> EndReport:
    """Cancel what is open and end it. Raises CliError where there is nothing to recover it by, or somebody else does it."""
    plan = read(Path(found.run) / PLAN, Plan)
    own = plan.config.get("supervise", {}).get("ready_timeout_s", 60) if isinstance(plan, Plan) else 60
    return recover_to_end(found.name, why, on_round=Settling(why, timeout_s or float(own))).run()


class Settling:
    """Looks at each round of the supervisor whether nothing is open any more, and ends it then, or when its time is over."""

    def __init__(self, why: str, timeout_s: float) -> None:
        self._why, self._timeout_s = why, timeout_s
        self._until_s = time.monotonic() + timeout_s

    def __call__(self, supervisor: Supervisor) -> None:
        view, process = supervisor.engine.view, supervisor.engine.member.process
        present = view is not None and process is not None and view.pid == process.pid and view.up
        keeps = view.unsettled() if present and view is not None else "the engine is not recovered yet"
        if not keeps:
            supervisor.tree.settling = False
            lost = view.lost() if view is not None else ""
            supervisor.ask_stop(f"{self._why}; {lost or SAID}", EXIT_UNAVAILABLE if lost else 0, BEGIN_ANEW if lost else "")
        elif time.monotonic() > self._until_s:
            supervisor.ask_stop(f"what is open at the venue could not be cancelled within {self._timeout_s:g} s: {keeps}", EXIT_UNAVAILABLE)
