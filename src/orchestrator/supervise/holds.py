"""What a person has stopped: shards drained or paused by command, kept over the death of the engine and of its supervisor.
Besides what was asked for while no engine ran: a paused symbol, reduce-only, flatten.

A pause stands in the engine's own recovered state. A drain does not: an engine that ends drains too, and the one that is
recovered begins without. So the supervisor, through whose hand every command goes, keeps both, in memory before the
command is sent and in supervisor.json before its answer goes out; the next engine is drained again before its loop runs.

What is not sure errs to that side: of a drain that was not answered it is kept that it was given.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from orchestrator.control import bodies
from orchestrator.control.engine_link import EngineLink, EngineLinkError
from orchestrator.control.messages import Effect, Request
from orchestrator.supervise.state_file import Hold, StopKind

ANY_SHARD = -1  # of a symbol: the engine knows where it is
UNKNOWN_SEQ = 1  # of a command that was not answered: any resume after it lifts it
WORDS = {"drain": "drained", "pause": "paused"}
REDUCING = {"reduce_only": "reduce-only", "flatten": "to be flattened"}  # kept only while they are owed


class Holds:
    """Of one tree. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holds: dict[tuple[int, str, str], list[Hold]] = {}  # one that stands, and those under way
        self._lifted: dict[int, int] = {}  # shard → journal number of its last resume
        self._killed = False  # since they were looked at last

    def restore(self, found: Iterable[Hold]) -> None:
        """Those an earlier supervisor has written down."""
        with self._lock:
            for hold in found:
                hold.seq = hold.seq or UNKNOWN_SEQ  # whoever waited for the answer is gone
                self._holds[_key(hold)] = [hold]

    def listed(self) -> list[Hold]:
        """In order of the shards."""
        with self._lock:
            self._heed_kill()
            return [self._holds[key][0] for key in sorted(self._holds)]

    def given(self, kind: str, shard: int, request: Request) -> Hold:
        """A drain or pause is about to be sent."""
        hold = Hold(shard=shard, kind="drain" if kind == "drain" else "pause", who=request.who, why=request.why, when_ns=request.when_ns)
        with self._lock:
            self._holds.setdefault(_key(hold), []).append(hold)
        return hold

    def owe(self, kind: StopKind, shard: int, request: Request, *, symbol: str = "", keep: bool = False, after_kill: bool = False) -> None:
        """What came while no engine ran."""
        hold = Hold(shard=shard, kind=kind, symbol=symbol, keep=keep, owed=True, after_kill=after_kill, who=request.who, why=request.why,
                    when_ns=request.when_ns)  # fmt: skip
        with self._lock:
            self._heed_kill()
            self._holds.setdefault(_key(hold), []).append(hold)
        self.taken(hold, None)

    def given_again(self, hold: Hold, seq: int) -> None:
        """The engine took at `seq` what it did not know of. What a symbol is, and what reduces, its journal keeps."""
        with self._lock:
            standing = self._holds.setdefault(_key(hold), [])
            hold.owed, hold.seq = False, max(hold.seq, seq)
            if hold.symbol or hold.kind in REDUCING:
                self._drop(hold)
            elif hold not in standing and seq > self._lifted.get(hold.shard, 0):
                standing.append(hold)  # resumed meanwhile, and then stopped by this
            elif not standing:
                del self._holds[_key(hold)]

    def told(self, kind: str, shard: int, symbol: str = "") -> None:
        """An engine was told by itself what was owed there, or the contrary of it."""
        with self._lock:
            self._holds.pop((shard, kind, symbol), None)

    def killed(self) -> None:
        """There is a kill: what reduces and was owed before it is not given any more, as a kill ends it in an engine. From any
        thread, and from a signal handler."""
        self._killed = True

    def taken(self, hold: Hold, seq: int | None) -> None:
        """It stands in the journal at `seq`; None where that is not known: after every resume so far, then."""
        with self._lock:
            hold.seq = seq or max(UNKNOWN_SEQ, self._lifted.get(hold.shard, 0))
            if hold.seq < self._lifted.get(hold.shard, 0):
                self._drop(hold)
                return
            first, *others = [h for h in self._holds[_key(hold)] if h.seq]  # the first one counts for who and why
            if seq:
                first.owed = False
            for other in others:
                first.seq = max(first.seq, other.seq)
                self._drop(other)

    def refused(self, hold: Hold) -> None:
        """The engine did not take it."""
        with self._lock:
            self._drop(hold)

    def lifted(self, shard: int, seq: int) -> None:
        """A person's resume stands at `seq` of the shard's journal: what was given before is over."""
        with self._lock:
            self._lifted[shard] = max(seq, self._lifted.get(shard, 0))
            for hold in [h for holds in self._holds.values() for h in holds if h.shard == shard and 0 < h.seq < seq]:
                self._drop(hold)

    def _heed_kill(self) -> None:
        if self._killed:
            self._killed = False
            for key in [key for key in self._holds if key[1] in REDUCING]:
                del self._holds[key]

    def _drop(self, hold: Hold) -> None:
        left = [h for h in self._holds.pop(_key(hold), []) if h is not hold]
        if left:
            self._holds[_key(hold)] = left


def _key(hold: Hold) -> tuple[int, str, str]:
    return hold.shard, hold.kind, hold.symbol


def words(hold: Hold) -> str:
    """What was done, by whom and why."""
    what = f"{hold.symbol} paused" if hold.symbol else (WORDS | REDUCING)[hold.kind]
    return f"{what} by {hold.who or 'somebody'}" + (f" ({hold.why})" if hold.why else "")


class TreeLink(EngineLink):
    """The hand on the engine that commands of persons go through; what they stop is noted on the way."""

    def __init__(self, name: str, holds: Holds, written: Callable[[], None]) -> None:
        super().__init__(name)
        self._holds, self._write = holds, written

    def own(self, kind: str, *, shard: int, body: bytes = b"", request: Request, timeout_s: float = 2.0) -> Effect:
        """`send` of the supervisor's own commands, which are nobody's wish."""
        return super().send(kind, shard=shard, body=body, request=request, timeout_s=timeout_s)

    def send(self, kind: str, *, shard: int, body: bytes = b"", request: Request, timeout_s: float = 2.0,
             part: int = 0) -> Effect:
        """As EngineLink's."""
        def hand_on() -> Effect:
            return EngineLink.send(self, kind, shard=shard, body=body, request=request, timeout_s=timeout_s, part=part)

        if kind == "resume" and body == bodies.number(bodies.RESUME_DRAINED):
            effect = hand_on()
            self._holds.lifted(shard, effect.seq)
        elif kind in WORDS:
            hold = self._holds.given(kind, shard, request)
            try:
                effect = hand_on()
                self._holds.taken(hold, effect.seq)
            except EngineLinkError as err:
                if err.code == "refused":
                    self._holds.refused(hold)
                else:
                    self._holds.taken(hold, None)
                raise
            finally:
                self._write()
            return effect
        else:
            effect = hand_on()
            if kind in REDUCING:
                self._holds.told(kind, shard)
            elif kind in ("pause_symbol", "resume_symbol"):
                for owed in [h.symbol for h in self._holds.listed() if h.symbol]:
                    if (place := self.instruments.get(owed)) is not None and (place[0], bodies.number(place[1])) == (shard, body):
                        self._holds.told("pause_symbol", ANY_SHARD, owed)
            else:
                return effect
        self._write()
        return effect
