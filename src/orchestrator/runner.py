"""What the commands call to run the compiled engine; the work is done in `orchestrator.run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.config.models import Config
from orchestrator.observe.result import RunResult
from orchestrator.observe.telemetry import Snapshot
from orchestrator.run import journals, virtual
from orchestrator.run.live import run_live
from orchestrator.run.virtual import replay_itch


def run_virtual(cfg: Config, *, for_ns: int | None, on_tick: Callable[[Snapshot], None] | None = None) -> RunResult:
    """A run in virtual time; there is nothing to watch meanwhile, so `on_tick` is not called."""
    return virtual.run_virtual(cfg, for_ns=for_ns)


def replay_journal(folder: Path) -> RunResult:
    """See `orchestrator.run.journals.replay_journal`."""
    return journals.replay_journal(folder)


def verify_journal(folder: Path) -> dict[str, Any]:
    """See `orchestrator.run.journals.verify_journal`."""
    return journals.verify_journal(folder)


__all__ = ["replay_itch", "replay_journal", "run_live", "run_virtual", "verify_journal"]
