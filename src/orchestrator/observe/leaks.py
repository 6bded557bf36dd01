"""Does a process's memory grow for good? A slope that steps, ripples and outliers do not move, against a limit.

The estimate is Theil's abbreviated one (Theil 1950; each sample is paired with the one half a stretch later, and the
median of the pairs' slopes counts), made for both halves of a window, and the smaller of the two is taken: memory that
was taken once, however much, grows in one half only. Several windows, each four times the one before, let a fast leak be
seen early and a slow one at all.

What follows from it, in numbers (`alarms_after` computes them, the tests hold them):
- memory that does not grow and ripples by no more than `ripple_bytes`, peak to peak, never alarms;
- memory that grows by `rate` and ripples by `ripple` alarms once a window is full whose quarter is long enough for
  `(rate · quarter − ripple) > max(limit · quarter, ripple_bytes)`.
Only a process's own memory is watched (anonymous, swapped or not): mapped files and shared rings fill up by design.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from orchestrator.observe.profile import ProcessProfile

MB = 1_000_000
HOUR_S = 3600


@dataclass(frozen=True)
class LeakRule:
    """When growth is a leak. Samples come every `sample_s`; windows are numbers of samples, multiples of 4, rising."""

    limit_mb_per_hour: int = 64
    ripple_bytes: int = 8 * MB
    warm_up: int = 24
    windows: tuple[int, ...] = (32, 128, 512)
    sample_s: float = 5.0

    def __post_init__(self) -> None:
        """Raises ValueError for a rule that cannot work."""
        if not self.windows or any(w < 8 or w % 4 for w in self.windows) or list(self.windows) != sorted(set(self.windows)):
            raise ValueError(f"windows {self.windows}: rising multiples of 4, at least 8")
        if self.sample_s <= 0 or self.warm_up < 0:
            raise ValueError("sample_s above 0, warm_up not below")

    def quarter_s(self, window: int) -> float:
        """How far apart the samples of a pair lie."""
        return window // 4 * self.sample_s

    def over(self, slope: float, window: int) -> bool:
        """Is a slope in bytes a second, estimated over `window`, a leak?"""
        grown = slope * self.quarter_s(window)
        return self.limit_mb_per_hour > 0 and slope > self.limit_mb_per_hour * MB / HOUR_S and grown > self.ripple_bytes


def slope(values: Sequence[int], sample_s: float) -> float:
    """Growth in bytes a second: the smaller of the two halves' abbreviated Theil slopes. Takes 4·k values, k ≥ 2."""
    half = len(values) // 2
    return min(_theil(values[:half], sample_s), _theil(values[half:], sample_s))


def _theil(values: Sequence[int], sample_s: float) -> float:
    apart = len(values) // 2
    return median(values[i + apart] - values[i] for i in range(apart)) / (apart * sample_s)


def alarms_after(rule: LeakRule, rate_mb_per_hour: float, ripple_bytes: int = 0) -> int | None:
    """Samples after which a steady leak is certain to have alarmed, None for one that need not."""
    rate = rate_mb_per_hour * MB / HOUR_S
    for window in rule.windows:
        if rule.over(rate - ripple_bytes / rule.quarter_s(window), window):
            return rule.warm_up + window
    return None


@dataclass(frozen=True)
class Leak:
    """An alarm: `line` says it to a person."""

    process: str
    mb_per_hour: float
    since_start_mb: float
    minutes: float
    line: str


@dataclass
class _Series:
    identity: tuple[int, int]
    kept: deque[int]
    seen: int = 0
    first: int = 0
    alarm: Leak | None = None


@dataclass
class LeakWatch:
    """Fed by the supervisor, a sample of each process every `rule.sample_s`; a restart begins a new series."""

    rule: LeakRule = field(default_factory=LeakRule)
    _series: dict[str, _Series] = field(default_factory=dict)

    def add(self, process: str, profile: ProcessProfile) -> Leak | None:
        """Take a sample; an alarm when this one raises it (it stands in `alarms` until growth stops)."""
        return self.add_bytes(process, profile.anonymous_bytes, (profile.pid, profile.start_ticks))

    def add_bytes(self, process: str, held: int, identity: tuple[int, int] = (0, 0)) -> Leak | None:
        """The same from plain numbers; `identity` tells a process from the one before it."""
        series = self._series.get(process)
        if series is None or series.identity != identity:
            series = self._series[process] = _Series(identity, deque(maxlen=self.rule.windows[-1]))
        series.seen += 1
        if series.seen <= self.rule.warm_up:
            return None
        series.first = series.first or held
        series.kept.append(held)
        was, series.alarm = series.alarm, self._judge(process, series)
        return series.alarm if was is None else None

    def forget(self, process: str) -> None:
        """It is no longer of the tree."""
        self._series.pop(process, None)

    def alarms(self) -> dict[str, Leak]:
        """What leaks now."""
        return {name: s.alarm for name, s in self._series.items() if s.alarm is not None}

    def growth_mb_per_hour(self, process: str) -> float | None:
        """Slope over the longest window that is full; None before any is."""
        series = self._series.get(process)
        full = [w for w in self.rule.windows if series is not None and len(series.kept) >= w]
        if series is None or not full:
            return None
        return slope(list(series.kept)[-full[-1] :], self.rule.sample_s) * HOUR_S / MB

    def _judge(self, process: str, series: _Series) -> Leak | None:
        values = list(series.kept)
        for window in self.rule.windows:
            if len(values) < window:
                break
            rate = slope(values[-window:], self.rule.sample_s)
            if self.rule.over(rate, window):
                mb_per_hour, minutes = rate * HOUR_S / MB, window * self.rule.sample_s / 60
                grown = (values[-1] - series.first) / MB
                line = (f"{process} grows by {mb_per_hour:.0f} MB an hour over {minutes:.1f} min (limit {self.rule.limit_mb_per_hour}); "
                        f"{grown:+.1f} MB since it was warm")  # fmt: skip
                return Leak(process, mb_per_hour, grown, minutes, line)
        return None
