"""`peregrine run`: the tree of `peregrine up` with the supervisor in this process, for one run, and its report at the end."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from orchestrator.cli._errors import CliError
from orchestrator.config.models import Config
from orchestrator.observe.result import RunResult
from orchestrator.observe.segment import Segment, SegmentError
from orchestrator.observe.shards import read_engine
from orchestrator.observe.telemetry import TelemetryError
from orchestrator.run.watch import OnTick
from orchestrator.supervise.launch import launch
from orchestrator.supervise.once import Once
from orchestrator.supervise.stopping import EndReport, read_result
from orchestrator.supervise.supervisor import TIME_IS_OVER, Supervisor


def run_supervised(cfg: Config, *, for_ns: int | None, on_tick: OnTick | None, resume: Path | None = None, use_snapshots: bool = True,
                   cut_damaged_tail: bool = False) -> RunResult:
    """Trade until `for_ns` of trading is over, a signal or a command comes, or the engine stops by itself; what it came to.

    The arguments are those of `run.live.run_live`. An engine that dies is recovered on the way. Raises CliError with the
    reason of a tree that could not start or go on, KeyboardInterrupt when it was stopped before there was an engine.
    """
    once = Once(for_ns=for_ns, resume=resume, use_snapshots=use_snapshots, cut_damaged_tail=cut_damaged_tail)
    supervisor = launch(cfg, once=once, on_round=_Watch(on_tick) if on_tick else None)
    report = supervisor.run()
    result = read_result(Path(report.run))
    if report.code or result is None:
        raise _failure(report)
    _add_what_the_supervisor_knows(result, report)
    if resume is None and not Path(cfg.journal.dir).is_absolute():  # named as it was asked for
        with suppress(ValueError):
            result.journal = str(Path(result.journal).relative_to(Path.cwd()))
    return result


class _Watch:
    """Hands readings of the engine on, as often as a panel wants them."""

    def __init__(self, on_tick: OnTick) -> None:
        self._on_tick = on_tick
        self._next_s = 0.0

    def __call__(self, supervisor: Supervisor) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + supervisor.tree.cfg.report.refresh_ms / 1000
        with suppress(SegmentError, TelemetryError), Segment(supervisor.tree.name) as segment:
            self._on_tick(read_engine(segment))


def _failure(report: EndReport) -> BaseException:
    if not report.code:
        return KeyboardInterrupt()
    notes = "".join(f"\n  {note}" for note in report.notes)
    return CliError(f"{report.reason}{notes}", hint=report.hint or f"logs: {report.run}/logs", code=report.code)


def _add_what_the_supervisor_knows(result: RunResult, report: EndReport) -> None:
    if result.stopped_by == "signal" and report.reason == TIME_IS_OVER:
        result.stopped_by = "time"
    result.recoveries, result.recovered_ns = report.restarts.get("engine", 0), report.recovery_ns
    result.warnings += [note for note in report.notes if note not in result.warnings]
