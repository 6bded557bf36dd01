"""What an engine runs with now: the configuration in its journal's header, and what deploys made of it since."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.deploy.history import History


class NotRunning(Exception):
    """There is no such engine, or none that can be told about; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Running:
    """`now`: the effective configuration in force; `started`: the one in the journal's header."""

    engine: str
    run: str
    started: dict[str, Any]
    now: dict[str, Any]
    own_limits: set[str]


def running(engine: str, history: History, run: Path | None = None) -> Running:
    """Of the engine called `engine`, whose supervisor's state file names the run. Raises NotRunning."""
    from orchestrator.run.journals import JournalUnreadable, read_header
    from orchestrator.run.shards import folders

    if run is None:
        run = _run_of(engine)
    try:
        parsed, _ = read_header(folders(run)[0])
    except (JournalUnreadable, OSError, ValueError) as err:
        raise NotRunning(f"the journal of {engine} cannot be read: {err}", "peregrine verify says more") from err
    from orchestrator.config import effective, from_effective

    started = effective(from_effective(parsed.config["effective"]))  # of an older release: defaults filled in
    now, own = history.now(str(run))
    return Running(engine, str(run), started, now or started, own | set(started["risk"]["by_symbol"]))


def _run_of(engine: str) -> Path:
    from orchestrator.supervise.paths import runtime_dir
    from orchestrator.supervise.state_file import StateFileError, read

    try:
        state = read(runtime_dir(engine))
    except StateFileError as err:
        raise NotRunning(f"{engine} has no supervisor: {err}", "start it with `peregrine up`") from err
    if not state.run:
        raise NotRunning(f"{engine} has no run yet", "try again when it trades")
    return Path(state.run)
