"""Where golden journals are made: exchange, flow and one shard in virtual time, driven event by event from a script.

Everything is decided by the script and its seeds: no clock, no socket, no thread. The order of things is the engine's own:
an input is journaled, the shard steps, its outputs are journaled, only then the exchange sees the orders.
"""

from __future__ import annotations

import datetime as dt
import heapq
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hotpath import _core, _venue
from hotpath.journal import header
from hotpath.policy import artifact
from hotpath.policy.oracle import Layer, Network
from orchestrator.config import effective, load_profile
from orchestrator.run import plan

HEADER, FEED, SNAPSHOT, FEED_STATE, SESSION, SESSION_STATE, COMMAND, TIMER, CONTROL = 1, 16, 17, 18, 19, 20, 21, 22, 23
SIGNAL, SEND_RESULT, RECOVERED, INTENT = 25, 26, 27, 64
LIMITS, WEIGHTS, BANK_SWAP, PAUSE, RESUME, DRAIN, KILL, FLATTEN, LEASE_GRANT, LEASE_RETURN = range(1, 11)
KILL_WORD, SUPERVISOR_LOST, LEASE_CHANGE, UNHEALTHY, HEALTHY = range(1, 6)
LIVE, GAPPED, STALE = 2, 3, 4
MS, US = 1_000_000, 1_000
DAY = dt.date(2026, 1, 5)
SESSION_ID = "PRG0000001"
JOURNAL_ID = 0x676F6C64656E0001


def constant_policy(action: int, name: str) -> bytes:
    """An artifact that always answers `action`."""
    bias = np.zeros(5, np.int32)
    bias[action] = 1000
    network = Network(np.zeros(1, np.uint16), np.ones(1, np.int16), np.zeros(1, np.uint8),
                      (Layer(np.zeros((5, 1), np.int8), bias, None, False),))
    return artifact.dump(artifact.make(network, name=name, parity=16, provenance={"data": {}, "seed": 0, "versions": {}}))


class Stage:
    """One golden journal in the making, in `folder`."""

    def __init__(self, folder: Path, *, seed: int = 7, rate_per_s: int = 600, symbols: tuple[str, ...] = ("PRGN",),
                 members: Iterable[tuple[bytes, dict[str, Any]]] | None = None, order_ns: int = 30 * US, answer_ns: int = 30 * US,
                 feed_ns: int = 20 * US, signal: Callable[[list[int]], tuple[int, int]] | None = None, user_signal: bool = False,
                 fills_first: bool = False, **settings: Any) -> None:
        self.folder, self.fills_first, self.signal = folder, fills_first, signal
        self.delay = {"order": order_ns, "answer": answer_ns, "feed": feed_ns}
        instruments = [{"symbol": s, "increment_ticks": 100, "round_lot_lots": 100} for s in symbols]
        # The goldens are older than the limits on how many symbols there may be; limits are part of the state's hash.
        without = dict.fromkeys(("risk.max_positions", "risk.soft_positions", "risk.soft_positions_interval_ns"), 0)
        cfg = load_profile("replay", {"instruments": instruments, "engine.max_orders": 4096, "name": "golden", **without, **settings})
        self.midnight_ns = plan.session_midnight_ns(DAY)
        self.spec = plan.shard_spec(cfg, midnight_ns=self.midnight_ns) | {"user_signal": user_signal}
        wanted = [(plan.builtin_policy_path().read_bytes(), {})] if members is None else list(members)
        usual = {"weight": 1, "role": "trader", "veto_actions": [], "forced_action": 0}
        self.policies = [plan.policy_from_bytes(data, f"member{i}", {**usual, "slot": i, **options})
                         for i, (data, options) in enumerate(wanted)]
        self.shard = _core.StepEngine(shard=self.spec, policies=[p.spec for p in self.policies], quorum=cfg.policies.quorum_q8)
        self.exchange = _venue.Exchange({
            "symbols": [{"symbol": s, "round_lot": 100, "increment_ticks": 100, "reference_ticks": 1_000_000} for s in symbols],
            "ports": [{"user": "DEMO01", "password": "x", "firm": "DEM1"}], "midnight_ns": self.midnight_ns,
            "session": SESSION_ID, "max_orders": 4096})  # fmt: skip
        self.flow = _venue.Flow({"seed": seed, "rate_per_s": rate_per_s, "target_orders": 60}, self.exchange)
        self.now = self.midnight_ns + (9 * 3600 + 1800) * 1_000_000_000
        self._queue: list[tuple[int, int, int, str, bytes]] = []
        self._n, self._itch_seen, self._ouch_seen, self._connections = 0, 0, 0, 0
        self._heard, self.connected, self.flowing = True, False, True
        self._housekeeping, self._hash = self.now + 100 * MS, self.now + 250 * MS
        self._generation = 1
        self._open(1, JOURNAL_ID)
        self._append(HEADER, self._header(cfg))

    def _header(self, cfg: Any) -> bytes:
        members = [{**{k: p.spec[k] for k in ("slot", "weight", "role", "veto_actions", "forced_action")},
                    "artifact": f"slot{p.slot}", "name": p.name, "sha256": p.sha256} for p in self.policies]
        return header.build_header(header.JournalHeader(
            session_date=DAY.isoformat(), session_zone=plan.SESSION_ZONE,
            config={"effective": effective(cfg), "shard": self.spec, "policies": members, "quorum": cfg.policies.quorum_q8},
            instruments=[{"symbol": i.symbol, "increment_ticks": i.increment_ticks} for i in cfg.instruments],
            artifacts={f"slot{p.slot}": p.data for p in self.policies}, machine={}))  # fmt: skip

    # ---- journal

    def _open(self, next_seq: int, journal_id: int) -> None:
        self._appender = _core.journal.Appender(
            dir=str(self.folder), name=f"golden{self._generation}", ring_dir=str(self.folder), ring_bytes=1 << 24,
            generation=self._generation, next_seq=next_seq, journal_id=journal_id)  # fmt: skip
        self._writer = _core.journal.Writer(self._appender, dir=str(self.folder), allocate_ahead=False)

    def _append(self, kind: int, payload: bytes) -> int:
        seq = self._appender.append(kind, self.now, payload)
        assert seq, "the journal refused a record"
        if seq % 512 == 0:
            self._writer.drain_once(self.now)
        return seq

    def close(self) -> None:
        """Ends the journal as a run that ended well."""
        self._writer.close()
        for name in ("ring.path", "journal.lock"):
            (self.folder / name).unlink(missing_ok=True)

    # ---- inputs

    def consume(self, kind: int, payload: bytes, *, outputs_lost: bool = False) -> None:
        """One input: journal, step, outputs into the journal, wire. `outputs_lost`: the process dies before its outputs."""
        seq = self._append(kind, payload)
        made = self.shard.step(kind, seq, self.now, payload)
        if outputs_lost:
            return
        wire, last = [], 0
        for what, body in made:
            at = self._append(what, body)
            if what == INTENT:
                last = at
                wire.append(body[48:])
        if wire:
            asked = sum(len(m) + 3 for m in wire)
            for message in wire:
                self._push(self.now + self.delay["order"], 0, "wire", message)
            self.consume(SEND_RESULT, struct.pack("<QIi", last, asked, asked))
        while (wanted := self.shard.signal_wanted) is not None and kind != SIGNAL:
            decision, features = wanted
            value, status = self.signal(features) if self.signal else (0, 1)
            self.consume(SIGNAL, struct.pack("<QiB3x", decision, value, status))

    def command(self, kind: int, body: bytes = b"", key: int = 0) -> None:
        """A command as a supervisor gives it."""
        if kind == BANK_SWAP and len(body) > 8:
            slot = struct.unpack_from("<I", body)[0]
            self.shard.stage(slot, plan.bank_spec(slot, body[8:]))
        self.consume(COMMAND, struct.pack("<QHHI", key, kind, 0, len(body)) + body)

    def control(self, kind: int, value: int = 0) -> None:
        """A control word seen."""
        self.consume(CONTROL, struct.pack("<B7xQ", kind, value))

    def feed_state(self, state: int, reason: int = 0, first: int = 0, end: int = 0) -> None:
        """What the feed receiver says."""
        self.consume(FEED_STATE, struct.pack("<BB6xQQ", state, reason, first, end))

    def feed(self, message: bytes) -> None:
        """A feed message of our own, beside the exchange's."""
        self._itch_extra = getattr(self, "_itch_extra", 0) + 1
        self.consume(FEED, struct.pack("<QB7x", self._itch_seen + self._itch_extra, 4) + message)

    # ---- the world

    def _push(self, at: int, order: int, kind: str, payload: bytes) -> None:
        self._n += 1
        heapq.heappush(self._queue, (at, order, self._n, kind, payload))

    def _collect(self) -> None:
        for message in self.exchange.itch_messages(self._itch_seen + 1):
            self._itch_seen += 1
            if self._heard:
                self._push(self.now + self.delay["feed"], 1, "feed", struct.pack("<QB7x", self._itch_seen, 4) + message)
        told = self.exchange.ouch_messages(0, self._ouch_seen + 1)
        self._ouch_seen += len(told)
        if self.fills_first:
            told = fills_before_acks(told)
        if self.connected:
            for message in told:
                self._push(self.now + self.delay["answer"], 2, "session", b"S" + message)

    def open(self) -> None:
        """The day begins: feed live, market open, books filled, session up."""
        self.feed_state(LIVE)
        self.exchange.start(self.now)
        self.exchange.set_session_state("open", self.now)
        self.flow.begin(self.now)
        self.flow.seed_books(self.now)
        self._collect()
        self.connect()

    def connect(self) -> None:
        """A connection, the login's answer, and what the port was told before, as a venue replays it."""
        self._connections += 1
        self.connected = True
        self.consume(SESSION_STATE, struct.pack("<BB2xI", 1, 0, self._connections))
        sequence = self.shard.login_sequence
        self.consume(SESSION, b"A" + SESSION_ID.rjust(10).encode() + str(sequence).rjust(20).encode())
        for message in self.exchange.ouch_messages(0, sequence):
            self._push(self.now + self.delay["answer"], 2, "session", b"S" + message)
        self._ouch_seen = len(self.exchange.ouch_messages(0, 1))

    def disconnect(self, reason: int = 1, *, wire_lost: bool = True) -> None:
        """The connection is gone, with what was on it."""
        gone = ("session", "wire") if wire_lost else ("session",)
        self._drop(*gone)
        self.connected = False
        self.exchange.on_disconnect(0, self.now)
        self.consume(SESSION_STATE, struct.pack("<BB2xI", 0, reason, self._connections))

    def _drop(self, *kinds: str) -> None:
        self._queue = [q for q in self._queue if q[3] not in kinds]
        heapq.heapify(self._queue)

    def lose_feed(self) -> None:
        """A gap nothing closes: every book is stale."""
        self._heard = False
        self._drop("feed")
        self.feed_state(STALE, 1, self._itch_seen + 1, self._itch_seen + 40)

    def rebuild(self) -> None:
        """The books from the venue's snapshot, then live again."""
        self._collect()
        snapshot = [*self.exchange.snapshot(self.now), b"G" + str(self._itch_seen + 1).rjust(20).encode()]
        for n, message in enumerate(snapshot, start=1):
            self.consume(SNAPSHOT, struct.pack("<QB7x", n, 3) + message)
        self._heard = True
        self.feed_state(LIVE, 3)

    def halt(self, state: str, symbol: int = 0) -> None:
        """H halted, P paused, Q quotation only, T trading again."""
        self.exchange.halt(symbol, state, "T1" if state != "T" else "", self.now)
        self._collect()

    def crash(self, *, mid_step: bool = False, down_ns: int = 30 * MS) -> None:
        """kill -9, then recovery: the journal's own, with RECOVERED in it; feed and session begin anew."""
        if mid_step:
            self._die_between_input_and_outputs()
        self._writer.abandon()
        self._appender.abandon()
        self._drop("feed", "session", "wire")
        self._heard = self.connected = False
        self.exchange.on_disconnect(0, self.now)
        self.now += down_ns
        self._generation += 1
        name = f"golden{self._generation - 1}"
        found = _core.journal.recover(str(self.folder), ring_name=name, ring_dir=str(self.folder), now_ns=self.now)
        assert found["generation"] == self._generation
        payload = struct.pack("<IIQQ", found["epoch"], found["last_user_ref_num"], found["last_intent_seq"], found["venue_seq"])
        self._open(found["next_seq"], found["journal_id"])
        assert not self.shard.step(RECOVERED, found["recovered_seq"], self.now, payload)
        self._connections = 0
        self.rebuild()
        self.connect()

    def _die_between_input_and_outputs(self) -> None:
        """Feed messages until one of them would have sent an order; that order is never journaled, never sent."""
        for _ in range(3000):
            before = self.shard.summary()["orders"]
            kind, payload = self._next_input()
            self.consume(kind, payload, outputs_lost=True) if kind == FEED else self.consume(kind, payload)
            if self.shard.summary()["orders"] > before:
                return
        raise AssertionError("no order to lose")

    def _next_input(self) -> tuple[int, bytes]:
        while True:
            step = self._advance(self.now + 10_000 * MS, hold=True)
            if step is not None:
                return step

    # ---- time

    def run(self, ms: float) -> None:
        """Lets virtual time pass."""
        end = self.now + int(ms * MS)
        while self._advance(end) is not False:
            pass
        self.now = end

    def _advance(self, limit: int, hold: bool = False) -> Any:
        """The next thing due: False when nothing is due by `limit`. With `hold` a feed input is given back, not consumed."""
        flow_ns = self.flow.next_ns if self.flowing else 1 << 62
        at = min(flow_ns, self._housekeeping, self._hash, self._queue[0][0] if self._queue else 1 << 62)
        if at > limit:
            return False
        self.now = max(self.now, at)
        if self._queue and self._queue[0][0] == at:
            _, _, _, kind, payload = heapq.heappop(self._queue)
            if kind == "wire":
                self.exchange.on_ouch(0, payload, self.now)
                self._collect()
            elif hold and kind == "feed":
                return FEED, payload
            else:
                self.consume(FEED if kind == "feed" else SESSION, payload)
        elif flow_ns == at:
            self.flow.step()
            self._collect()
        elif self._housekeeping == at:
            self._housekeeping += 100 * MS
            self.consume(TIMER, struct.pack("<IIq", 1, 0, at))
        else:
            self._hash += 250 * MS
            self.consume(TIMER, struct.pack("<IIq", 2, 0, at))
        return None

    def end(self) -> None:
        """Drain, the last answers, a last state hash, and the journal is closed."""
        self.flowing = False
        self.command(DRAIN)
        self.run(120)
        self.consume(TIMER, struct.pack("<IIq", 2, 0, self.now))
        self.close()


def fills_before_acks(told: list[bytes]) -> list[bytes]:
    """The same messages, an execution before the acceptance of its order where they follow each other."""
    out = list(told)
    for i in range(len(out) - 1):
        if out[i][:1] in (b"A", b"U") and out[i + 1][:1] == b"E":
            out[i], out[i + 1] = out[i + 1], out[i]
    return out
