"""From the engine's fine buckets to Prometheus' few, exactly: no value lost, none counted twice, none in the wrong one.

The engine counts nanoseconds in log-linear buckets (drawn in telemetry.py). A Prometheus bound is cumulative: "le" counts
the values at or below it. So a bound is exact only where a fine bucket ends; `bounds_ns` takes the ends next below a
1-1.5-2-3-5-7 ladder. That is why a bound reads 9.99e-07 and not 1e-06: the fine bucket of 1,000 ns holds 1,001 ns too.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from orchestrator.observe.telemetry import HistogramView, bucket_high, bucket_of

STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
LOWEST_NS, HIGHEST_NS = 100, 10_000_000_000


@lru_cache
def bounds_ns(sub_bits: int, counts_n: int) -> tuple[int, ...]:
    """Upper bounds, ascending, from 100 ns to 10 s; each the highest value of a fine bucket."""
    wanted, decade = [], LOWEST_NS
    while decade <= HIGHEST_NS:
        wanted += [round(step * decade) for step in STEPS if step * decade <= HIGHEST_NS]
        decade *= 10
    return tuple(sorted({_end_at_or_below(value, sub_bits, counts_n) for value in wanted}))


def _end_at_or_below(value_ns: int, sub_bits: int, counts_n: int) -> int:
    bucket = bucket_of(value_ns, sub_bits, counts_n)
    return value_ns if bucket_high(bucket, sub_bits) == value_ns else bucket_high(bucket - 1, sub_bits)


@lru_cache
def _last_buckets(sub_bits: int, counts_n: int) -> np.ndarray:
    return np.array([bucket_of(bound, sub_bits, counts_n) for bound in bounds_ns(sub_bits, counts_n)])


def cumulative(view: HistogramView) -> list[tuple[int | None, int]]:
    """`[(bound in ns, values at or below it), …, (None, all)]`; None is +Inf."""
    running = np.cumsum(view.counts)
    at = running[_last_buckets(view.sub_bits, len(view.counts))]
    pairs: list[tuple[int | None, int]] = [
        (bound, int(n)) for bound, n in zip(bounds_ns(view.sub_bits, len(view.counts)), at, strict=True)
    ]
    return [*pairs, (None, int(running[-1]))]
