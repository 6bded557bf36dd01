"""The way down: no new orders, cancel what works, flush the journal, end the processes in reverse order, report."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from orchestrator.cli._errors import EXIT_UNAVAILABLE
from orchestrator.control.engine_link import EngineLinkError
from orchestrator.day.verdict import verdict
from orchestrator.observe import log
from orchestrator.observe.result import RunResult
from orchestrator.supervise.engine_main import RESULT, read
from orchestrator.supervise.holds import TreeLink
from orchestrator.supervise.link import own_request
from orchestrator.supervise.tree import Member, Tree
from orchestrator.supervise.view import EngineView, read_view

ENDED = "ended.json"
STEP_S = 0.02
TELEMETRY_S, OTHERS_S = 5.0, 5.0
ENGINE_LEAST_S = 8.0  # it cancels for four seconds (live_config.h), logs out within one, and writes what it has
_log = log.logger()


class EndReport(msgspec.Struct, kw_only=True):
    """What a tree came to; RUN/ended.json."""

    name: str
    run: str
    reason: str
    code: int  # exit code of the supervisor
    hint: str = ""
    open_orders: int | None = 0  # at the venue when the engine was last seen; None: not known
    notes: list[str] = []  # what was not as it should be, a line each
    restarts: dict[str, int] = {}
    recovery_ns: int = 0  # of the engine's last restart: death seen to trading again
    generation: int = 1
    seconds: float = 0.0
    orders: int | None = None  # of the whole run; None: not known, the engine did not end cleanly
    fills: int | None = None


def stop(tree: Tree, link: TreeLink | None, *, timeout_s: float, why: str, beat: Callable[[], None]) -> EndReport:
    """End every process of the tree within about `timeout_s`; `beat` is called meanwhile, so that the engine keeps its
    supervisor. The report's code is the caller's to set."""
    report = EndReport(name=tree.name, run=str(tree.run), reason=why, code=0, generation=tree.generation)
    until = time.monotonic() + timeout_s
    if tree.life.state in ("starting", "syncing", "ready", "trading"):
        tree.life.move("draining", why)
    engine = tree.engine
    if engine.alive():
        engine.life.settle("draining", why)
        if link is not None:
            _quiet(tree, link, report, until=time.monotonic() + timeout_s / 3, why=why, beat=beat)
    telemetry, venue = tree.get("telemetry"), tree.get("venue")
    if telemetry is not None:
        _end(telemetry, min(TELEMETRY_S, timeout_s), report, why, beat)
    last = read_view(tree.name)
    asked = engine.alive()
    if not _end(engine, max(ENGINE_LEAST_S, until - time.monotonic()), report, why, beat) and asked:
        report.notes.append("its journal is whole up to its last record: `peregrine run --resume` on it cancels what may be open")
    result = read_result(tree.run)
    _orders(tree, report, last, result)
    if (reconciler := tree.get("reconciler")) is not None:
        _end(reconciler, OTHERS_S, report, why, beat)
        report.notes += verdict(tree)
    if venue is not None:
        _end(venue, OTHERS_S, report, why, beat)
    report.restarts = {m.spec.name: m.restarts for m in tree.members.values() if m.restarts}
    report.recovery_ns = engine.recovery_ns
    report.seconds = (time.time_ns() - tree.started_ns) / 1e9
    return report


def _quiet(tree: Tree, link: TreeLink, report: EndReport, *, until: float, why: str, beat: Callable[[], None]) -> None:
    """No new orders, and everything cancelled, while session and telemetry still stand."""
    view = read_view(tree.name)
    if view is None or not view.up:
        return
    for shard in range(len(view.shards)):
        try:
            link.own("drain", shard=shard, request=own_request("stop", why))
        except EngineLinkError as err:  # an engine that does not answer is ended by a signal below
            report.notes.append(f"shard {shard} did not take the drain: {err}")
    while time.monotonic() < until and tree.engine.alive():
        view = read_view(tree.name)
        if view is None or not view.up or view.open_orders() == 0:
            return
        beat()
        time.sleep(STEP_S)


def _end(member: Member, timeout_s: float, report: EndReport, why: str, beat: Callable[[], None]) -> bool:
    """SIGTERM, then SIGKILL; True when it ended by itself. A stopped process is let go on first: else it would not hear."""
    process, life = member.process, member.life
    clean = True
    if process is not None and process.alive():
        life.settle("draining", why)
        process.send(signal.SIGTERM)
        process.send(signal.SIGCONT)
        until = time.monotonic() + timeout_s
        while not (ended := process.wait(STEP_S)) and time.monotonic() < until:
            beat()
        if not ended:
            clean = False
            report.notes.append(f"{member.spec.name} did not end within {timeout_s:.0f} s and was killed (log: {member.spec.log})")
            process.send(signal.SIGKILL)
            process.wait(5.0)
    if life.state == "draining":
        life.move("stopped" if clean else "failed", "" if clean else "killed: it did not end when asked to")
    elif life.state == "failed":
        life.move("stopped")
    elif life.state != "stopped":  # it was never started
        life.move("draining", why)
        life.move("stopped")
    return clean


def left_unsettled(report: EndReport) -> None:
    """Say of a run that was to be settled and ended, and was not, that it stays what it was, and what to do."""
    report.code = report.code or EXIT_UNAVAILABLE
    report.notes.append("the run was not closed: whatever is started next as this engine recovers it first")
    ways = (f"again once that is mended: peregrine down {report.name}; or ask the venue what is open, and close the books without it: "
            f"peregrine down {report.name} --books-only")  # fmt: skip
    report.hint = "; ".join(filter(None, [report.hint, ways]))


def read_result(run: Path) -> RunResult | None:
    """What the engine's last life came to; None when it did not end cleanly."""
    found = read(run / RESULT, RunResult)
    return found if isinstance(found, RunResult) else None


def _orders(tree: Tree, report: EndReport, last: EngineView | None, result: RunResult | None) -> None:
    if result is not None:
        report.orders, report.fills = result.orders, result.fills
        report.notes += [w for w in result.warnings if w.startswith("journal:")]
        report.open_orders = max(result.working_orders, result.unknown_orders)  # the unknown ones are among the first
    elif not tree.has_traded:
        report.orders = report.fills = 0
    elif tree.get("venue") is not None:
        report.notes.append("the engine did not end cleanly; what was open ended with the embedded exchange")
    else:
        report.open_orders = None
    if report.open_orders:
        report.notes.append(f"{report.open_orders} orders may still be open at the venue")
    elif report.open_orders is None:
        seen = f" (its last reading: {last.open_orders()})" if last is not None and last.shards else ""
        report.notes.append(f"whether orders are still open at the venue is not known{seen}: ask the venue, or peregrine run --resume")
