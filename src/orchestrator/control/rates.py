"""How often a caller may ask: a token bucket each, refilled by the second, of a bounded number of callers."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MAX_BUCKETS = 4096


class Rates:
    """`per_s` requests a second for each caller, and as many at once after a pause; as many again of each `kind` that is
    counted apart."""

    def __init__(self, per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s = per_s
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()  # name and kind → (tokens, when)

    def take(self, name: str, kind: str = "") -> bool:
        """One more request of `name`: may it pass?"""
        now = self._clock()
        bucket = (name, kind)
        tokens, then = self._buckets.pop(bucket, (float(self.per_s), now))
        tokens = min(float(self.per_s), tokens + (now - then) * self.per_s)
        passes = tokens >= 1.0
        self._buckets[bucket] = (tokens - 1.0 if passes else tokens, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return passes
