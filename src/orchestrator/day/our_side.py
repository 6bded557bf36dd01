"""What the engine has journaled of its orders, followed while it writes: executions, breaks, orders, and who let it trade.

Files and the journal's ring are read, nothing is written and nobody waits. A shard that was started again goes on where its
journal stopped.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.day.agreement import Execution

HEADER, SESSION, COMMAND, TIMER = 1, 19, 21, 22
_COMMAND = struct.Struct("<QHHI")


@dataclass(frozen=True)
class Event:
    """One thing a journal tells. `kind`: fill, broken, order, unknown (an execution of an order it does not know), command."""

    kind: str
    shard: int
    seq: int
    execution: Execution | None = None
    number: int = 0  # match, or the venue's order number
    command: str = ""
    who: str = ""
    id: str = ""  # of the request that a command carries out


@dataclass
class ShardSide:
    """One shard's journal as far as it was read."""

    folder: Path
    number: int
    last_seq: int = 0
    last_ts_ns: int = 0
    start_lots: dict[str, int] = field(default_factory=dict)
    midnight_ns: int = 0
    session: str = ""  # of the venue, by its last login
    _orders: dict[int, tuple[str, int, int]] = field(default_factory=dict)  # our number → symbol, sign, the venue's
    _reader: Any = None
    _ring: tuple[int, int] = (0, 0)

    def refresh(self, out: list[Event]) -> str:
        """Add what is new. Returns why it cannot be read, or nothing; what was read until there is in `out`."""
        from hotpath import _core

        try:
            if self._ring_is_another() or self._reader is None:
                self._reader = _core.journal.Reader(str(self.folder), verify_chain=False, from_seq=max(1, self.last_seq + 1))
            while (record := self._reader.find([HEADER, SESSION, COMMAND, TIMER])) is not None:
                kind, seq, ts_ns, _, payload = record
                if seq <= self.last_seq:
                    continue
                self.last_seq, self.last_ts_ns = seq, max(self.last_ts_ns, ts_ns)
                if kind == HEADER:
                    self._begin(bytes(payload))
                elif kind == SESSION:
                    self._session(seq, bytes(payload), out)
                elif kind == COMMAND:
                    self._command(seq, bytes(payload), out)
        except (ValueError, OSError, RuntimeError) as err:
            self._reader = None
            return f"{self.folder}: {err}"
        return ""

    def _ring_is_another(self) -> bool:
        try:
            stat = (self.folder / "ring.path").stat()
        except OSError:
            return False
        before, self._ring = self._ring, (stat.st_ino, stat.st_mtime_ns)
        return before != self._ring

    def _begin(self, payload: bytes) -> None:
        from hotpath.journal.header import parse_header

        spec = parse_header(payload).config["shard"]
        self.start_lots = {i["symbol"]: i["start_position_lots"] for i in spec["instruments"]}
        self.midnight_ns = spec["midnight_ns"]

    def _session(self, seq: int, packet: bytes, out: list[Event]) -> None:
        from hotpath.execution.wire import decode_ouch
        from orchestrator.day.drop_copy import accepted

        if packet[:1] == b"A":
            self.session = accepted(packet[1:])[0]
        message = decode_ouch(packet[1:], from_host=True) if packet[:1] == b"S" else None
        if message is None:
            return
        kind, number = message["type"], int(message.get("user_ref_num", 0))
        if kind in ("A", "U"):
            self._orders[number] = (message["symbol"], 1 if message["side"] == "B" else -1, message["order_ref"])
            out.append(Event("order", self.number, seq, number=message["order_ref"]))
        elif kind == "E":
            symbol, sign, ref = self._orders.get(number, ("", 1, 0))
            told = Execution(message["match"], ref, symbol, sign * message["quantity"], message["price_ticks"],
                             message["liquidity"], message["ts_ns"])  # fmt: skip
            out.append(Event("fill" if symbol else "unknown", self.number, seq, told, number))
        elif kind == "B":
            out.append(Event("broken", self.number, seq, number=message["match"]))

    def _command(self, seq: int, payload: bytes, out: list[Event]) -> None:
        from orchestrator.control import bodies

        _, kind, said, size = _COMMAND.unpack_from(payload)
        origin = bodies.parse_origin(payload[_COMMAND.size + size :][:said]) if said else {}
        out.append(Event("command", self.number, seq, command=bodies.KIND_NAMES.get(kind, str(kind)),
                         who=str(origin.get("who", "")), id=str(origin.get("id", ""))))  # fmt: skip


class OurSide:
    """All shards of a run; `start_lots`, `shard_of` are whole once `ready`."""

    def __init__(self, run: Path, shards: int) -> None:
        from orchestrator.run.shards import folder_of

        self.shards = [ShardSide(folder_of(run, shards, n), n) for n in range(shards)]

    def refresh(self) -> tuple[list[Event], str]:
        """What is new in any of them, and why one of them cannot be read, or nothing."""
        out: list[Event] = []
        problems = [said for shard in self.shards if (said := shard.refresh(out))]
        return out, "; ".join(problems)

    @property
    def ready(self) -> bool:
        """Has every shard's header been read?"""
        return all(s.midnight_ns for s in self.shards)

    @property
    def start_lots(self) -> dict[str, int]:
        """Of every symbol, what the day began with."""
        return {symbol: lots for s in self.shards for symbol, lots in s.start_lots.items()}

    def shard_of(self, symbol: str) -> ShardSide | None:
        """Whose symbol is it?"""
        return next((s for s in self.shards if symbol in s.start_lots), None)
