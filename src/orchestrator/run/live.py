"""One live engine from start to report: venue, journal, shared memory, the loop, and a clean end."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.config.cores import COOL_THREADS, resolve_cores, share_threads
from orchestrator.config.models import Config
from orchestrator.observe import machine
from orchestrator.observe.clock_sync import read_clock
from orchestrator.observe.result import RunResult
from orchestrator.observe.topology import isolated_cpus
from orchestrator.run import device, plan
from orchestrator.run.addresses import venue_addresses
from orchestrator.run.live_result import live_result
from orchestrator.run.resuming import check_day, check_resumable, check_shards
from orchestrator.run.safety_result import apply_safety
from orchestrator.run.shards import folder_of
from orchestrator.run.signals import load_signal
from orchestrator.run.venue_process import VenueError
from orchestrator.run.watch import AccountBreaker, OnTick, Watcher

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
NOISE_NS = 200_000_000


def run_live(cfg: Config, *, for_ns: int | None, on_tick: OnTick | None, resume: Path | None = None,
             use_snapshots: bool = True, cut_damaged_tail: bool = False) -> RunResult:
    """Trade until `for_ns` is over, a signal comes, or the engine stops by itself; returns what it came to.

    `on_tick` gets a telemetry snapshot every `report.refresh_ms`, on a thread of its own. `resume` names the folder
    of an earlier run: its journal is recovered and continued, the state rebuilt from its newest snapshot and the
    records after it, or from the first record without `use_snapshots`; `cut_damaged_tail` is the operator's word that
    what follows damage at the journal's end may go (it is kept beside the segment). Raises ConfigError, VenueError, or
    ValueError with the engine's own words.
    """
    cores = resolve_cores(cfg.engine, os.sched_getaffinity(0), isolated_cpus())
    with venue_addresses(cfg, helper_cores(cores)) as addresses:
        return host(cfg, addresses, for_ns=for_ns, on_tick=on_tick, resume=resume, use_snapshots=use_snapshots,
                    cut_damaged_tail=cut_damaged_tail)


def host(cfg: Config, addresses: dict[str, Any], *, for_ns: int | None = None, on_tick: OnTick | None = None,
         folder: Path | None = None, resume: Path | None = None, use_snapshots: bool = True, cut_damaged_tail: bool = False,
         before_run: Callable[[Run], None] | None = None, supervised: bool = False, recovers: bool = False) -> RunResult:
    """What `run_live` does once its venue is there; `addresses` as run/addresses.py gives them.

    `folder` is the run's own, made here when there is none. `before_run` is called with the engine made and nothing
    consumed yet. `supervised`: somebody else gives the heartbeat, and its silence is to be noticed. `recovers`: the run of
    `resume` was never over, so its own day counts, whatever day the clock says. Raises as `run_live`.
    """
    allowed = os.sched_getaffinity(0)
    engine, sharing = share_threads(cfg.engine, allowed)
    cfg = cfg.model_copy(update={"engine": engine})
    cores = resolve_cores(cfg.engine, allowed, isolated_cpus())
    helpers = helper_cores(cores)
    facts = machine.describe()  # before this process keeps itself off the hot core
    with _signals_blocked():
        run = _make(cfg, cores, addresses, for_ns, resume, use_snapshots, cut_damaged_tail, folder=folder, recovers=recovers,
                    supervisor_timeout_ms=cfg.supervise.lost_after_ms if supervised else cfg.engine.supervisor_timeout_ms)
        if helpers:
            _move_threads(helpers)  # threads started from here on inherit it; the engine pins itself
        watcher = Watcher(cfg, on_tick, None if supervised else run.engine.supervisor_beat, run.folder)
        run.account_breaker = watcher.breaker
        if before_run:
            before_run(run)
        watcher.start()
        try:
            summary = run.engine.run()
        finally:
            watcher.stop()
        result = live_result(cfg, run.folder, run.policies, summary, facts, watcher.notes, len(allowed))
        result.placement = "; ".join(text for text in (run.placement, sharing) if text)
        apply_safety(result, run.folder, summary, watcher.trips)
        if cfg.report.histograms:
            try:
                _write_histograms(run)
            except OSError as err:  # the disk that is full for the journal is full for these too
                result.warnings.append(f"histograms: {err}")
    return result


class Run:
    """What one run owns: the compiled engine, its folder, its policies."""

    def __init__(self, engine: Any, folder: Path, policies: list[plan.LoadedPolicy], signal_fn: Any, placement: str) -> None:
        self.engine = engine
        self.folder = folder
        self.policies = policies
        self.placement = placement  # what `auto` came to, in words
        self.signal_fn = signal_fn  # keeps compiled code alive
        self.account_breaker: AccountBreaker | None = None  # where there are several shards


def make(cfg: Config, cores: dict[str, int | None], addresses: dict[str, Any], *, signal_address: int = 0) -> Run:
    """An engine ready to run against a venue that is already there; `addresses` as run/addresses.py gives them."""
    return _make(cfg, cores, addresses, None, None, signal_address=signal_address,
                 supervisor_timeout_ms=cfg.engine.supervisor_timeout_ms)


def _make(cfg: Config, cores: dict[str, int | None], addresses: dict[str, Any], for_ns: int | None,
          resume: Path | None, use_snapshots: bool = True, cut_damaged_tail: bool = False, signal_address: int = 0,
          folder: Path | None = None, supervisor_timeout_ms: int = 0, recovers: bool = False) -> Run:
    day = plan.today()
    n = cfg.engine.shards
    placement = ""
    if resume is None:
        policies = plan.load_policies(cfg)
        cfg, placement = device.place(cfg, policies)
        device.open_or_say(cfg)
        folder = folder or new_run_folder(Path(cfg.journal.dir), cfg.name)
    else:
        folder = resume.resolve()  # `latest` may come to mean another run
        check_shards(cfg, folder)
        if not recovers:
            check_day(folder, day)
    signal_fn = load_signal(cfg.policies.signal) if cfg.policies.signal else None
    recovery = {"use_snapshots": use_snapshots, "cut_damaged_tail": cut_damaged_tail}
    shards = []
    clock = read_clock().to_json() if resume is None else None
    for shard in range(n):
        own = folder_of(folder, n, shard)
        if resume is None:
            own.mkdir(exist_ok=True)
            spec = plan.shard_spec(cfg, midnight_ns=plan.session_midnight_ns(day), shard=shard)
            spec["user_signal"] |= signal_address != 0
            header, quorum = plan.journal_header(cfg, spec, policies, day, shard=shard, clock=clock), cfg.policies.quorum_q8
        else:
            from orchestrator.run.journals import read_header, require_semantics

            parsed, header = read_header(own)
            require_semantics(parsed, own)
            spec, quorum = parsed.config["shard"], parsed.config["quorum"]
            policies = plan.policies_of_header(parsed)
            check_resumable(cfg, spec, shard)
        shards.append({
            "shard": spec, "policies": [p.spec for p in policies], "quorum": quorum,
            "journal": {**_journal_spec(cfg, cores, own, shard, header), **recovery}, **addresses["sessions"][shard],
            **({"device": device.spec(cfg)} if spec.get("device") else {}),
        })  # fmt: skip
    try:
        address = signal_fn.address if signal_fn else signal_address
        # A run that goes on is wanted back at once: the noise floor is measured at the first start only.
        noise_ns = NOISE_NS if resume is None else 0
        engine = _live_run(cfg, cores, addresses, for_ns, shards, address, noise_ns, supervisor_timeout_ms)
    except ValueError as err:
        if resume is None:
            raise
        from orchestrator.run.journals import JournalUnreadable

        damaged = any(word in str(err) for word in ("damage, not a torn end", "bad-crc", "bad-length", "torn"))
        hint = "peregrine verify says whether it is whole"
        if damaged:
            hint = "if a power cut did this, --cut-damaged-tail cuts the last file there and keeps what is cut"
        raise JournalUnreadable(f"{folder}: {err}", hint=hint) from err
    return Run(engine, folder, policies, signal_fn, placement)


def _journal_spec(cfg: Config, cores: dict[str, int | None], folder: Path, shard: int, header: bytes) -> dict[str, Any]:
    return {
        "dir": str(folder),
        "ring_name": f"{cfg.engine.name}-{os.getpid()}" + (f"-{shard:02}" if cfg.engine.shards > 1 else ""),
        "ring_bytes": cfg.journal.ring_mb << 20,
        "segment_bytes": cfg.journal.segment_mb << 20,
        "sync": cfg.journal.sync,
        "sync_interval_ns": cfg.journal.sync_interval_ms * 1_000_000,
        "header": header,
        "snapshot_every_records": cfg.journal.snapshot_records,
        "snapshots_kept": cfg.journal.snapshots_kept,
        "snapshot_cpu": _cpu(cores["journal"]),
    }


def _live_run(cfg: Config, cores: dict[str, int | None], addresses: dict[str, Any], for_ns: int | None,
              shards: list[dict[str, Any]], signal_address: int, noise_ns: int, supervisor_timeout_ms: int) -> Any:
    from hotpath import _core

    return _core.LiveRun(
        shards=shards,
        live={**_live_spec(cfg, cores, addresses, for_ns), "noise_ns": noise_ns,
              "supervisor_timeout_ns": supervisor_timeout_ms * 1_000_000},
        segment_name=cfg.engine.name,
        units_per_currency=cfg.account.units_per_currency,
        signal_address=signal_address,
        stage=_stage,
    )


def _stage(slot: int, data: bytes) -> dict[str, Any]:
    return plan.bank_spec(slot, data)


def _live_spec(cfg: Config, cores: dict[str, int | None], addresses: dict[str, Any], for_ns: int | None) -> dict[str, Any]:
    feed, session, engine = cfg.feed, cfg.execution.session, cfg.engine
    return {
        **{name: value for name, value in addresses.items() if name != "sessions"},
        "topology": engine.topology,
        "shards_per_thread": engine.shards_per_thread or 1,
        "feed_ring_bytes": engine.feed_ring_kb << 10,
        # What waited longer for its shard is older than anything an order may rest on.
        "max_lag_ns": max(i.max_quote_age_ns for i in [cfg.risk, *cfg.risk.by_symbol.values()]),
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
        "engine_cpus": [_cpu(core) for name, core in cores.items() if name.startswith("engine")],
        "feed_cpu": _cpu(cores.get("feed")),
        "session_cpu": _cpu(cores.get("session")),
        "refuse_bad_placement": engine.refuse_shared_cores,
        "mlock": engine.mlock,
        "stage_sample": engine.stage_sample,
        "stall_ns": engine.stall_ms * 1_000_000,
        "run_for_ns": for_ns or 0,
    }


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


def helper_cores(cores: dict[str, int | None]) -> set[int] | None:
    """The cores this process may use beside the hot threads'; None where that would leave none, or nothing is pinned."""
    hot = {core for name, core in cores.items() if name not in COOL_THREADS and core is not None}
    rest = os.sched_getaffinity(0) - hot
    return rest if hot and rest else None


def _cpu(core: int | None) -> int:
    return plan.NO_CPU if core is None else core


def _write_histograms(run: Run) -> None:
    folder = run.folder / "histograms"
    folder.mkdir(exist_ok=True)
    for name in ("tick_to_order", "send", "order_to_ack", "noise"):
        (folder / f"{name}.hgrm").write_text(run.engine.hgrm(name, 1.0))


__all__ = ["VenueError", "new_run_folder", "run_live"]
