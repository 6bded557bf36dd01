"""The histogram against numpy on the same values, within the error its header promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotpath import _core

PER_MILLE = [0, 10, 250, 500, 750, 900, 990, 999, 1000]
VALUES = st.integers(0, _core.Histogram.MAX_VALUE)


def of(values) -> _core.Histogram:
    h = _core.Histogram()
    h.record_many(np.asarray(values, np.int64))
    return h


def rank_value(values: np.ndarray, per_mille: int) -> int:
    """The smallest value that at least per_mille ‰ of the values do not pass, by whole numbers."""
    rank = max(1, -(-per_mille * len(values) // 1000))
    return int(np.sort(values)[rank - 1])


@given(st.lists(VALUES, min_size=1, max_size=300), st.integers(0, 1000))
def test_percentiles_are_at_most_one_part_in_256_too_high(values, per_mille):
    exact = rank_value(np.array(values), per_mille)
    assert exact <= of(values).percentile(per_mille / 10) <= exact + exact // 256


@pytest.mark.parametrize("seed", range(4))
def test_large_samples_of_many_shapes_agree_with_numpy(seed):
    rng = np.random.default_rng(seed)
    values = [rng.integers(0, 10**6, 50_000), rng.lognormal(8, 2, 50_000).astype(np.int64),
              rng.exponential(5e4, 50_000).astype(np.int64), np.full(50_000, 512)][seed]
    h = of(values)
    for per_mille in PER_MILLE:
        exact = rank_value(values, per_mille)
        assert exact <= h.percentile(per_mille / 10) <= exact + exact // 256
    assert h.mean == pytest.approx(values.mean())
    assert h.standard_deviation == pytest.approx(values.std(), rel=0.01, abs=1)
    assert (h.count, h.min, h.max, h.sum) == (len(values), values.min(), values.max(), values.sum())


@given(st.lists(VALUES, max_size=100))
def test_each_value_lies_in_its_bucket(values):
    for low, high, n in of(values).buckets():
        assert n == sum(low <= v <= high for v in values)
        assert high - low <= max(0, low // 256)


def test_buckets_follow_each_other_without_a_hole():
    edges = sorted({max(0, (1 << k) + d) for k in range(42) for d in (-2, -1, 0, 1, 2)})
    found = [(low, high) for low, high, _ in of(edges).buckets()]
    assert all(low <= high for low, high in found)
    assert all(a[1] < b[0] for a, b in zip(found, found[1:], strict=False))
    for value in edges:
        assert sum(low <= value <= high for low, high in found) == 1


@given(st.lists(VALUES, max_size=50), st.lists(VALUES, max_size=50))
def test_a_merge_equals_recording_both(first, second):
    merged = of(first)
    merged.merge(of(second))
    assert merged.to_bytes() == of(first + second).to_bytes()


def test_values_out_of_range_are_counted_and_not_lost():
    h = of([-5, -1, 7, _core.Histogram.MAX_VALUE + 1, 2**62])
    assert (h.count, h.negative, h.clamped) == (5, 2, 2)
    assert (h.min, h.max) == (0, 2**62)
    assert h.percentile(100) == 2**62
    assert h.percentile(50) == 7


def test_an_empty_histogram_answers_zero():
    h = _core.Histogram()
    assert (h.count, h.min, h.max, h.mean, h.percentile(99)) == (0, 0, 0, 0.0, 0)
    assert "Total count    =            0]" in h.hgrm()


def test_record_n_equals_n_records():
    a, b = _core.Histogram(), of([300] * 5)
    a.record_n(300, 5)
    assert a.to_bytes() == b.to_bytes()


def test_reset_empties():
    h = of([1, 2, 3])
    h.reset()
    assert h.to_bytes() == _core.Histogram().to_bytes()


def test_999_of_1000_is_not_rounded_up_to_the_maximum():
    assert of([1] * 999 + [9]).percentile(99.9) == 1
    assert of([1] * 998 + [9] * 2).percentile(99.9) == 9


def test_the_percentile_text_is_readable_by_plotters():
    values = np.random.default_rng(1).integers(1, 100_000, 20_000)
    h = of(values)
    lines = h.hgrm(unit=1000).splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = [line.split() for line in lines if line and not line.startswith("#")][1:]
    numbers = np.array([[float(x) for x in row[:3]] for row in rows])
    assert (np.diff(numbers, axis=0) >= 0).all()
    for value, share, total in numbers:
        assert (values <= value * 1000 + 0.5).sum() == total == round(share * len(values))
    assert numbers[-1, 1] == 1.0
    assert len(rows[-1]) == 3  # no 1/(1-1)
    assert all(float(row[3]) == pytest.approx(1 / (1 - float(row[1])), rel=0.01) for row in rows[:-1])
    assert lines[-2] == f"#[Max     = {values.max() / 1000:12.3f}, Total count    = {len(values):12d}]"


def test_a_histogram_in_shared_memory_is_read_through_a_snapshot():
    h = of([5, 500, 50_000])
    padded = bytearray(64) + h.to_bytes()
    copy = _core.Histogram.from_buffer(padded, 64)
    assert copy.to_bytes() == h.to_bytes()


def test_memory_that_holds_no_histogram_is_refused():
    with pytest.raises(ValueError, match="no histogram"):
        _core.Histogram.from_buffer(bytes(_core.Histogram.BYTES))
    with pytest.raises(ValueError, match="needs"):
        _core.Histogram.from_buffer(bytes(100))
    with pytest.raises(ValueError, match="needs"):
        _core.Histogram.from_buffer(_core.Histogram().to_bytes(), 8)


def test_only_int64_is_recorded():
    with pytest.raises(TypeError, match="int64"):
        _core.Histogram().record_many(np.zeros(3, np.float64))
