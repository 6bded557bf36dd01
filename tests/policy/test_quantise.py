"""Float networks become integer ones that fit the format and decide alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath.policy import artifact, oracle, quantise
from hotpath.policy.quantise import FloatLayer
from hotpath.signal import schema


def samples(rng: np.random.Generator, rows: int = 2000) -> np.ndarray:
    scale = 10.0 ** rng.uniform(0, 6, schema.COUNT)
    return np.clip(rng.normal(0, scale, (rows, schema.COUNT)), -(2**31), 2**31 - 1).astype(np.int32)


def float_mlp(rng: np.random.Generator, sizes: list[int], gain: float = 1.0) -> list[FloatLayer]:
    return [FloatLayer(rng.normal(0, gain / np.sqrt(a), (b, a)), rng.normal(0, 0.1 * gain, b))
            for a, b in zip(sizes, sizes[1:], strict=False)]


@pytest.mark.parametrize("sizes", [[16, 32, 16, 5], [16, 5], [16, 64, 32, 32, 5]], ids=str)
@pytest.mark.parametrize("gain", [0.05, 1.0, 8.0])
def test_the_integer_network_decides_as_the_float_one(sizes: list[int], gain: float) -> None:
    rng = np.random.default_rng(len(sizes))
    rows = samples(rng)
    network, report = quantise.from_float(float_mlp(rng, sizes, gain), range(16), rows)
    artifact.check_network(network, schema.COUNT, 5)
    assert report.argmax_agreement > 0.94, report
    assert report.samples == len(rows)


@given(seed=st.integers(0, 2**32), gain=st.floats(-3, 2), widths=st.lists(st.integers(1, 40), max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_float_network_of_sane_size_becomes_one_that_loads(seed: int, gain: float, widths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    rows = samples(rng, 200)
    try:
        network, _ = quantise.from_float(float_mlp(rng, [16, *widths, 5], 10.0**gain), range(16), rows)
    except ValueError as err:
        assert "express" in str(err)
        return
    artifact.check_network(network, schema.COUNT, 5)


def test_calibration_puts_the_percentile_at_the_end_of_int8() -> None:
    rng = np.random.default_rng(1)
    rows = rng.integers(-50_000, 50_001, (5000, 1))
    m, s = quantise.calibrate(rows, 100.0)
    q = oracle.quantise(rows, m, s)
    assert q.max() == 127 and q.min() in (-127, -128)
    assert abs(int(m[0]) / 2.0 ** int(s[0]) - 127 / np.abs(rows).max()) < 1e-4


def test_a_feature_that_is_always_zero_is_silenced() -> None:
    m, s = quantise.calibrate(np.array([[0, 3], [0, -3]]))
    assert m[0] == 0 and s[0] == 0 and m[1] > 0


def test_calibration_on_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="expected \\[N >= 1, features\\]"):
        quantise.calibrate(np.zeros((0, 3)))


def test_a_quantised_network_becomes_an_artifact_that_verifies() -> None:
    rng = np.random.default_rng(9)
    rows = samples(rng)
    network, _ = quantise.from_float(float_mlp(rng, [16, 32, 16, 5]), range(16), rows)
    made = artifact.make(network, name="fit", seed=9, samples=rows,
                         provenance={"data": [], "seed": 9, "versions": {"numpy": np.__version__}})
    loaded = artifact.parse(artifact.dump(made))
    assert all(artifact.verify(loaded).values())
    assert (loaded.parity_inputs[:32, None] == rows[None]).all(-1).any(1).all(), "samples are among the vectors"
