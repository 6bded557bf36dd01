"""The judge of `make chaos`: the venue's own record against the engine's journal, followed as both grow.

The venue's record is rebuilt from its day's file, without asking the venue; the journal is read as recovery would read
it, what lies in a dead engine's ring included.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos_world import VenueRun

# journal/record.h
FEED_STATE, SESSION, RECOVERED, INTENT = 18, 19, 27, 64
ENTER, REPLACE, MASS_CANCEL = 1, 2, 4
FEED_LIVE = 2
_INTENT = struct.Struct("<BBBBIIIqqQQ")


@dataclass
class Life:
    """One run of the engine that got as far as RECOVERED, by the stamps of its own journal."""

    generation: int
    recovered_ns: int  # recovery of the journal begins
    loop_ns: int = 0  # the first input of the loop
    fenced_ns: int = 0  # the venue has answered the mass cancel: no order is unknown any more
    live_ns: int = 0  # books are whole

    @property
    def ready_ns(self) -> int:
        """When it could trade; 0 = it was killed before."""
        return max(self.fenced_ns, self.live_ns) if self.fenced_ns and self.live_ns else 0


@dataclass
class Judge:
    """What was found so far; `lost`, `doubled` and `differs` are sentences about each single case."""

    venue: VenueRun
    shard: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    records: int = 0
    orders: int = 0
    executions: int = 0

    def __post_init__(self) -> None:
        self._asked: set[int] = set()  # numbers of journaled orders and replaces
        self._port, self._user = self.venue.port(self.shard), self.venue.user(self.shard)
        self._last_number = 0
        self._cl_ord_ids: set[bytes] = set()
        self._stream = 0  # number of the next sequenced message of the connection
        self._heard: list[bytes] = []
        self._day: Any = None
        self._venue_entries = 0
        self._at_venue: set[int] = set()
        self._matches: set[tuple[int, int]] = set()
        self._compared = 0

    @property
    def good(self) -> bool:
        """Nothing was found."""
        return not (self.lost or self.doubled or self.differs)

    def look(self, journal: Path) -> None:
        """Reads on in both; the engine must be dead or ended."""
        self._read_journal(journal)
        self._read_venue()

    # ---- the journal

    def _read_journal(self, journal: Path) -> None:
        from hotpath import _core

        for kind, seq, ts_ns, generation, payload in _core.journal.Reader(str(journal), from_seq=self.records + 1):
            if seq != self.records + 1:
                self.differs.append(f"the journal goes on with record {seq} after {self.records}")
            self.records = seq
            if kind == RECOVERED:
                self.lives.append(Life(generation, ts_ns))
                self._stream = 0
            elif kind == INTENT:
                self._intent(seq, bytes(payload))
            elif kind == SESSION:
                self._session(seq, ts_ns, bytes(payload))
            elif kind == FEED_STATE and self.lives:
                self.lives[-1].live_ns = self.lives[-1].live_ns or (ts_ns if payload[0] == FEED_LIVE else 0)
            if self.lives and not self.lives[-1].loop_ns and kind not in (RECOVERED, 1):
                self.lives[-1].loop_ns = ts_ns

    def _intent(self, seq: int, payload: bytes) -> None:
        kind, _, _, _, number, *_ = _INTENT.unpack_from(payload)
        if kind not in (ENTER, REPLACE, MASS_CANCEL):
            return
        if number <= self._last_number:
            self.doubled.append(f"record {seq}: order number {number} after {self._last_number}")
        self._last_number = max(number, self._last_number)
        if kind == MASS_CANCEL:
            return
        self._asked.add(number)
        if kind == ENTER:
            cl_ord_id = payload[_INTENT.size :][31:45]
            if cl_ord_id in self._cl_ord_ids:
                self.doubled.append(f"record {seq}: ClOrdId {cl_ord_id!r} is used again")
            self._cl_ord_ids.add(cl_ord_id)

    def _session(self, seq: int, ts_ns: int, payload: bytes) -> None:
        if payload[:1] == b"A":
            self._stream = int(payload[11:31])
            return
        if payload[:1] != b"S":
            return
        message, number = payload[1:], self._stream
        self._stream += 1
        if number <= len(self._heard):
            return  # said again after a reconnect; the engine passes over it
        if number > len(self._heard) + 1:
            self.lost.append(f"record {seq}: message {number} of the venue was taken after {len(self._heard)}")
        self._heard.append(message)
        if message[:1] in b"AU":
            urn = struct.unpack_from(">I", message, 9 if message[:1] == b"A" else 13)[0]
            if urn not in self._asked:
                self.lost.append(f"record {seq}: order {urn} was answered before an intent of it stood in the journal")
        elif message[:1] == b"X" and self.lives and not self.lives[-1].fenced_ns:
            self.lives[-1].fenced_ns = ts_ns

    # ---- the venue

    def _read_venue(self) -> None:
        from hotpath import _venue

        if self._day is None:
            self._day = _venue.VenueDay(self.venue.config())
        self._day.catch_up()
        entries = self._day.record(self._venue_entries)
        self._venue_entries += len(entries)
        for e in entries:
            if e["port"] != self._port:
                continue
            number = e["user_ref_num"]
            if e["kind"] in ("accepted", "replaced"):
                self.orders += 1
                if number not in self._asked:
                    self.lost.append(f"the venue has order {number}, the journal has no intent of it")
                if number in self._at_venue:
                    self.doubled.append(f"the venue has order {number} twice")
                self._at_venue.add(number)
            elif e["kind"] == "executed":
                self.executions += 1
                if (e["match"], number) in self._matches:
                    self.doubled.append(f"execution {e['match']} of order {number} is in the venue's record twice")
                self._matches.add((e["match"], number))
                if number not in self._asked:
                    self.lost.append(f"the venue executed order {number}, the journal has no intent of it")
            elif e["kind"] == "malformed":
                self.differs.append("the venue could not read a message of the engine")
        said = self._day.ouch_messages(self._user, self._compared + 1)
        for at, (heard, sent) in enumerate(zip(self._heard[self._compared :], said, strict=False), self._compared + 1):
            if heard != bytes(sent):
                self.differs.append(f"message {at}: the journal has {heard.hex()}, the venue said {bytes(sent).hex()}")
        self._compared = min(len(self._heard), self._compared + len(said))

    # ---- the end

    def conclude(self, journal: Path, report: dict[str, Any]) -> None:
        """After the engine's own end: everything the venue said was heard, and both count the same."""
        self.look(journal)
        unheard = [bytes(m) for m in self._day.ouch_messages(self._user, len(self._heard) + 1)]
        # The engine ends once nothing works any more; the answer to its last mass cancel it may leave unread, and on a
        # connection that is just back the answer to its account query.
        self.lost += [f"the engine never heard {m[:1].decode()} {m.hex()}" for m in unheard if m[:1] not in (b"X", b"Q")]
        if len(self._heard) > len(self._day.ouch_messages(self._user)):
            self.differs.append("the journal has messages the venue never said")
        summary = self._day.summary(self._user)
        told = [m for m in self._heard if m[:1] == b"E"]
        same = {
            "position": (report["position"], summary["bought"] - summary["sold"]),
            "fees": (report["fees_units"], summary["fees_ticks"]),
            "executions": (report["fills"], summary["executed"]),
            "executions heard": (len(told), summary["executed"]),
            "open orders": (0, summary["open_orders"]),
            "unknown orders": (report["unknown_orders"], 0),
        }
        self.differs += [f"{what}: the engine says {a}, the venue {b}" for what, (a, b) in same.items() if a != b]
        if same["open orders"][1]:
            self.lost.append(f"{summary['open_orders']} orders live at the venue after the engine ended")
        self._verify(journal, report)

    def _verify(self, journal: Path, report: dict[str, Any]) -> None:
        from orchestrator.run.journals import verify_journal

        verdict = verify_journal(journal)
        if not verdict["identical"]:
            self.differs.append(f"the journal does not replay: {verdict.get('divergence')}")
        if verdict["recoveries"] != len(self.lives):
            self.differs.append(f"{len(self.lives)} lives were recovered, the replay saw {verdict['recoveries']}")
        for key in ("order_hash", "state_hash"):
            if verdict[key] != report[key]:
                self.differs.append(f"{key}: the run ended with {report[key]}, its replay with {verdict[key]}")
        self.replayed = verdict
