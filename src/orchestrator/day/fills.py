"""Executions of a run out of its journals: what the venue told us, in order, breaks taken into account."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SESSION = 19


@dataclass(frozen=True)
class Fill:
    """One execution. `ts_ns`: when we received it; `order_ref`: the venue's number of the order; buys are positive."""

    shard: int
    seq: int
    ts_ns: int
    symbol: str
    signed_lots: int
    price_ticks: int
    liquidity: str  # the venue's flag
    match: int
    order_ref: int

    @property
    def key(self) -> tuple[int, int]:
        """What tells an execution from every other of the venue's day: two of our orders may meet in one match."""
        return self.match, self.order_ref


@dataclass
class DayRecord:
    """What a run did, by its own journals. `start_lots` and `instruments` by symbol."""

    run: Path
    session_date: str
    effective: dict[str, Any]
    start_lots: dict[str, int]
    fills: list[Fill] = field(default_factory=list)
    broken: list[Fill] = field(default_factory=list)
    closed: bool = True
    venue_session: str = ""  # of the last login
    open_orders: int = 0  # that the venue has accepted and not ended, by the last record

    def close_lots(self) -> dict[str, int]:
        """Position of each symbol after the last record."""
        lots = dict(self.start_lots)
        for fill in self.fills:
            lots[fill.symbol] += fill.signed_lots
        return lots


def read_day(run: Path) -> DayRecord:
    """Read every shard's journal of a run. Raises JournalUnreadable."""
    from orchestrator.run.journals import read_header
    from orchestrator.run.shards import folders

    own = folders(run)
    parsed = [read_header(folder)[0] for folder in own]
    start = {i["symbol"]: i["start_position_lots"] for p in parsed for i in p.config["shard"]["instruments"]}
    day = DayRecord(run, str(parsed[0].session_date), parsed[0].config["effective"], start)
    for shard, folder in enumerate(own):
        _read_shard(day, shard, folder)
    day.fills.sort(key=lambda f: (f.ts_ns, f.shard, f.seq))
    return day


def _read_shard(day: DayRecord, shard: int, folder: Path) -> None:
    from hotpath import _core
    from hotpath.execution.wire import decode_ouch
    from orchestrator.day.drop_copy import accepted
    from orchestrator.run.journals import CORRUPT_HINT, JournalUnreadable

    orders: dict[int, tuple[str, int, int]] = {}  # our number → symbol, sign, the venue's number
    mine: list[Fill] = []
    left: dict[int, int] = {}  # our number → lots open at the venue
    try:
        reader = _core.journal.Reader(str(folder))
        while (record := reader.find([_SESSION])) is not None:
            _, seq, ts_ns, _, payload = record
            message = decode_ouch(bytes(payload[1:]), from_host=True) if bytes(payload[:1]) == b"S" else None
            if message is None:
                if bytes(payload[:1]) == b"A":
                    day.venue_session = accepted(bytes(payload[1:]))[0]
                continue
            kind, number = message["type"], int(message.get("user_ref_num", 0))
            if kind in ("E", "C", "D") and number in left:
                left[number] -= message["decrement"] if kind == "D" else message["quantity"]
            if kind in ("A", "U"):
                orders[number] = (message["symbol"], 1 if message["side"] == "B" else -1, message["order_ref"])
                left.pop(int(message.get("orig_user_ref_num", 0)), None)
                left[number] = message["quantity"] if message["state"] == "L" else 0
            elif kind == "E" and number in orders:
                symbol, sign, ref = orders[number]
                mine.append(Fill(shard, seq, ts_ns, symbol, sign * message["quantity"], message["price_ticks"],
                                 message["liquidity"], message["match"], ref))  # fmt: skip
            elif kind == "B" and number in orders:
                gone = [f for f in mine if f.match == message["match"] and f.order_ref == orders[number][2]]
                day.broken += gone
                mine = [f for f in mine if f not in gone]
        day.closed = day.closed and bool(reader.end["last_segment_closed"])
        day.open_orders += sum(lots > 0 for lots in left.values())
    except (ValueError, RuntimeError, OSError) as err:
        raise JournalUnreadable(f"{folder}: {err}", hint=CORRUPT_HINT) from err
    day.fills += mine
