"""Runs in virtual time: the engine against the exchange in one process, over generated or recorded flow."""

from __future__ import annotations

import datetime as dt
import os
import time
from itertools import count
from pathlib import Path
from typing import Any

from orchestrator.config import config_hash
from orchestrator.config.models import Config, ConstantLatency, EmbeddedVenue, Latency, RecordedLatency
from orchestrator.config.problems import ConfigError, Problem
from orchestrator.observe import machine
from orchestrator.observe.result import RunResult
from orchestrator.run import device, plan
from orchestrator.run.live import new_run_folder
from orchestrator.run.results import apply_device, apply_summary
from orchestrator.run.signals import load_signal

#: Virtual runs of generated flow take place on this day, from 09:30, so that the same seed gives the same journal.
VIRTUAL_DAY = dt.date(2026, 1, 5)
OPEN_NS = (9 * 3600 + 30 * 60) * 1_000_000_000
REFERENCE_TICKS = 1_000_000
DEFAULT_FOR_NS = 60_000_000_000
WHOLE_DAY_NS = 24 * 3600 * 1_000_000_000
_runs = count()


def run_virtual(cfg: Config, *, for_ns: int | None, journal: bool = True, device_faults: dict[str, Any] | None = None) -> RunResult:
    """Trade `for_ns` of virtual time against the exchange's own flow. Raises ConfigError or ValueError.

    `device_faults` (`orchestrator.run.device.fault_plan`) puts a device that fails on purpose in front of the configured one.
    """
    if not isinstance(cfg.venue, EmbeddedVenue):
        raise ConfigError([Problem("venue.kind", cfg.venue.kind, "embedded", "virtual time brings its own exchange")])
    if cfg.engine.shards > 1:
        raise ConfigError([Problem("engine.shards", str(cfg.engine.shards), "1", "virtual time runs one shard: its steps are those of any")])
    if cfg.venue.flow_file:
        return replay_itch(Path(cfg.venue.flow_file), cfg, journal=journal)
    midnight = plan.session_midnight_ns(VIRTUAL_DAY)
    virtual = virtual_spec(cfg, midnight_ns=midnight, start_ns=midnight + OPEN_NS, duration_ns=for_ns or DEFAULT_FOR_NS)
    return _run(cfg, virtual, b"", VIRTUAL_DAY, journal=journal, mode="virtual", faults=device_faults)


def replay_itch(path: Path, cfg: Config, *, journal: bool = True) -> RunResult:
    """Backtest over a recorded ITCH file (plain, .gz, .zst): its orders drive the exchange, ours queue in it.

    The file's first symbol that has orders is traded as the configuration's first instrument. Raises ConfigError or
    ValueError when the file is no ITCH file.
    """
    from hotpath.market import files

    data = files.read_bytes(path)
    symbol, locate, first_ts_ns = first_traded(data, str(path))
    midnight = plan.session_midnight_ns(VIRTUAL_DAY)
    cfg = cfg.model_copy(update={"instruments": [cfg.instruments[0].model_copy(update={"symbol": symbol})]})
    virtual = virtual_spec(cfg, midnight_ns=midnight, start_ns=midnight + first_ts_ns, duration_ns=WHOLE_DAY_NS)
    virtual.update(recorded=True, source_locate=locate)
    result = _run(cfg, virtual, data, VIRTUAL_DAY, journal=journal, mode="replay")
    result.seed = None
    return result


def first_traded(data: bytes, where: str = "file") -> tuple[str, int, int]:
    """(symbol, locate, nanoseconds since midnight) of the first order in ITCH blocks (u16 length + message).

    Raises ValueError when there is none.
    """
    at = 0
    while at + 2 <= len(data):
        n = int.from_bytes(data[at : at + 2], "big")
        message = data[at + 2 : at + 2 + n]
        if len(message) >= 36 and message[0:1] in (b"A", b"F"):
            symbol = message[24:32].decode("ascii", "replace").rstrip()
            return symbol, int.from_bytes(message[1:3], "big"), int.from_bytes(message[5:11], "big")
        at += 2 + n
    raise ValueError(f"{where}: no order in it: not an ITCH 5.0 file of length-prefixed messages, or one without orders")


def virtual_spec(cfg: Config, *, midnight_ns: int, start_ns: int, duration_ns: int, seed: int | None = None) -> dict[str, Any]:
    """What the virtual exchange is made from."""
    venue = cfg.venue
    assert isinstance(venue, EmbeddedVenue)
    return {
        "symbols": [
            {
                "symbol": i.symbol,
                "increment_ticks": i.increment_ticks,
                "round_lot_lots": i.round_lot_lots,
                "reference_ticks": REFERENCE_TICKS,
            }
            for i in cfg.instruments
        ],
        "username": venue.username,
        "firm": "DEM1",
        "midnight_ns": midnight_ns,
        "taker_fee": cfg.account.taker_fee_units_per_lot,
        "maker_fee": cfg.account.maker_fee_units_per_lot,
        "max_orders": cfg.engine.max_orders,
        "seed": venue.seed if seed is None else seed,
        "rate_per_s": venue.rate_per_s,
        "feed_latency": _latency(cfg.virtual.feed_latency),
        "order_latency": _latency(cfg.virtual.order_latency),
        "answer_latency": _latency(cfg.virtual.answer_latency),
        "latency_seed": (venue.seed if seed is None else seed) + 1,
        "start_ns": start_ns,
        "duration_ns": duration_ns,
        "recorded": False,
        "source_locate": 0,
        "speed_percent": 100,
    }


def _latency(model: Latency) -> dict[str, Any]:
    if isinstance(model, RecordedLatency):
        path = Path(model.file)
        samples = [int(line) for line in path.read_text().split()]
        return {"kind": "recorded", "samples_ns": samples}
    if isinstance(model, ConstantLatency):
        return {"kind": "constant", "latency_ns": model.latency_ns}
    return {"kind": "uniform", "low_ns": model.low_ns, "high_ns": model.high_ns}


def _run(cfg: Config, virtual: dict[str, Any], recording: bytes, day: dt.date, *, journal: bool, mode: str,
         faults: dict[str, Any] | None = None) -> RunResult:
    from hotpath import _venue

    policies = plan.load_policies(cfg)
    cfg, placement = device.place(cfg, policies)
    device.open_or_say(cfg)
    spec = plan.shard_spec(cfg, midnight_ns=virtual["midnight_ns"])
    signal_fn = load_signal(cfg.policies.signal) if cfg.policies.signal else None
    folder: Path | None = None
    journal_spec = None
    if journal:
        folder = new_run_folder(Path(cfg.journal.dir), cfg.name)
        journal_spec = {
            "dir": str(folder),
            # the folder's name is a second's: runs begun in the same one, into other folders, have it too
            "ring_name": f"{cfg.engine.name}-virtual-{os.getpid()}-{next(_runs)}",
            "ring_bytes": cfg.journal.ring_mb << 20,
            "segment_bytes": cfg.journal.segment_mb << 20,
            "now_ns": virtual["start_ns"],
            "header": plan.journal_header(cfg, spec, policies, day),
        }
    began = time.perf_counter_ns()
    engine = _venue.VirtualEngine(
        shard=spec, policies=[p.spec for p in policies], quorum=cfg.policies.quorum_q8, virtual=virtual,
        recording=recording, journal=journal_spec, signal_address=signal_fn.address if signal_fn else 0,
        device=device.virtual_spec(cfg, faults) if spec.get("device") else None,
    )  # fmt: skip
    while engine.run(1_000_000_000):
        pass
    summary = engine.finish()
    took_ns = time.perf_counter_ns() - began
    result = RunResult(
        mode=mode,
        config_name=cfg.name,
        config_sha256=config_hash(cfg),
        seed=virtual["seed"],
        duration_ns=summary["now_ns"] - virtual["start_ns"],
        currency=cfg.account.currency,
        units_per_currency=cfg.account.units_per_currency,
        journal=str(folder) if folder else "",
        machine=machine.describe(),
    )
    apply_summary(result, summary, policies)
    apply_device(result, [summary])
    result.placement = placement
    result.stopped_by = "feed end" if mode == "replay" and result.stopped_by == "time" else result.stopped_by
    result.final_book = engine.book(10) if mode == "replay" else None
    result.journal_records = summary["inputs"]
    result.machine["virtual_wall_ns"] = took_ns
    if summary["journal_failed"]:
        result.warnings.append("the journal refused a record: the run stopped there")
    return result
