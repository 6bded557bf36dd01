"""The process tree for people: a table, a line."""

from __future__ import annotations

import time
from pathlib import Path

from rich.table import Table
from rich.text import Text

from orchestrator.observe.report import nanoseconds
from orchestrator.supervise.state_file import TreeState
from orchestrator.supervise.stopping import EndReport

_COLOURS = {"trading": "green", "ready": "green", "failed": "bold red"}


def tree_table(state: TreeState) -> Table:
    """A row a process."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("process", "state", "pid", "for", "restarts", "recovery", "why"):
        table.add_column(title, justify="right" if title in ("pid", "for", "restarts", "recovery") else "left")
    now = time.time_ns()
    for p in state.processes:
        table.add_row(
            p.name, Text(p.state, _COLOURS.get(p.state, "yellow")), str(p.pid or "-"), nanoseconds(max(0, now - p.since_ns)),
            str(p.restarts), nanoseconds(p.recovery_ns) if p.recovery_ns else "-", p.reason,
        )  # fmt: skip
    return table


def ready_line(state: TreeState, seconds: float, sharing: str = "") -> str:
    """The one line of a tree that has become ready; `sharing` says which shards share a thread."""
    pids = ", ".join(f"{p.name} {p.pid}" for p in state.processes if p.pid)
    again = f", generation {state.generation}" if state.generation > 1 else ""
    shared = f"; {sharing}" if sharing else ""
    held = f" ({state.reason})" if state.state != "trading" else ""
    return f"{state.name} is {state.state}{held} after {seconds:.1f} s{again}: supervisor {state.supervisor_pid}, {pids}; run {_short(state.run)}{shared}"


def end_lines(report: EndReport) -> list[str]:
    """What a tree came to, the first line for all, the others for what was not as it should be."""
    count = {"orders": report.orders, "fills": report.fills, "open": report.open_orders}
    orders = ", ".join(f"{number:,} {what}" for what, number in count.items() if number is not None)
    if unknown := [what for what, number in count.items() if number is None]:
        orders = ", ".join(filter(None, [orders, f"{' and '.join(unknown)} not known"]))
    recovered = ""
    if report.restarts.get("engine"):
        recovered = f", engine recovered {report.restarts['engine']} times, the last in {nanoseconds(report.recovery_ns)}"
    lines = [f"{report.name} is down after {report.seconds:.1f} s: {report.reason}; {orders}{recovered}; run {_short(report.run)}"]
    return lines + [f"  {note}" for note in report.notes]


def _short(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
