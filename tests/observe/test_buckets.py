"""The engine's buckets as Prometheus' buckets, against counting the values one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.observe import buckets, telemetry

SUB_BITS, N = 8, 8960
VALUES = st.one_of(
    st.integers(0, 2**42 - 1), st.integers(0, 2_000), st.sampled_from(buckets.bounds_ns(SUB_BITS, N)),
    st.sampled_from([b + 1 for b in buckets.bounds_ns(SUB_BITS, N)]),
)  # fmt: skip


def view_of(values):
    return telemetry.read(telemetry.build({}, {"h": values}, [])).histograms["h"]


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, max_size=50))
def test_each_bound_counts_exactly_the_values_at_or_below_it(values):
    got = buckets.cumulative(view_of(values))
    for bound, n in got:
        assert n == sum(bound is None or value <= bound for value in values)


@settings(max_examples=30, deadline=None)
@given(st.lists(VALUES, max_size=30), st.lists(VALUES, max_size=30))
def test_what_is_added_later_only_adds(before, more):
    first, second = buckets.cumulative(view_of(before)), buckets.cumulative(view_of(before + more))
    added = buckets.cumulative(view_of(more))
    assert [(b, n + m) for (b, n), (_, m) in zip(first, added, strict=True)] == second


def test_no_value_is_lost_or_counted_twice_between_two_bounds():
    rng = np.random.default_rng(3)
    values = [int(v) for v in np.exp(rng.uniform(0, np.log(2**42), 5000))]
    got = buckets.cumulative(view_of(values))
    parts = np.diff([0] + [n for _, n in got])
    assert parts.sum() == len(values) and (parts >= 0).all() and got[-1] == (None, len(values))


def test_the_engines_own_histogram_gives_the_same_counts():
    core = pytest.importorskip("hotpath._core")
    values = [0, 1, 99, 100, 101, 511, 512, 999, 1000, 1001, 70_000, 10**9, 2**41, *range(0, 50_000, 37)]
    histogram = core.Histogram()
    for value in values:
        histogram.record(value)
    counts = np.zeros(N, "<u8")
    for value in values:  # as the engine files them; its own bucket arithmetic is compared in test_telemetry
        counts[telemetry.bucket_of(value, SUB_BITS, N)] += 1
    got = buckets.cumulative(telemetry.HistogramView("h", counts, SUB_BITS, max(values)))
    assert got[-1][1] == histogram.count == len(values)
    for bound, n in got[:-1]:
        assert n == sum(v <= bound for v in values)


def test_bounds_rise_and_stay_close_to_the_ladder():
    bounds = buckets.bounds_ns(SUB_BITS, N)
    assert list(bounds) == sorted(set(bounds)) and bounds[0] == 100
    assert all(telemetry.bucket_high(telemetry.bucket_of(b, SUB_BITS, N), SUB_BITS) == b for b in bounds)
    assert all(0.995 < b / w <= 1 for b, w in zip(bounds[::6], (10**k for k in range(2, 11)), strict=True))
