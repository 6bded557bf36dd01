"""Bringing a tree down from outside: through its supervisor, or as its last supervisor where it has lost its own."""

from __future__ import annotations

import getpass
import os
import signal
from contextlib import suppress
from pathlib import Path

from orchestrator.cli._errors import EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, CliError
from orchestrator.supervise import state_file
from orchestrator.supervise.engine_main import PLAN, Plan, read
from orchestrator.supervise.launch import take_over
from orchestrator.supervise.leftovers import put_away
from orchestrator.supervise.lock import Locked, SupervisorLock
from orchestrator.supervise.paths import runtime_dir
from orchestrator.supervise.process import Process, marked
from orchestrator.supervise.settle import may_be_open, nothing_open, settle
from orchestrator.supervise.state_file import TreeState
from orchestrator.supervise.stopping import ENDED, EndReport
from orchestrator.supervise.takeover import end_all

DOWN = "peregrine down"
TELL_S = 5.0  # for the control API of a supervisor that is busy


def bring_down(name: str, *, timeout_s: float | None = None, books_only: bool = False, who: str = "", by: str = DOWN) -> EndReport | None:
    """End the tree called `name`; None when it was down already. Where engine and supervisor are gone and something may be open
    at an exchange that is not ours, it is cancelled first, unless the books are to be closed only (`books_only`).
    `who` asks for it, none: the login name; `by`: with what. Raises CliError: 69 for no such tree, 75 when its supervisor has
    not ended in time."""
    folder, who = runtime_dir(name), who or _login()
    why = f"asked to stop by {who}: {by}"
    try:
        state = state_file.read(folder)
    except state_file.StateFileError as err:
        raise CliError(str(err), hint="peregrine up --detach starts a tree", code=EXIT_UNAVAILABLE) from err
    if state.supervisor_alive():
        ended = _through_supervisor(state, timeout_s, who, by)
        # One that died on the way down, or just now: go on where it was.
        return ended or bring_down(name, timeout_s=timeout_s, books_only=books_only, who=who, by=by)
    living = marked(folder)
    if not living and state.over():
        return None
    if read(Path(state.run) / PLAN, Plan) is not None and any(found[0] in ("engine", "venue") for found in living):
        supervisor = take_over(name)
        supervisor.ask_stop(why)
        return supervisor.run()
    if not books_only and may_be_open(state, {one: (pid, ticks) for one, pid, ticks in living}):
        return settle(state, why, timeout_s)
    return _remains(name, folder, state)


def _through_supervisor(state: TreeState, timeout_s: float | None, who: str, by: str) -> EndReport | None:
    """None where there is no supervisor any more, and no report of its."""
    try:
        process = Process.adopt(state.supervisor_pid, state.supervisor_start_ticks)
    except ProcessLookupError:
        return None
    wait_s = timeout_s if timeout_s is not None else _patience_s(state)
    if not _told(state.name, who, by, min(wait_s, TELL_S)):
        process.send(signal.SIGTERM)  # which carries no name
    ended = process.wait(wait_s)
    process.close()
    if not ended:
        raise CliError(f"the supervisor of {state.name} (process {state.supervisor_pid}) has not ended within {wait_s:.0f} s",
                       hint=f"peregrine kill {state.name} stops its trading at once; logs: {state.run}/logs", code=EXIT_TRY_AGAIN)  # fmt: skip
    report = read(Path(state.run) / ENDED, EndReport)
    return report if isinstance(report, EndReport) else None


def _told(name: str, who: str, by: str, timeout_s: float) -> bool:
    """Has its control API taken the stop? That knows and journals who asks."""
    from orchestrator.control.client import ControlClient
    from orchestrator.control.errors import ControlError

    try:
        with ControlClient.local(name, timeout_s) as client:
            client.call("stop", why=by, who=who)
    except ControlError:
        return False
    return True


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def _patience_s(state: TreeState) -> float:
    plan = read(Path(state.run) / PLAN, Plan)
    own = plan.config.get("supervise", {}).get("stop_timeout_s", 15) if isinstance(plan, Plan) else 15
    return float(own) * 2 + 15


def _remains(name: str, folder: Path, state: TreeState) -> EndReport:
    """Nothing there that could be brought down in order: end what is left of it and put the rest away."""
    try:
        lock = SupervisorLock(folder)
    except Locked as err:
        raise CliError(str(err), hint="try again in a moment", code=EXIT_TRY_AGAIN) from err
    ended = end_all(folder)
    notes = [f"{one} was ended by a signal" for one in ended] + put_away(name, folder, Path(state.run))
    report = EndReport(name=name, run=state.run, reason="its supervisor and its engine were gone", code=EXIT_UNAVAILABLE, notes=notes)
    if not nothing_open(state):
        report.open_orders = None
        report.notes.append("whether orders are still open at the venue is not known: ask the venue")
    state.state, state.reason, state.trading_enabled, state.unsettled = "failed", report.reason, False, False
    state.kill_owed = 0  # a person closed that run: what is begun next is another decision
    for process in state.processes:
        process.pid, process.state = 0, "failed" if process.role == "engine" else "stopped"
    state_file.write(folder, state)
    with suppress(OSError):
        state_file.write(Path(state.run), state)  # nor does a reboot bring it back
    lock.close()
    return report
