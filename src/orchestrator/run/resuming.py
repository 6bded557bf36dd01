"""May a run go on from its journal? What the configuration has to bring along, and which day it is.

The day of a run is its journal's. An engine that recovers is still in that day, whatever the clock says by now: its orders
are at the venue, and whether the session is over is the venue's to say (at the login). Only a run that is over, closed and
with nothing open, belongs to a day of the calendar: going on with it on a later one would be a new start.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from orchestrator.config.models import Config
from orchestrator.config.problems import ConfigError, Problem
from orchestrator.run import plan
from orchestrator.run.shards import folder_of, folders, instruments_of


def check_resume(cfg: Config, folder: Path) -> None:
    """Could the run in `folder` go on with this configuration, as far as its journals tell? Raises JournalUnreadable, ConfigError."""
    from orchestrator.run.journals import read_header, require_semantics

    check_shards(cfg, folder)
    check_day(folder, plan.today())
    for shard in range(cfg.engine.shards):
        own = folder_of(folder, cfg.engine.shards, shard)
        parsed, _ = read_header(own)
        require_semantics(parsed, own)
        check_resumable(cfg, parsed.config["shard"], shard)


def check_shards(cfg: Config, folder: Path) -> None:
    """Has the run as many shards as the configuration? Raises ConfigError."""
    there = len(folders(folder))
    if there != cfg.engine.shards:
        expected = f"{there}, as the run in {folder} has"
        raise ConfigError([Problem("engine.shards", str(cfg.engine.shards), expected, "a run goes on with the shards it began with")])


def check_day(folder: Path, day: dt.date) -> None:
    """Refuse, by ConfigError, to go on with a run of a day before `day` that is over. Raises JournalUnreadable.

    One whose engine died is not over, and one of a later day is of a clock that was set back since.
    """
    from orchestrator.run.journals import read_header

    began = str(read_header(folders(folder)[0])[0].session_date)
    if began < day.isoformat() and is_over(folder):
        raise ConfigError([Problem("resume", f"a run of {began}, which is over", f"one of {day.isoformat()}, today's session",
                                   "order and message numbers begin anew each day: start a new run")])  # fmt: skip


def is_over(folder: Path) -> bool:
    """Was every journal of the run closed, with no order open at the venue by its last record? Raises JournalUnreadable."""
    from orchestrator.day.fills import read_day

    day = read_day(folder)
    return day.closed and not day.open_orders


def check_resumable(cfg: Config, spec: dict[str, Any], shard: int = 0) -> None:
    """The journal's own settings (`spec`) go on; what the configuration must bring along has to fit them. Raises ConfigError."""
    problems = []
    here, there = [i.symbol for i in instruments_of(cfg, shard)], [i["symbol"] for i in spec["instruments"]]
    if here != there:
        problems.append(Problem("instruments", ", ".join(here), ", ".join(there), "a run goes on with the symbols it began with"))
    if spec["user_signal"] != (cfg.policies.signal is not None):
        expected = "the signal the run began with" if spec["user_signal"] else "none: the run began without one"
        problems.append(Problem("policies.signal", str(cfg.policies.signal), expected, "resume with the run's own configuration"))
    if problems:
        raise ConfigError(problems)
