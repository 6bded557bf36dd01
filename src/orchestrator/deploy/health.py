"""Is an engine well, and is it as well as before? Judged from readings of its shared memory, with integers only.

What ends a deploy at once: the engine is gone or another one, it does not beat, it was killed, its journal stopped it.
What is judged over the window: orders the venue refused, orders the gate refused, stale books, a session that is not ready,
an engine that traded before and sends nothing now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.observe.segment import Segment, SegmentError
from orchestrator.observe.shards import read_engine
from orchestrator.observe.telemetry import TelemetryError

LIVE = 2
DRAINING, KILLED, JOURNAL_STOPPED, PAUSED = 4, 5, 6, 3
_STATES = {DRAINING: "draining", KILLED: "killed", JOURNAL_STOPPED: "stopped by its journal", PAUSED: "paused"}
POLL_S = 0.1
#: why the gate refuses what a pause, a restriction or fewer active symbols keep from opening: meant by a deploy that has one
QUIETED = ("paused", "restricted", "reduce_only")
MEANT = "refused_as_quieted"  # such refusals so far, beside the engine's counters in a Reading


@dataclass(frozen=True)
class Reading:
    """One look at an engine. `at_ns`: this process's monotonic clock."""

    at_ns: int
    alive: bool
    epoch: int = 0
    heartbeat_ns: int = 0
    kill_level: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.counters.get(name, 0)


@dataclass(frozen=True)
class Thresholds:
    """What is still well. From `observe.alerts` of the configuration that ran before: a bad one cannot excuse itself."""

    heartbeat_after_s: int = 2
    stale_after_s: int = 5
    reject_permille: int = 50  # of the orders sent, refused by the venue
    refused_permille: int = 300  # of the orders asked for, refused by the gate; or twice the share before
    least: int = 10  # fewer than so many say nothing
    quiet_after: int = 5  # orders before the change, from which silence after it is a finding

    @classmethod
    def of(cls, effective: Mapping[str, Any]) -> Thresholds:
        """Those of a configuration."""
        alerts = effective["observe"]["alerts"]
        return cls(heartbeat_after_s=alerts["heartbeat_after_s"], stale_after_s=alerts["stale_after_s"],
                   reject_permille=alerts["reject_ratio_permille"])  # fmt: skip


def read(name: str) -> Reading:
    """A look at the engine called `name`; one that cannot be read is not alive."""
    try:
        with Segment(name) as segment:
            status = segment.status()
            snapshot = read_engine(segment)
            counters = {**snapshot.counters, MEANT: sum(snapshot.rejects.get(reason, 0) for reason in QUIETED)}
    except (SegmentError, TelemetryError):
        return Reading(time.monotonic_ns(), alive=False)
    alive = status.alive and status.state != "ended"
    return Reading(time.monotonic_ns(), alive, status.epoch, status.heartbeat_ns, status.kill_level, counters)


def broken(before: Reading, beat_at_ns: int, now: Reading, limits: Thresholds) -> str:
    """What needs no more waiting, in words; "" when there is no such thing. `beat_at_ns`: when the heartbeat last moved."""
    if not now.alive:
        return "the engine is gone"
    if now.epoch != before.epoch:
        return f"the engine is another one: epoch {now.epoch}, was {before.epoch}"
    if now.kill_level > before.kill_level:
        return f"the kill word was set, level {now.kill_level}"
    if now["trading_state"] in (KILLED, JOURNAL_STOPPED, DRAINING) and before["trading_state"] != now["trading_state"]:
        return f"the engine is {_STATES[now['trading_state']]}"
    if now.at_ns - beat_at_ns > limits.heartbeat_after_s * 1_000_000_000:
        return f"no heartbeat for {(now.at_ns - beat_at_ns) // 1_000_000} ms"
    return ""


def sick(reading: Reading) -> list[str]:
    """What keeps an engine from being changed at all."""
    if not reading.alive:
        return ["the engine is not there"]
    out = []
    if reading.kill_level or reading["trading_state"] in (KILLED, JOURNAL_STOPPED, DRAINING):
        out.append(f"it does not trade: {_STATES.get(reading['trading_state'], 'the kill word is set')}")
    if not reading["session_ready"]:
        out.append("its order session is not ready")
    if reading["feed_state"] != LIVE:
        out.append("its books are not live")
    return out


def judge(baseline: tuple[Reading, Reading], window: tuple[Reading, Reading], limits: Thresholds, *, may_be_quiet: bool = False) -> list[str]:
    """Everything that is worse in the window than it may be; empty when it is well. `may_be_quiet`: the change itself keeps
    symbols from opening, so that neither silence nor refusals of those are a fault."""
    out = []
    was, now = Span(*baseline), Span(*window)
    last, before = window[1], baseline[1]
    if not last["session_ready"] and before["session_ready"]:
        out.append("the order session is not ready any more")
    if last["trading_state"] == PAUSED != before["trading_state"]:
        out.append("trading is paused")
    stale_ns = now["stale_ns"]
    if stale_ns > limits.stale_after_s * 1_000_000_000:
        out.append(f"books were stale for {stale_ns // 1_000_000} ms")
    if last["feed_state"] != LIVE and before["feed_state"] == LIVE:
        out.append("the books are not live any more")
    sent, rejected = now["orders"], now["rejects"]
    if rejected >= limits.least and rejected * 1000 > max(limits.reject_permille, 2 * _permille(was["rejects"], was["orders"])) * sent:
        out.append(f"the venue refused {rejected} of {sent} orders")
    refused, usual = now["risk_rejects"], _permille(was["risk_rejects"], was["orders"] + was["risk_rejects"])
    if may_be_quiet:
        refused = max(0, refused - now[MEANT])
    asked = sent + refused
    if refused >= limits.least and refused * 1000 > max(limits.refused_permille, 2 * usual) * asked:
        out.append(f"the gate refused {refused} of {asked} orders ({usual} of 1,000 before)")
    if not may_be_quiet and was["orders"] >= limits.quiet_after and sent == 0:
        out.append(f"no order was sent; {was['orders']} in {was.ms} ms before")
    return out


@dataclass(frozen=True)
class Span:
    """What happened between two readings."""

    first: Reading
    last: Reading

    def __getitem__(self, name: str) -> int:
        return self.last[name] - self.first[name]

    @property
    def ms(self) -> int:
        """How long it was."""
        return (self.last.at_ns - self.first.at_ns) // 1_000_000


def observe(look: Callable[[], Reading], for_s: float, limits: Thresholds, *, before: Reading | None = None,
            sleep: Callable[[float], None] = time.sleep) -> tuple[Reading, Reading, str]:
    """First and last reading of `for_s` seconds, and what ended it early, if anything did."""
    first = last = look()
    before = before or first
    beat_at_ns = first.at_ns
    while True:
        if why := broken(before, beat_at_ns, last, limits):
            return first, last, why
        if last.at_ns - first.at_ns >= for_s * 1e9:
            return first, last, ""
        sleep(POLL_S)
        now = look()
        if now.heartbeat_ns != last.heartbeat_ns:
            beat_at_ns = now.at_ns
        last = now


def _permille(part: int, whole: int) -> int:
    return part * 1000 // whole if whole > 0 else 0
