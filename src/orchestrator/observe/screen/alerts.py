"""What of two readings a person should be told: changes for the worse, and for the better again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.observe.panel import FEED_STATES, TRADING_STATES
from orchestrator.observe.screen.reading import ScreenReading
from orchestrator.observe.standing import breakers_of

GOOD, NOTE, WARN, BAD = "good", "note", "warn", "bad"
_LEVEL_OF_STATE = {1: GOOD, 2: WARN, 3: WARN, 4: WARN, 5: BAD, 6: BAD, 7: BAD}
TOLD_AGAIN_NS = 10_000_000_000  # what goes on and on is summed up, and told so often at most
JOURNAL_FREE_PERMILLE = 200
#: counter → (level, what one more of it is)
_RISING = {
    "gaps": (WARN, "feed gap"), "rejects": (WARN, "order refused by the venue"), "overruns": (BAD, "shard overrun by its feed"),
    "reconnects": (WARN, "order session connected again"), "malformed": (WARN, "feed message not understood"),
    "risk_rejects": (NOTE, "order refused by the gate"),
}  # fmt: skip


@dataclass(frozen=True)
class Alert:
    """One line of the log; `level` is good, note, warn or bad."""

    ts_ns: int
    level: str
    text: str
    times: int = 0  # of one that may come again and again: how often since the last; 0: it is told as it is


class Summed:
    """Keeps what repeats itself from pushing everything else out of the log."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._told_ns: dict[str, int] = {}

    def take(self, alerts: Sequence[Alert], now_ns: int) -> list[Alert]:
        """What to tell now: all that is told as it is, and the others with how often since they were told last."""
        out = [a for a in alerts if not a.times]
        for a in alerts:
            if a.times:
                self._held[a.text] = self._held.get(a.text, 0) + a.times
                if now_ns - self._told_ns.get(a.text, -TOLD_AGAIN_NS) >= TOLD_AGAIN_NS:
                    times = self._held.pop(a.text)
                    self._told_ns[a.text] = now_ns
                    out.append(Alert(a.ts_ns, a.level, a.text if times == 1 else f"{times:,} times: {a.text}"))
        return out


def alerts_between(before: ScreenReading | None, now: ScreenReading) -> list[Alert]:
    """What changed; with nothing before, what is not as it should be."""
    out: list[tuple[str, str]] = []
    repeated = _rising(before, now) if before is None or before.pid == now.pid else []
    if before is not None and before.pid != now.pid:
        out.append((WARN, f"another engine process: {before.pid} before, {now.pid} now"))
        before = None
    if not now.alive and (before is None or before.alive):
        out.append((BAD, "the engine process has ended"))
    for shard, counters in enumerate(now.shards):
        old: Mapping[str, int] = before.shards[shard] if before is not None and shard < len(before.shards) else {}
        out += [(level, f"{_of(now, shard)}{text}") for level, text in _states(old, counters)]
    out += _limits(before, now)
    if now.kill_level and (before is None or before.kill_level != now.kill_level):
        out.append((BAD, "kill word set: " + {1: "cancel all", 2: "cancel all and flatten"}.get(now.kill_level, str(now.kill_level))))
    if before is not None and before.kill_level and not now.kill_level:
        out.append((GOOD, "kill word lifted"))
    return [Alert(now.taken_ns, level, text) for level, text in out] + repeated


def _of(now: ScreenReading, shard: int) -> str:
    return f"shard {shard}: " if len(now.shards) > 1 else ""


def _states(old: Mapping[str, int], new: Mapping[str, int]) -> list[tuple[str, str]]:
    out = []
    feed, trading = new.get("feed_state", 0), new.get("trading_state", 0)
    if feed != old.get("feed_state", 2):
        out.append((GOOD if feed == 2 else BAD, f"feed {_word(FEED_STATES, feed)}"))
    if new.get("session_ready", 0) != old.get("session_ready", 1):
        out.append((GOOD, "order session ready") if new.get("session_ready") else (BAD, "order session not ready"))
    if trading != old.get("trading_state", 1):
        tripped = breakers_of(new) if trading in (5, 7) else ""
        out.append((_LEVEL_OF_STATE.get(trading, NOTE), f"engine {_word(TRADING_STATES, trading)}" + (f": {tripped}" if tripped else "")))
    ring, before = _ring_low(new), _ring_low(old)
    if ring and not before:
        out.append((BAD, "journal's ring is nearly full"))
    return out


def _ring_low(counters: Mapping[str, int]) -> bool:
    size = counters.get("journal_ring_bytes", 0)
    return size > 0 and counters.get("journal_free_bytes", 0) * 1000 < size * JOURNAL_FREE_PERMILLE


def _rising(before: ScreenReading | None, now: ScreenReading) -> list[Alert]:
    if before is None:
        return []
    more = {name: now[name] - before[name] for name in _RISING}
    return [Alert(now.taken_ns, level, what, more[name]) for name, (level, what) in _RISING.items() if more[name] > 0]


def _limits(before: ScreenReading | None, now: ScreenReading) -> list[tuple[str, str]]:
    old = {use.name: use.permille for use in before.limits} if before is not None else {}
    out = []
    for use in now.limits:
        was = old.get(use.name, 0)
        if use.permille >= 1000 > was:
            out.append((BAD, f"{use.name} at its limit"))
        elif use.permille >= now.soft_permille > was:
            out.append((WARN, f"{use.name} in its soft zone: {use.permille / 10:.0f} % of the limit"))
    return out


def _word(words: tuple[str, ...], index: int) -> str:
    return words[index] if 0 <= index < len(words) else f"state {index}"
