"""Have a reconciler begin anew, because the venue has put its record right."""

from __future__ import annotations

import signal
import time

from orchestrator.cli._errors import EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, CliError
from orchestrator.day.reconciler import Status, read_status
from orchestrator.supervise import state_file
from orchestrator.supervise.paths import runtime_dir
from orchestrator.supervise.process import Process

WAIT_S = 15.0
STEP_S = 0.05


def read_again(name: str) -> Status:
    """Tell the reconciler of a tree to read both records again; how it stands then. Raises CliError."""
    folder = runtime_dir(name)
    processes = state_file.read(folder).processes
    member = next((p for p in processes if p.role == "reconciler" and p.alive()), None)
    if member is None:
        raise CliError(f"no reconciler of {name} is running", hint="day.reconcile.enabled: true, and peregrine up", code=EXIT_UNAVAILABLE)
    before = read_status(folder)
    process = Process.adopt(member.pid, member.start_ticks)
    process.send(signal.SIGHUP)
    process.close()
    until, asked_ns = time.monotonic() + WAIT_S, time.time_ns()
    while time.monotonic() < until:
        found = read_status(folder)
        # At least as far as it was, and nothing undecided: what it says then is said of all of it.
        answered = found is not None and found.written_ns > asked_ns and found.state in ("agreed", "broken")
        if found is not None and answered and (before is None or found.session != before.session or found.last_seq >= before.last_seq):
            return found
        time.sleep(STEP_S)
    raise CliError(f"the reconciler of {name} has not come to an end within {WAIT_S:.0f} s", hint="peregrine day agreement says how it stands", code=EXIT_TRY_AGAIN)
