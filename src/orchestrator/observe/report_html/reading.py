"""One pass over one shard's journal: replayed, compared, and what the report shows of it picked up on the way.

What is kept is bounded: curves by the columns of the page, lists by their newest rows. Everything else goes to the tables.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hotpath.execution.wire import decode_soup
from orchestrator.observe.report_html.commands import NO_INSTRUMENT, CommandReader
from orchestrator.observe.report_html.curves import Line, line
from orchestrator.observe.report_html.latency import LatencyOverTime
from orchestrator.observe.report_html.orders import OrderTracker, Row
from orchestrator.observe.report_html.tables import Tables

FEED_STATE, SESSION, SESSION_STATE, COMMAND, CONTROL, SEND_RESULT, RECOVERED, INTENT, DECISION = 18, 19, 20, 21, 23, 26, 27, 64, 65
TYPES = [FEED_STATE, SESSION, SESSION_STATE, COMMAND, CONTROL, SEND_RESULT, RECOVERED, INTENT, DECISION]
_DECISION = struct.Struct("<3QI4B2q")  # journal::DecisionHead
_FEED_STATES = ("down", "recovering", "live", "gapped", "stale", "ended")
_FEED_REASONS = ("start", "gap", "silence", "recovered", "end of session", "snapshot failed", "shard overrun")
_LOST = ("by us", "closed by the venue", "error", "silence", "login timed out")
LIVE = 2


@dataclass
class Kept:
    """How much of each the page keeps."""

    columns: int = 800  # of a curve
    latency_rows: int = 60
    orders: int = 20_000
    risk_events: int = 1_000
    incidents: int = 1_000
    commands: int = 2_000


@dataclass
class ShardReading:
    """What one shard's journal said."""

    shard: int
    folder: Path
    spec: dict[str, Any]
    symbols: list[str]
    raw: dict[str, Any] = field(default_factory=dict)
    account: dict[str, Line] = field(default_factory=dict)
    symbol_lines: dict[str, dict[str, Line]] = field(default_factory=dict)
    changes: list[tuple[int, int, str, int, int]] = field(default_factory=list)
    max_drawdown_units: int = 0
    not_live: list[tuple[int, int]] = field(default_factory=list)  # from, until: nanoseconds
    stops: list[tuple[int, int]] = field(default_factory=list)  # the engine was not running: from, until
    recoveries: list[Row] = field(default_factory=list)
    risk_reasons: dict[str, list[int]] = field(default_factory=dict)  # reason → count, first ns, last ns
    marks: dict[str, dict[tuple[int, str, str], list[tuple[int, int]]]] = field(default_factory=dict)
    open_orders: int = 0

    @property
    def summary(self) -> dict[str, Any]:
        """The compiled engine's own summary after the last record."""
        return self.raw["summary"]


class ShardReader:
    """Reads one shard into a ShardReading, the tables and what all shards share."""

    def __init__(self, reading: ShardReading, tables: Tables, latency: LatencyOverTime, kept: Kept, newest: dict[str, deque[Row]]) -> None:
        self.reading = reading
        self.tables = tables
        self.latency = latency
        self.kept = kept
        self.newest = newest  # orders, risk, incidents, commands: the page's rows of this shard
        spec = reading.spec
        limits = {NO_INSTRUMENT: spec["limits"]} | {i: x["limits"] for i, x in enumerate(spec["instruments"]) if x.get("limits")}
        self._commands = CommandReader(reading.shard, reading.symbols, limits)
        self._orders = OrderTracker(
            reading.shard, reading.symbols, (spec["maker_fee"], spec["taker_fee"]),
            {i["symbol"]: i["start_position_lots"] for i in spec["instruments"]},
            on_order=self._order, on_fill=self._fill, on_latency=latency.record,
        )  # fmt: skip
        self._stale_from = latency.first_ns
        self._live = False
        self._feed_incident: Row | None = None
        self._reasons = _reason_names()

    def record(self, kind: int, seq: int, ts_ns: int, generation: int, payload: bytes) -> None:
        """One record of the journal, already stepped."""
        if kind == INTENT:
            self._orders.intent(seq, ts_ns, payload)
        elif kind == SESSION:
            self._session(seq, ts_ns, payload)
        elif kind == SEND_RESULT:
            last, asked, result = struct.unpack_from("<QIi", payload)
            self._orders.sent(ts_ns, last, result)
            if result < 0 and result != -11:
                self._incident(seq, ts_ns, "send failed", f"errno {-result} for {asked} bytes")
        elif kind == DECISION:
            self._decision(seq, ts_ns, payload)
        elif kind == FEED_STATE:
            self._feed_state(seq, ts_ns, payload)
        elif kind == SESSION_STATE:
            up, reason, connection = struct.unpack_from("<BB2xI", payload)
            if not up:
                self._incident(seq, ts_ns, "order session lost", _pick(_LOST, reason))
            elif connection > 1:
                self._incident(seq, ts_ns, "order session connected again", f"connection {connection}")
        elif kind == COMMAND:
            self._add("commands", self._commands.command(seq, ts_ns, payload))
        elif kind == CONTROL:
            self._add("commands", self._commands.control(seq, ts_ns, payload))
        elif kind == RECOVERED:
            epoch, last_number, last_intent, venue_seq = struct.unpack_from("<IIQQ", payload)
            self.reading.recoveries.append({
                "shard": self.reading.shard, "seq": seq, "ts_ns": ts_ns, "epoch": epoch, "generation": generation,
                "last_order": last_number, "last_intent_seq": last_intent, "venue_seq": venue_seq,
            })  # fmt: skip
            self._incident(seq, ts_ns, "recovered after a crash", f"epoch {epoch}, venue message {venue_seq:,}")

    def finish(self, replay: Any, raw: dict[str, Any]) -> None:
        """After the last record: close what is open and take the curves."""
        r = self.reading
        r.open_orders = len(self._orders.open)
        self._orders.finish()
        if not self._live:
            r.not_live.append((self._stale_from, self.latency.last_ns))
        r.raw = raw
        r.account = {name: line(spans) for name, spans in replay.account_curves.items()}
        r.symbol_lines = {s: {name: line(spans) for name, spans in curves.items()} for s, curves in replay.symbol_curves.items()}
        r.changes = replay.changes
        r.stops = replay.stops
        r.max_drawdown_units = replay.max_drawdown_units
        for row, histogram in enumerate(replay.decision_intervals):
            self.latency.merge("decision_interval", row, histogram)

    def _add(self, table: str, row: Row) -> None:
        self.tables[table].add(row)
        self.newest[table].append(row)

    def _order(self, row: Row) -> None:
        self._add("orders", row)

    def _fill(self, row: Row) -> None:
        self.tables["fills"].add(row)
        # Of a pixel column the lowest and the highest fill of each kind are drawn.
        width = self.latency.last_ns - self.latency.first_ns + 1
        column = min(self.kept.columns - 1, (row["ts_ns"] - self.latency.first_ns) * self.kept.columns // width)
        marks = self.reading.marks.setdefault(row["symbol"], {})
        here = marks.setdefault((column, row["side"], row["liquidity"]), [])
        point = (row["ts_ns"], row["price_ticks"])
        if len(here) < 2:
            here.append(point)
        else:
            low, high = sorted([*here, point], key=lambda p: p[1])[::2]
            here[:] = [low, high]

    def _session(self, seq: int, ts_ns: int, payload: bytes) -> None:
        kind = chr(payload[0])
        if kind == "S":
            if (found := self._orders.answer(seq, ts_ns, payload[1:])) is not None:
                self._incident(seq, ts_ns, found["what"], f"order {found['order']}, match {found['match']}")
        elif kind in "JZ":
            fields = decode_soup(kind, payload[1:])
            self._incident(seq, ts_ns, "login refused" if kind == "J" else "venue ended the session", str(fields.get("reason", "")))

    def _decision(self, seq: int, ts_ns: int, payload: bytes) -> None:
        decision, _, _, ix, action, reason, _, _, observed, limit = _DECISION.unpack_from(payload)
        if not reason:
            return
        name = self._reasons.get(reason, f"reason {reason}")
        counted = self.reading.risk_reasons.setdefault(name, [0, ts_ns, ts_ns])
        counted[0] += 1
        counted[2] = ts_ns
        symbol = self.reading.symbols[ix] if ix < len(self.reading.symbols) else str(ix)
        self._add("risk", {"shard": self.reading.shard, "seq": seq, "ts_ns": ts_ns, "symbol": symbol, "action": action, "reason": name,
                           "observed": observed, "limit": limit, "decision": decision})  # fmt: skip

    def _feed_state(self, seq: int, ts_ns: int, payload: bytes) -> None:
        state, reason, first, last = struct.unpack_from("<BB6xQQ", payload)
        if (state == LIVE) != self._live:
            self._live = state == LIVE
            if self._live:
                self.reading.not_live.append((self._stale_from, ts_ns))
            else:
                self._stale_from = ts_ns
        missing = f", {last - first:,} messages from {first:,} missing" if last > first else ""
        self._incident(seq, ts_ns, f"feed {_pick(_FEED_STATES, state)}", _pick(_FEED_REASONS, reason) + missing)

    def _incident(self, seq: int, ts_ns: int, what: str, detail: str) -> None:
        self._add("incidents", {"shard": self.reading.shard, "seq": seq, "ts_ns": ts_ns, "what": what, "detail": detail})


def _pick(names: tuple[str, ...], i: int) -> str:
    return names[i] if i < len(names) else str(i)


def _reason_names() -> dict[int, str]:
    from hotpath import _core

    return {number: name.replace("_", " ") for number, name in enumerate(_core.RISK_REASONS)}


OnProgress = Callable[[int], None]
