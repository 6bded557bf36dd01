"""One live engine from start to report: venue, journal, shared memory, the loop, and a clean end."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.config import config_hash
from orchestrator.config.cores import resolve_cores
from orchestrator.config.models import Config, EmbeddedVenue, ExternalVenue
from orchestrator.config.problems import ConfigError, Problem
from orchestrator.observe import machine
from orchestrator.observe.result import RunResult
from orchestrator.observe.telemetry import Snapshot
from orchestrator.run import plan
from orchestrator.run.results import apply_summary
from orchestrator.run.signals import load_signal
from orchestrator.run.venue_process import VenueError, VenueProcess

OnTick = Callable[[Snapshot], None]
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
NOISE_NS = 200_000_000


def run_live(cfg: Config, *, for_ns: int | None, on_tick: OnTick | None, resume: Path | None = None,
             use_snapshots: bool = True) -> RunResult:
    """Trade until `for_ns` is over, a signal comes, or the engine stops by itself; returns what it came to.

    `on_tick` gets a telemetry snapshot every `report.refresh_ms`, on a thread of its own. `resume` names the folder
    of an earlier run: its journal is recovered and continued, the state rebuilt from its newest snapshot and the
    records after it, or from the first record without `use_snapshots`. Raises ConfigError, VenueError, or ValueError
    with the engine's own words.
    """
    if cfg.engine.topology != "inline":
        raise ConfigError([Problem("engine.topology", cfg.engine.topology, "inline", "the pipelined topology is not built yet")])
    cores = resolve_cores(cfg.engine)
    helpers = _helper_cores(cores)
    facts = machine.describe()  # before this process keeps itself off the hot core
    with contextlib.ExitStack() as stack:
        addresses = stack.enter_context(_venue(cfg, helpers))
        stack.enter_context(_signals_blocked())
        run = _make(cfg, cores, addresses, for_ns, resume, use_snapshots)
        if helpers:
            _move_threads(helpers)  # threads started from here on inherit it; the engine pins itself
        watcher = _Watcher(cfg, on_tick, run.engine.supervisor_beat)
        watcher.start()
        try:
            summary = run.engine.run()
        finally:
            watcher.stop()
        result = _result(cfg, run, summary, facts)
        if cfg.report.histograms:
            try:
                _write_histograms(run)
            except OSError as err:  # the disk that is full for the journal is full for these too
                result.warnings.append(f"histograms: {err}")
    return result


class _Run:
    """What one run owns: the compiled engine, its folder, its policies."""

    def __init__(self, engine: Any, folder: Path, policies: list[plan.LoadedPolicy], signal_fn: Any) -> None:
        self.engine = engine
        self.folder = folder
        self.policies = policies
        self.signal_fn = signal_fn  # keeps compiled code alive


def _make(cfg: Config, cores: dict[str, int | None], addresses: dict[str, Any], for_ns: int | None,
          resume: Path | None, use_snapshots: bool = True) -> _Run:
    day = plan.today()
    if resume is not None:
        from orchestrator.run.journals import read_header

        folder = resume.resolve()  # `latest` may come to mean another run
        parsed, header = read_header(folder)
        spec, quorum = parsed.config["shard"], parsed.config["quorum"]
        policies = plan.policies_of_header(parsed)
        _check_resumable(cfg, spec)
    else:
        folder = new_run_folder(Path(cfg.journal.dir), cfg.name)
        policies = plan.load_policies(cfg)
        spec = plan.shard_spec(cfg, midnight_ns=plan.session_midnight_ns(day))
        header, quorum = plan.journal_header(cfg, spec, policies, day), cfg.policies.quorum_q8
    signal_fn = load_signal(cfg.policies.signal) if cfg.policies.signal else None
    journal = {
        "dir": str(folder),
        "ring_name": f"{cfg.engine.name}-{os.getpid()}",
        "ring_bytes": cfg.journal.ring_mb << 20,
        "segment_bytes": cfg.journal.segment_mb << 20,
        "sync": cfg.journal.sync,
        "sync_interval_ns": cfg.journal.sync_interval_ms * 1_000_000,
        "header": header,
        "use_snapshots": use_snapshots,
        "snapshot_every_records": cfg.journal.snapshot_records,
        "snapshots_kept": cfg.journal.snapshots_kept,
        "snapshot_cpu": _cpu(cores["journal"]),
    }
    try:
        # A run that goes on is wanted back at once: the noise floor is measured at the first start only.
        noise_ns = NOISE_NS if resume is None else 0
        engine = _live_run(cfg, cores, addresses, for_ns, spec, policies, quorum, journal, signal_fn, noise_ns)
    except ValueError as err:
        if resume is None:
            raise
        from orchestrator.run.journals import JournalUnreadable

        raise JournalUnreadable(f"{folder}: {err}", hint="peregrine verify says whether it is whole") from err
    return _Run(engine, folder, policies, signal_fn)


def _check_resumable(cfg: Config, spec: dict[str, Any]) -> None:
    """The journal's own settings go on; what the configuration must bring along has to fit them."""
    problems = []
    here, there = [i.symbol for i in cfg.instruments], [i["symbol"] for i in spec["instruments"]]
    if here != there:
        problems.append(Problem("instruments", ", ".join(here), ", ".join(there), "a run goes on with the symbols it began with"))
    if spec["user_signal"] != (cfg.policies.signal is not None):
        expected = "the signal the run began with" if spec["user_signal"] else "none: the run began without one"
        problems.append(Problem("policies.signal", str(cfg.policies.signal), expected, "resume with the run's own configuration"))
    if problems:
        raise ConfigError(problems)


def _live_run(cfg: Config, cores: dict[str, int | None], addresses: dict[str, Any], for_ns: int | None,
              spec: dict[str, Any], policies: list[plan.LoadedPolicy], quorum: int, journal: dict[str, Any],
              signal_fn: Any, noise_ns: int) -> Any:
    from hotpath import _core

    return _core.LiveRun(
        shard=spec,
        policies=[p.spec for p in policies],
        quorum=quorum,
        live={**_live_spec(cfg, cores, addresses, for_ns), "noise_ns": noise_ns},
        journal=journal,
        segment_name=cfg.engine.name,
        units_per_currency=cfg.account.units_per_currency,
        signal_address=signal_fn.address if signal_fn else 0,
        stage=_stage,
    )


def _stage(slot: int, data: bytes) -> dict[str, Any]:
    return plan.bank_spec(slot, data)


def _live_spec(cfg: Config, cores: dict[str, int | None], addresses: dict[str, Any], for_ns: int | None) -> dict[str, Any]:
    feed, session, engine = cfg.feed, cfg.execution.session, cfg.engine
    return {
        **addresses,
        "join": feed.join,
        "window_messages": feed.window_messages,
        "arbitration_wait_ns": feed.arbitration_wait_ns,
        "request_timeout_ns": feed.request_timeout_ns,
        "request_retries": feed.request_retries,
        "max_request_messages": feed.max_request_messages,
        "feed_silence_ns": feed.silence_ns,
        "snapshot_timeout_ns": feed.snapshot_timeout_ns,
        "snapshot_retry_ns": feed.snapshot_retry_ns,
        "snapshot_retries": feed.snapshot_retries,
        "heartbeat_ns": session.heartbeat_ns,
        "session_silence_ns": session.silence_ns,
        "reconnect_delay_ns": session.reconnect_delay_ns,
        "connect_timeout_ns": session.connect_timeout_ns,
        "idle": engine.idle,
        "engine_cpu": _cpu(cores["engine"]),
        "journal_cpu": _cpu(cores["journal"]),
        "refuse_bad_placement": engine.refuse_shared_cores,
        "mlock": engine.mlock,
        "stage_sample": engine.stage_sample,
        "run_for_ns": for_ns or 0,
        "supervisor_timeout_ns": engine.supervisor_timeout_ms * 1_000_000,
    }


@contextlib.contextmanager
def _venue(cfg: Config, helpers: set[int] | None) -> Iterator[dict[str, Any]]:
    """Addresses and login of the venue; the embedded one lives as long as the context."""
    if isinstance(cfg.venue, EmbeddedVenue):
        with VenueProcess(cfg, cores=helpers) as venue:
            ready = venue.ready
            yield {
                **{key: ready[key] for key in ("ouch", "itch_a", "itch_b", "retransmit", "glimpse")},
                "interface": "127.0.0.1",
                "username": venue.account["user"],
                "password": venue.account["password"],
            }
        return
    assert isinstance(cfg.venue, ExternalVenue)
    from orchestrator.config.secrets import venue_password

    v = cfg.venue
    yield {
        "ouch": v.ouch, "itch_a": v.itch_a, "itch_b": v.itch_b, "retransmit": v.retransmit, "glimpse": v.glimpse,
        "interface": v.interface or "0.0.0.0",
        "username": v.account.username,
        "password": venue_password(v),
    }  # fmt: skip


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Keeps these signals off the engine's threads, which inherit the mask; a thread of its own takes them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    affinity = os.sched_getaffinity(0)
    try:
        yield
    finally:
        while signal.sigtimedwait(STOP_SIGNALS, 0) is not None:
            pass  # a second Ctrl-C that came after the stop
        os.sched_setaffinity(0, affinity)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Watcher:
    """The supervisor's side of a run: a heartbeat to the engine, and its telemetry handed on, at intervals."""

    def __init__(self, cfg: Config, on_tick: OnTick | None, beat: Callable[[], None]) -> None:
        self._name = cfg.engine.name
        self._every_s = cfg.report.refresh_ms / 1000
        self._on_tick = on_tick
        self._beat = beat
        self._needed = on_tick is not None or cfg.engine.supervisor_timeout_ms > 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="panel", daemon=True)

    def start(self) -> None:
        if self._needed:
            self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        from orchestrator.observe.segment import Segment, SegmentError
        from orchestrator.observe.telemetry import REGION, TelemetryError, read

        while not self._over.wait(self._every_s):
            self._beat()  # the engine stops by itself when its supervisor falls silent
            if self._on_tick is None:
                continue
            with contextlib.suppress(SegmentError, TelemetryError), Segment(self._name) as segment:
                self._on_tick(read(segment.region(REGION)))


def new_run_folder(base: Path, name: str) -> Path:
    """A fresh folder for one run under `base`, with `base/latest` pointing to it."""
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
    base.mkdir(parents=True, exist_ok=True)
    for i in range(1000):
        folder = base / (f"{stamp}-{name}" + (f"-{i}" if i else ""))
        try:
            folder.mkdir()
            break
        except FileExistsError:
            continue
    latest = base / "latest"
    with contextlib.suppress(OSError):
        latest.unlink(missing_ok=True)
        latest.symlink_to(folder.name)
    return folder


def _move_threads(cores: set[int]) -> None:
    """Keep every thread this process already has (numpy's workers too) off the hot core."""
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it may just have ended
            os.sched_setaffinity(int(task.name), cores)


def _helper_cores(cores: dict[str, int | None]) -> set[int] | None:
    hot = cores["engine"]
    if hot is None:
        return None
    rest = os.sched_getaffinity(0) - {hot}
    return rest or None


def _cpu(core: int | None) -> int:
    return plan.NO_CPU if core is None else core


def _result(cfg: Config, run: _Run, summary: dict[str, Any], facts: dict[str, Any]) -> RunResult:
    result = RunResult(
        mode="live",
        config_name=cfg.name,
        config_sha256=config_hash(cfg),
        seed=cfg.venue.seed if isinstance(cfg.venue, EmbeddedVenue) else None,
        currency=cfg.account.currency,
        units_per_currency=cfg.account.units_per_currency,
        journal=str(run.folder),
        machine=facts,
    )
    result.stopped_by = summary["stopped_by"]
    apply_summary(result, summary, run.policies)  # a kill or a tripped breaker is the reason, however the process ended
    result.duration_ns = summary["now_ns"] - summary["started_ns"]
    result.snapshots = summary["snapshots"]
    if summary["recovered"]:
        result.recovery = {
            "snapshot_seq": summary["recovered_from_snapshot_seq"],
            "replayed_inputs": summary["recovered_inputs"],
            "ns": summary["recovery_ns"],
        }
        result.warnings += summary["recovery_notes"]
    if summary["snapshot_error"]:
        result.warnings.append(f"snapshots: {summary['snapshot_error']}")
    if summary["placement_error"]:
        result.warnings.append(f"engine thread: {summary['placement_error']}")
    for note in summary["lock_notes"]:
        result.warnings.append(f"not locked into memory: {note} (hint: peregrine doctor)")
    if not summary["journal_closed"]:
        result.warnings.append(f"journal: {summary['journal_error']}")
    if summary["working_orders"]:
        result.warnings.append(f"{summary['working_orders']} orders may still work at the venue: run --resume on this journal cancels them")
    if summary["feed"]["kernel_drops"]:
        result.warnings.append(f"the kernel dropped {summary['feed']['kernel_drops']} feed packets: peregrine doctor says how to give it room")
    return result


def _write_histograms(run: _Run) -> None:
    folder = run.folder / "histograms"
    folder.mkdir(exist_ok=True)
    for name in ("tick_to_order", "send", "order_to_ack", "noise"):
        (folder / f"{name}.hgrm").write_text(run.engine.hgrm(name, 1.0))


__all__ = ["VenueError", "new_run_folder", "run_live"]
