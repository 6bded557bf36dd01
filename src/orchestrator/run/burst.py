"""`peregrine bench --burst`: what an engine does with ten times the rate and ten times the symbols.

Each load runs over loopback against the simulated exchange in this process, in each topology. What is asked: did
anything get lost (every journal replayed, every book compared with the exchange's own), how full did each queue get,
and which of the written rules for a full queue was seen acting. The rules stand in docs/concepts/topologies.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.config import load_profile
from orchestrator.config.models import Config
from orchestrator.observe import machine
from orchestrator.observe.segment import KILL_LEVELS, Segment, SegmentError
from orchestrator.observe.shards import read_engine, shards_of
from orchestrator.observe.telemetry import Snapshot, TelemetryError

PATIENCE_S = 120.0
LOOKS = 40  # at telemetry's ten milliseconds and this tool's twenty: about a second
#: what happens when a queue is full; the words of docs/concepts/topologies.md
RULES = {
    "line A socket": "the kernel drops: the gap is re-requested, else a snapshot",
    "line B socket": "the kernel drops: the gap is re-requested, else a snapshot",
    "feed window": "messages past a hole are dropped and asked for again",
    "snapshot reads held": "the snapshot waits in TCP while a shard has no room",
    "feed to shard": "that shard alone: stale at once, then rebuilt by snapshot",
    "held while rebuilding": "the rebuild begins again",
    "shard to session": "the bytes wait in the wire buffer",
    "wire buffer": "no new orders until it is sent; cancels have the room",
    "session to shard": "the venue's answers wait in TCP",
    "session reads held": "the venue's answers wait in TCP",
    "session backlog": "the connection is dropped: its fence settles the orders",
    "journal ring": "no new orders, cancel, say so",
}


@dataclass(frozen=True)
class Load:
    """One load: how many symbols the exchange lists and the engine trades, how fast, in which topologies."""

    name: str
    listed: int
    traded: int
    rate_per_s: int  # a symbol
    burst: int = 1  # times the rate, a tenth of a second in each half
    orders_per_symbol: int = 60
    slow: bool = False  # a user's signal that sleeps, and the smallest ring
    topologies: tuple[tuple[str, int, int | None], ...] = (("inline", 1, None), ("inline", 4, None), ("pipelined", 1, None), ("pipelined", 4, 2))
    seconds: float = 4.0


ONE = (("inline", 1, None), ("pipelined", 4, 2))
LOADS = (
    Load("normal", 8, 8, 250),
    Load("bursts of 10x", 8, 8, 250, burst=10),
    Load("10x symbols", 80, 80, 250),
    Load("10x symbols, bursts of 10x", 80, 80, 100, burst=10),
    Load("feed of 8,000, 8 traded", 8000, 8, 1, orders_per_symbol=6, topologies=ONE),
    Load("all 8,000 booked", 8000, 8000, 1, orders_per_symbol=6, topologies=ONE),
    Load("400 in shards of 50", 400, 400, 20, orders_per_symbol=24, topologies=(("inline", 8, None), ("pipelined", 8, None), ("pipelined", 8, 4))),
    Load("a shard that stalls", 8, 8, 4000, slow=True, topologies=(("pipelined", 4, None),)),
)


@dataclass
class Outcome:
    """What one load came to in one topology."""

    load: str
    topology: str
    shards: int
    messages: int = 0
    peak_per_s: int = 0
    delivered: int = 0
    of_no_shard: int = 0
    gaps: int = 0
    kernel_drops: int = 0
    overruns: int = 0
    rebuilt: int = 0
    orders: int = 0
    fills: int = 0
    tick_to_order_ns: dict[str, int] = field(default_factory=dict)
    identical: bool = False
    books_equal: bool = False
    books: int = 0
    position_equal: bool = False
    queues: list[dict[str, Any]] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing lost, nothing different."""
        return self.identical and self.books_equal and self.position_equal


def bench_burst(*, quick: bool = False, only: list[str] | None = None, on_result: Callable[[Outcome], None] | None = None) -> dict[str, Any]:
    """Every load in its topologies; a report with `results`, `queues` and `ok`. `only` keeps loads whose name contains one of it."""
    outcomes = []
    for load in LOADS:
        if only and not any(word in load.name for word in only):
            continue
        for topology, shards, per_thread in load.topologies:
            outcomes.append(run_load(load, topology, shards, per_thread, seconds=load.seconds / (4 if quick else 1)))
            if on_result is not None:
                on_result(outcomes[-1])
    return {
        "ok": all(o.good for o in outcomes),
        "results": [{k: v for k, v in vars(o).items() if k != "queues"} for o in outcomes],
        "queues": queue_table(outcomes),
        "machine": machine.describe(),
    }


def queue_table(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """A row a queue: its capacity, how full it has been at most, how often it was full, the rule, whether it was seen."""
    rows: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        for q in outcome.queues:
            row = rows.setdefault(q["name"], {"queue": q["name"], "unit": q["unit"], "capacity": 0, "high_water": 0, "times_full": 0})
            row["capacity"] = max(row["capacity"], q["capacity"])
            row["high_water"] = max(row["high_water"], q["high_water"])
            row["times_full"] += q["times_full"]
    for row in rows.values():
        row["rule"] = RULES.get(row["queue"], "")
        row["seen"] = row["times_full"] > 0
    return list(rows.values())


def run_load(load: Load, topology: str, shards: int, per_thread: int | None, *, seconds: float, least_messages: int = 0) -> Outcome:
    """One load in one topology, from an empty exchange to a compared end: for so many seconds, and as long as the machine takes
    to come to `least_messages` of the feed and, where those are asked for, to an order."""
    from hotpath import _venue
    from orchestrator.cli.venue import shard_accounts, venue_config

    out = Outcome(load.name, topology, shards)
    names = [f"X{i:04}" for i in range(1, load.listed)]
    with tempfile.TemporaryDirectory(prefix="peregrine-burst-") as folder, contextlib.ExitStack() as stack:
        cfg = _config(load, topology, shards, per_thread, Path(folder), ["PRGN", *names][: load.traded])
        server = _venue.VenueServer(venue_config(
            seed=7, symbols="PRGN", extra_symbols=load.listed - 1, rate=load.rate_per_s, shards=shards,
            orders_per_symbol=load.orders_per_symbol, cancel_on_disconnect=True,
        ))  # fmt: skip
        server.start()
        stack.callback(server.stop)
        server.pause_flow(True)
        sessions = [{"ouch": server.ouch, "username": a["user"], "password": a["password"]} for a in shard_accounts("DEMO01", shards)]
        addresses = {
            "itch_a": server.itch_a, "itch_b": server.itch_b, "retransmit": server.retransmit, "glimpse": server.glimpse,
            "interface": "127.0.0.1", "username": sessions[0]["username"], "password": sessions[0]["password"], "sessions": sessions,
        }  # fmt: skip
        stall = _stall() if load.slow else 0
        engine, run_folder = _engine(cfg, addresses, stall)
        summary = _trade(engine, server, cfg, load, seconds, least_messages, out)
        _judge(engine, server, cfg, summary, run_folder, out)
    return out


def _config(load: Load, topology: str, shards: int, per_thread: int | None, folder: Path, symbols: list[str]) -> Config:
    wide = 2 * 10**12
    return load_profile("laptop", {
        "instruments": [{"symbol": s} for s in symbols],
        "engine.name": f"burst-{os.getpid()}", "engine.topology": topology, "engine.shards": shards,
        "engine.shards_per_thread": per_thread, "engine.cores": {"engine": None}, "engine.mlock": False, "engine.idle": "sleep",
        "engine.max_orders": max(65_536, 4 * load.traded * load.orders_per_symbol),
        "engine.feed_ring_kb": 512 if load.slow else 4096,
        "policies.decision_interval_ns": 0 if load.slow else 1_000_000,
        "engine.memory_budget_mb": max(512, 128 * shards), "journal.dir": str(folder / "runs"), "journal.sync": "none", "journal.snapshot_records": 0, "report.histograms": False,
        "risk.max_account_orders": 1024, "risk.max_loss_units": wide, "risk.max_drawdown_units": wide, "risk.max_gross_units": wide,
        "risk.max_credit_units": wide, "risk.max_account_notional_units": wide, "risk.max_messages": 4000,
    })  # fmt: skip


def _engine(cfg: Config, addresses: dict[str, Any], stall: int) -> tuple[Any, Path]:
    from orchestrator.run import live

    made = live.make(cfg, {"engine": None, "journal": None}, addresses, signal_address=stall)
    return made.engine, made.folder


_KEPT: list[Any] = []  # compiled callbacks live as long as the process


def _stall() -> int:
    """Address of a user's signal that sleeps 3 ms at each decision."""
    usleep = ctypes.CDLL(None).usleep

    @ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.POINTER(ctypes.c_int32))
    def slow(features: Any, n: int, status: Any) -> int:
        usleep(3000)
        status[0] = 0
        return 0

    _KEPT.append(slow)
    return ctypes.cast(slow, ctypes.c_void_p).value or 0


def _trade(engine: Any, server: Any, cfg: Config, load: Load, seconds: float, least: int, out: Outcome) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: summary.update(engine.run()))
    thread.start()
    try:
        server.pause_flow(False)  # the first packet tells the feed where it stands
        _until(lambda: (s := _read(cfg)) is not None and s["feed_state"] == 2 and s["session_ready"] == 1, "a ready engine")
        began, first = time.monotonic(), server.itch_count()
        def enough() -> bool:
            return least == 0 or (server.itch_count() - first > least and (s := _read(cfg)) is not None and s["orders"] > 0)

        while (passed := time.monotonic() - began) < seconds or (passed < PATIENCE_S and not enough()):
            if load.burst == 1:
                out.peak_per_s = max(out.peak_per_s, _rate(server, 0.5))
                continue
            server.set_flow_rate(load.rate_per_s * load.burst)
            out.peak_per_s = max(out.peak_per_s, _rate(server, 0.1))
            server.set_flow_rate(load.rate_per_s)
            time.sleep(0.4)
        out.messages = server.itch_count() - first
        server.pause_flow(True)
        with Segment(cfg.engine.name, write=True) as segment:
            segment.kill(KILL_LEVELS["cancel"])  # nothing new: what waits in the queues runs through
        _until(lambda: _open_orders(server, cfg) == 0, "every order cancelled")
        _still(cfg)
    finally:
        engine.stop()
        thread.join(PATIENCE_S)
    return summary


def _judge(engine: Any, server: Any, cfg: Config, summary: dict[str, Any], folder: Path, out: Outcome) -> None:
    from orchestrator.run.journals import verify_journal
    from orchestrator.run.shards import user_of

    shards = summary["shards"]
    out.delivered = summary["feed"]["delivered"]
    out.of_no_shard = summary["feed"]["of_no_shard"]
    out.gaps, out.kernel_drops = summary["feed"]["gaps"], summary["feed"]["kernel_drops"]
    out.overruns = sum(s["overruns"] for s in shards)
    out.rebuilt = sum(s["rebuilt"] for s in shards)
    out.orders = sum(s["orders"] + s["replaces"] for s in shards)
    out.fills = sum(s["fills"] for s in shards)
    out.tick_to_order_ns = dict(summary["latency"]["tick_to_order"])
    out.queues = summary["queues"]
    out.identical = bool(verify_journal(folder)["identical"])
    accounts = [server.summary(user_of("DEMO01", k)) for k in range(out.shards)]
    position = sum(f["position_lots"] for s in shards for f in s["symbols"].values())
    out.position_equal = position == sum(a["bought"] - a["sold"] for a in accounts)
    books = {name: book for k in range(out.shards) for name, book in engine.book(levels=10_000, shard=k).items()}
    out.books = len(books)
    out.books_equal = all(venue_book(server, ix) == _levels(books[i.symbol]) for ix, i in enumerate(cfg.instruments))


def venue_book(server: Any, symbol: int) -> dict[str, list[tuple[int, int, int]]]:
    """The exchange's own displayed book of a symbol: (price, quantity, orders) a level, best first."""
    out = {}
    for side, name in (("B", "bids"), ("S", "asks")):
        levels: dict[int, list[int]] = {}
        for order in server.orders(symbol, side):
            if not order["hidden"]:
                level = levels.setdefault(order["price_ticks"], [0, 0])
                level[0] += order["qty"]
                level[1] += 1
        out[name] = [(price, qty, n) for price, (qty, n) in sorted(levels.items(), reverse=side == "B")]
    return out


def _levels(book: dict[str, Any]) -> dict[str, list[tuple[int, int, int]]]:
    return {side: [(r["price_ticks"], r["qty_lots"], r["orders"]) for r in book[side]] for side in ("bids", "asks")}


def _rate(server: Any, seconds: float) -> int:
    began, before = time.monotonic(), server.itch_count()
    time.sleep(seconds)
    return int((server.itch_count() - before) / (time.monotonic() - began))


def _read(cfg: Config) -> Snapshot | None:
    with contextlib.suppress(SegmentError, TelemetryError), Segment(cfg.engine.name) as segment:
        return read_engine(segment)
    return None


def _open_orders(server: Any, cfg: Config) -> int:
    from orchestrator.run.shards import user_of

    return sum(server.summary(user_of("DEMO01", k))["open_orders"] for k in range(cfg.engine.shards))


def _still(cfg: Config) -> None:
    """Waits until the feed is live on every shard and nothing has been consumed while every shard looked about `LOOKS` times: a
    shard that was not run meanwhile is not quiet."""
    events, seen, looks = -1, [0] * cfg.engine.shards, [0] * cfg.engine.shards
    for _ in _ticks("a quiet engine"):
        snapshot = _read(cfg)
        if snapshot is None:
            continue
        if snapshot["events"] != events or snapshot["feed_state"] != 2:
            events, looks = snapshot["events"], [0] * len(looks)
        now = [s["now_ns"] for s in shards_of(snapshot)]
        looks = [n + (at != before) for n, at, before in zip(looks, now, seen, strict=True)]
        seen = now
        if min(looks) >= LOOKS:
            return


def _until(condition: Callable[[], bool], what: str) -> None:
    for _ in _ticks(what):
        if condition():
            return


def _ticks(what: str) -> Iterator[None]:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        yield
        time.sleep(0.02)
    raise TimeoutError(f"waited {PATIENCE_S:.0f} s for {what}")
