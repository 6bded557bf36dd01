"""One look at a running engine, as the screen needs it: plain values, from shared memory or from a remote answer alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orchestrator.observe.segment import Status
from orchestrator.observe.telemetry import HistogramView, Snapshot, bucket_high

#: use of a limit: counter of the use → (its limit's counter, what a person calls it, unit: u money units, n a count)
ACCOUNT_LIMITS: dict[str, tuple[str, str, str]] = {
    "gross_units": ("limit_gross_units", "gross exposure", "u"),
    "credit_units": ("limit_credit_units", "credit", "u"),
    "loss_units": ("limit_loss_units", "loss", "u"),
    "drawdown_units": ("limit_drawdown_units", "drawdown", "u"),
    "account_orders": ("limit_account_orders", "orders", "n"),
    "account_units": ("limit_account_units", "orders' value", "u"),
    "window_messages": ("limit_messages", "messages", "n"),
}
SOFT_PERMILLE = 800


@dataclass(frozen=True)
class SymbolRow:
    """One instrument. `shard` is -1 where the source does not tell."""

    symbol: str
    shard: int
    bid_ticks: int
    ask_ticks: int
    last_ticks: int
    position_lots: int
    pnl_units: int
    working_lots: int
    state: int  # as in telemetry: 0 stale, 1 trading, 2 halted, 3 stopped by us


@dataclass(frozen=True)
class Use:
    """How much of a limit is used. `unit`: u money units, n a count, l lots."""

    name: str
    used: int
    limit: int
    unit: str

    @property
    def permille(self) -> int:
        """Use in thousandths of the limit; of a limit of 0, all of it once anything is used."""
        if self.limit > 0:
            return max(0, self.used) * 1000 // self.limit
        return 1000 if self.used > 0 else 0


@dataclass(frozen=True)
class CommandRow:
    """A command as it happened: where it stands and what became of it. `who` and `why` are "" where the source cannot know."""

    shard: int
    seq: int
    ts_ns: int
    kind: str
    outcome: str
    who: str = ""
    why: str = ""


@dataclass(frozen=True)
class ScreenReading:
    """One reading. Times are nanoseconds since the epoch, money in units."""

    name: str
    pid: int
    alive: bool
    kill_level: int
    taken_ns: int
    counters: Mapping[str, int]
    shards: list[Mapping[str, int]]
    symbols: list[SymbolRow]
    latency: Mapping[str, Mapping[str, int]]
    shard_latency: list[Mapping[str, int]] = field(default_factory=list)  # of each shard: 99th percentile of lag and round, ns
    octaves: Mapping[str, list[int]] = field(default_factory=dict)  # stage → count by power of two of its nanoseconds
    limits: list[Use] = field(default_factory=list)
    soft_permille: int = SOFT_PERMILLE
    commands: list[CommandRow] = field(default_factory=list)
    tree: str = ""  # state of the process tree in a line, "" where no supervisor tells
    units_per_currency: int = 10_000

    def __getitem__(self, name: str) -> int:
        return self.counters.get(name, 0)


def of_snapshot(status: Status, snapshot: Snapshot, taken_ns: int, commands: list[CommandRow], tree: str = "") -> ScreenReading:
    """A reading out of shared memory."""
    parts: list[Snapshot] = snapshot.extra.get("shards") or [snapshot]  # type: ignore[assignment]
    symbols = [_row(row, shard) for shard, part in enumerate(parts) for row in part.instruments]
    return ScreenReading(
        name=status.name, pid=status.pid, alive=status.alive, kill_level=status.kill_level, taken_ns=taken_ns,
        counters=snapshot.counters, shards=[part.counters for part in parts], symbols=symbols,
        latency={name: h.summary() for name, h in snapshot.histograms.items()}, shard_latency=[of_shard(part) for part in parts],
        octaves={name: octaves_of(h) for name, h in snapshot.histograms.items()},
        limits=_limits(snapshot.counters, symbols, _rows_of(snapshot.limits)),
        soft_permille=snapshot.counters.get("soft_permille") or SOFT_PERMILLE, commands=commands, tree=tree,
        units_per_currency=snapshot.units_per_currency,
    )  # fmt: skip


def of_json(answer: Mapping[str, Any], taken_ns: int, commands: list[CommandRow], tree: str = "") -> ScreenReading:
    """A reading out of what `top --json` prints and the control API's `status` answers under `engine`."""
    engine, counters = answer["engine"], answer["counters"]
    shards = answer.get("shards") or [counters]
    alone = 0 if len(shards) == 1 else -1
    fields = ("bid_ticks", "ask_ticks", "last_ticks", "position_lots", "pnl_units", "working_lots", "state")
    symbols = [SymbolRow(row["symbol"], row.get("shard", alone), *(row[name] for name in fields)) for row in answer["instruments"]]
    return ScreenReading(
        name=engine["name"], pid=engine["pid"], alive=engine["alive"], kill_level=engine["kill_level"], taken_ns=taken_ns,
        counters=counters, shards=shards, symbols=symbols, latency=answer["latency_ns"],
        shard_latency=answer.get("shard_latency_ns", []), octaves=answer.get("octaves", {}),
        limits=_limits(counters, symbols, answer.get("limits") or []),
        soft_permille=counters.get("soft_permille") or SOFT_PERMILLE, commands=commands, tree=tree,
        units_per_currency=answer.get("units_per_currency", 10_000),
    )  # fmt: skip


def of_shard(part: Snapshot) -> dict[str, int]:
    """99th percentiles of what tells how well a shard is served, nanoseconds."""
    return {name: part.histograms[name].percentile(99.0) for name in ("lag", "round") if name in part.histograms}


def octaves_of(h: HistogramView) -> list[int]:
    """Counts by power of two: entry k counts values with a highest bit k (entry 0: 0 and 1)."""
    out = [0] * 42
    used = np.nonzero(h.counts)[0]
    for bucket in used.tolist():
        out[min(41, max(0, bucket_high(bucket, h.sub_bits).bit_length() - 1))] += int(h.counts[bucket])
    return out


def _row(row: Any, shard: int) -> SymbolRow:
    names = ("bid_ticks", "ask_ticks", "last_ticks", "position_lots", "pnl_units", "working_lots", "state")
    return SymbolRow(row["symbol"].decode("ascii", "replace").strip(), shard, *(int(row[name]) for name in names))


def _rows_of(table: np.ndarray) -> list[dict[str, int]]:
    return [{name: int(row[name]) for name in table.dtype.names or ()} for row in table]


def _limits(counters: Mapping[str, int], symbols: list[SymbolRow], rows: list[dict[str, int]]) -> list[Use]:
    """The account's limits, then the longest and shortest position of each symbol against its own, the fullest first."""
    out = [Use(name, counters[used], counters[limit], unit) for used, (limit, name, unit) in ACCOUNT_LIMITS.items()
           if used in counters and limit in counters]  # fmt: skip
    positions = []
    for symbol, row in zip(symbols, rows, strict=False):
        for side in ("long", "short"):
            positions.append(Use(f"{symbol.symbol} {side}", row[f"worst_{side}_lots"], row[f"limit_{side}_lots"], "l"))
    return out + sorted((p for p in positions if p.used > 0), key=lambda p: -p.permille)
