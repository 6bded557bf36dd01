"""The supervisor's hand on a running engine: commands into its ring, answers out of its table, heartbeat, kill word.

One process at a time may command (the ring's lease names it by pid and start time); of a dead one it is taken over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from hotpath import _core
from orchestrator.control import bodies
from orchestrator.control.messages import Effect, Request
from orchestrator.observe.segment import Segment, SegmentError
from orchestrator.observe.shards import numbered
from orchestrator.observe.telemetry import TelemetryError, read

ACKS_MAGIC = 0x31534B4341475250
ACKS_DTYPE = np.dtype(
    [("number", "<u8"), ("key", "<u8"), ("seq", "<u8"), ("ts_ns", "<i8"), ("kind", "<u4"), ("status", "<u4"), ("zero", "<u8", 3)]
)
assert ACKS_DTYPE.itemsize == 64
ACKS_SLOTS_AT = 64
STATUSES = ("applied", "duplicate", "refused", "malformed", "not journaled", "kill stands", "no such thread", "it ends")
HINTS = {
    "kill stands": "clear the kill word first: peregrine revive does both",
    "it ends": "nothing is resumed while it drains; peregrine up starts it again",
    "no such thread": "only shards of the pipelined topology move, between the threads it began with",
}
POLL_S = 0.0005


class EngineLinkError(Exception):
    """A command that did not take effect, or an engine that cannot be commanded; `code` as in messages.Problem."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


class EngineLink:
    """Attached to the engine called `name`. Raises EngineLinkError when it is not there or another process commands it.

    Threads may share it: one command is under way at a time in each shard.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self._reader = Segment(name)
            self._segment = _core.Segment.attach(name, write=True)
            first = _core.CommandWriter(self._segment)
        except (SegmentError, _core.ShmError) as err:
            raise EngineLinkError("unavailable", f"{name} cannot be commanded: {err}", "is it running, and is no other supervisor in charge?") from err
        regions = set(self._reader.region_names())
        self._commands = [first]
        while (region := numbered("commands", len(self._commands))) in regions:
            self._commands.append(first.beside(region))
        self.shards = len(self._commands)
        self.epoch = int(self._segment.epoch)
        self._locks = [threading.Lock() for _ in range(self.shards)]
        #: symbol to (shard, instrument number in it)
        self.instruments: dict[str, tuple[int, int]] = {}
        for shard in range(self.shards):
            rows = self._rows(shard)
            for ix, row in enumerate(rows):
                self.instruments[row["symbol"].decode("ascii", "replace").strip()] = (shard, ix)

    def _rows(self, shard: int) -> np.ndarray:
        try:
            return read(self._reader.region(numbered("telemetry", shard))).instruments
        except (SegmentError, TelemetryError) as err:
            self.close()
            raise EngineLinkError("unavailable", f"{self.name} is not ready: {err}", "try again in a moment") from err

    def __enter__(self) -> EngineLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the ring back and let go."""
        for writer in reversed(self._commands):
            writer.release()
        self._reader.close()

    def alive(self) -> bool:
        """Is that very engine still there, under its name?"""
        try:
            return self._reader.status().alive and not self._reader.superseded()
        except ValueError:  # let go of meanwhile, by the thread that saw it die
            return False

    def beat(self) -> None:
        """The supervisor's sign of life."""
        self._segment.supervisor_beat()

    def kill(self, level: int) -> None:
        """Set the kill word: 0 run, 1 cancel all, 2 flatten. No answer is waited for."""
        self._segment.set_kill(level)

    def lift_kill(self, seen: int) -> bool:
        """Let the kill word be `run` again if it is still `seen` (Segment.kill_word); False: a kill came since, and stands."""
        return bool(self._segment.lift_kill(seen))

    def send(self, kind: str, *, shard: int, body: bytes = b"", request: Request, timeout_s: float = 2.0,
             part: int = 0) -> Effect:
        """Have a shard consume one command; returns where it stands in its journal.

        `part` tells apart several commands that carry out one request in the same shard. A request done before is not done
        again: the answer is then where the repetition stands. Raises EngineLinkError: refused, unavailable, timeout.
        """
        deadline = time.monotonic() + timeout_s

        def post(key: int) -> None:
            data = bodies.command(kind, body, key, bodies.origin(request))
            try:
                while not self._commands[shard].push(data):
                    self._wait(deadline, shard, kind, "its command ring is full")
            except _core.ShmError as err:
                raise EngineLinkError("unavailable", f"{self.name}: {err}") from err

        return self.expect(kind, shard=shard, request=request, post=post, timeout_s=timeout_s, part=part)

    def expect(self, kind: str, *, shard: int, request: Request, post: Callable[[int], None], timeout_s: float = 2.0,
               part: int = 0) -> Effect:
        """`send` for a command that `post(key)` hands to the shard by another way than its ring. Raises what `post` raises."""
        key = request.key() if part == 0 else (request.key() + part * 0x9E3779B97F4A7C15) % 2**64 or 1
        with self._locks[shard]:
            seen = self._written(shard)
            deadline = time.monotonic() + timeout_s
            post(key)
            while True:
                if found := self._answer(shard, key, seen):
                    seq, ts_ns, status = found
                    break
                self._wait(deadline, shard, kind, "no answer")
        if status in (0, 1):
            return Effect(shard, seq, ts_ns)
        said = STATUSES[status] if status < len(STATUSES) else f"status {status}"
        hint = HINTS.get(said, "")
        raise EngineLinkError("refused", f"shard {shard} did not take {kind}: {said}" + (f" (journal number {seq})" if seq else ""), hint)

    def _wait(self, deadline: float, shard: int, kind: str, why: str) -> None:
        if not self.alive():
            raise EngineLinkError("unavailable", f"{self.name} ended before it took {kind}", "it is in the journal or it was not done: ask again with the same id")
        if time.monotonic() > deadline:
            raise EngineLinkError("timeout", f"shard {shard} of {self.name} did not take {kind}: {why}", "ask again with the same id: it is not done twice")
        time.sleep(POLL_S)

    def _table(self, shard: int) -> bytes:
        try:
            return self._reader.region(numbered("acks", shard))
        except ValueError as err:  # closed meanwhile: the supervisor let go of an engine that is gone
            raise EngineLinkError("unavailable", f"{self.name} ended meanwhile", "it is in the journal or it was not done: ask again with the same id") from err

    def _written(self, shard: int) -> int:
        table = self._table(shard)
        if int.from_bytes(table[:8], "little") != ACKS_MAGIC:
            raise EngineLinkError("unavailable", f"{self.name} has no table of answers: an engine of another release")
        return int.from_bytes(table[8:16], "little")

    def _answer(self, shard: int, key: int, seen: int) -> tuple[int, int, int] | None:
        if self._written(shard) == seen:
            return None
        table = self._table(shard)
        slots = np.frombuffer(table, ACKS_DTYPE, offset=ACKS_SLOTS_AT, count=(len(table) - ACKS_SLOTS_AT) // 64)
        again = np.frombuffer(self._table(shard), ACKS_DTYPE, offset=ACKS_SLOTS_AT, count=len(slots))
        hits = np.nonzero((slots["key"] == key) & (slots["number"] > seen) & (slots["number"] == again["number"]))[0]
        if not len(hits):
            return None
        row = slots[hits[np.argmax(slots["number"][hits])]]
        return int(row["seq"]), int(row["ts_ns"]), int(row["status"])
