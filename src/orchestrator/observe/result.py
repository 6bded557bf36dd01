"""What a run came to: the one object behind the report, `--json` and the tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

LATENCY_KEYS = ("p50", "p90", "p99", "p99_9", "max", "count")


@dataclass
class SymbolResult:
    """One symbol at the end of a run. Ticks, lots and money units are the instrument's and the account's."""

    position_lots: int = 0
    pnl_units: int = 0
    bought_lots: int = 0
    sold_lots: int = 0
    fills: int = 0
    last_ticks: int = 0


@dataclass
class RunResult:
    """Counts, money and latencies of a run, live or virtual.

    Latencies are dicts with LATENCY_KEYS in nanoseconds; `stages_ns` maps a stage's name to such a dict and keeps
    the stages' order. `pnl_units` is realised and marked profit after fees. `noise_ns` is what a bare spinning
    thread saw of the machine in the same run. `journal` is the run's folder, "" when none was written.
    """

    mode: str = "live"  # live, virtual, replay
    config_name: str = ""
    config_sha256: str = ""
    seed: int | None = None
    duration_ns: int = 0
    stopped_by: str = "time"  # time, signal, kill, breaker, journal, feed end, error
    events: int = 0
    decisions: int = 0
    orders: int = 0
    cancels: int = 0
    fills: int = 0
    filled_lots: int = 0
    rejects: int = 0
    risk_rejects: int = 0
    risk_reasons: dict[str, int] = field(default_factory=dict)
    symbols: dict[str, SymbolResult] = field(default_factory=dict)
    pnl_units: int = 0
    fees_units: int = 0
    currency: str = "USD"
    units_per_currency: int = 10_000
    gaps: int = 0
    stale_ns: int = 0
    reconnects: int = 0
    unknown_orders: int = 0
    working_orders: int = 0  # at the venue when the run ended
    tick_to_order_ns: dict[str, int] = field(default_factory=dict)
    stages_ns: dict[str, dict[str, int]] = field(default_factory=dict)
    noise_ns: dict[str, int] = field(default_factory=dict)
    policies: list[dict[str, Any]] = field(default_factory=list)
    journal: str = ""
    journal_records: int = 0
    snapshots: int = 0
    recovery: dict[str, int] | None = None  # of a resumed run: snapshot_seq (0 = none used), replayed_inputs, ns
    order_hash: str = ""
    state_hash: str = ""
    topology: str = ""
    shards: list[dict[str, Any]] = field(default_factory=list)  # a row a shard where there are several
    queues: list[dict[str, Any]] = field(default_factory=list)
    device: dict[str, Any] | None = None  # where decisions were placed on one: what it answered, and what the kernels made up for
    breakers: list[dict[str, Any]] = field(default_factory=list)  # trips in order, as control.breakers tells them
    kills: list[dict[str, Any]] = field(default_factory=list)  # as control.kills tells them, with what stayed open
    recoveries: int = 0  # times the engine died and was recovered, by the supervisor of this run
    recovered_ns: int = 0  # the last of them, from death seen to trading again
    placement: str = ""  # what `placement: auto` came to, in words
    final_book: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def position_lots(self) -> int:
        """Net position over all symbols."""
        return sum(s.position_lots for s in self.symbols.values())

    def money(self, units: int) -> Decimal:
        """Money units as an exact amount of the account's currency."""
        return Decimal(units) / Decimal(self.units_per_currency)

    def to_json(self) -> dict[str, Any]:
        """The object `run --json` prints. `pnl` is in the currency, `*_units` are the exact integers."""
        out: dict[str, Any] = {
            "events": self.events,
            "orders": self.orders,
            "fills": self.fills,
            "rejects": self.rejects,
            "risk_rejects": self.risk_rejects,
            "position": self.position_lots,
            "pnl": float(self.money(self.pnl_units)),
            "gaps": self.gaps,
            "stale_ns": self.stale_ns,
            "tick_to_order_ns": latency(self.tick_to_order_ns),
            "stages_ns": {name: latency(values) for name, values in self.stages_ns.items()},
            "journal": self.journal,
            "machine": self.machine,
            "mode": self.mode,
            "config": {"name": self.config_name, "sha256": self.config_sha256},
            "seed": self.seed,
            "duration_ns": self.duration_ns,
            "stopped_by": self.stopped_by,
            "decisions": self.decisions,
            "cancels": self.cancels,
            "filled_lots": self.filled_lots,
            "risk_reasons": dict(self.risk_reasons),
            "symbols": {name: vars(s) for name, s in self.symbols.items()},
            "pnl_units": self.pnl_units,
            "fees_units": self.fees_units,
            "currency": self.currency,
            "units_per_currency": self.units_per_currency,
            "reconnects": self.reconnects,
            "unknown_orders": self.unknown_orders,
            "noise_ns": latency(self.noise_ns),
            "policies": self.policies,
            "journal_records": self.journal_records,
            "snapshots": self.snapshots,
            "recovery": self.recovery,
            "order_hash": self.order_hash,
            "state_hash": self.state_hash,
            "warnings": list(self.warnings),
        }
        if self.topology:
            out["topology"] = self.topology
            out["queues"] = self.queues
        if self.shards:
            out["shards"] = self.shards
        if self.breakers:
            out["breakers"] = self.breakers
        if self.kills:
            out["kills"] = self.kills
        if self.recoveries:
            out["recoveries"], out["recovered_ns"] = self.recoveries, self.recovered_ns
        if self.placement:
            out["placement"] = self.placement
        if self.device is not None:
            out["device"] = self.device
        if self.final_book is not None:
            out["final_book"] = self.final_book
        return out


def latency(values: dict[str, int]) -> dict[str, int]:
    """The latency keys in their order, 0 for what was not measured."""
    return {key: int(values.get(key, 0)) for key in LATENCY_KEYS}
