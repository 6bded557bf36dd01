"""How often a caller may ask: a token bucket each, refilled by the second, of a bounded number of callers."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_CALLERS = 1024


class Rates:
    """`per_s` requests a second for each caller, and as many at once after a pause."""

    def __init__(self, per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s = per_s
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name → (tokens, when)

    def take(self, name: str) -> bool:
        """One more request of `name`: may it pass?"""
        now = self._clock()
        tokens, then = self._buckets.pop(name, (float(self.per_s), now))
        tokens = min(float(self.per_s), tokens + (now - then) * self.per_s)
        passes = tokens >= 1.0
        self._buckets[name] = (tokens - 1.0 if passes else tokens, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return passes
