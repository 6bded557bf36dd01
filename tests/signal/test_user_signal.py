"""A quant's own compiled signal: value, status, and clear refusals."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hotpath.signal import user

FEATURES = np.arange(22, dtype=np.int32) * 3 - 20


def plain_signal(features):
    """Twice the imbalance less the position."""
    return 2 * features[2] - features[16]


def reads_past_the_end(features):
    if features[0] < 0:
        raise ValueError("below zero")
    return features[0]


def returns_a_float(features):
    return features[0] * 0.5


def cannot_compile(features):
    return open("x") + features  # noqa: SIM115, PTH123


def test_a_plain_function_is_compiled_and_returns_its_value() -> None:
    pytest.importorskip("numba")
    signal = user.load(f"{__name__}:plain_signal") if __name__ in sys.modules else user.UserSignal(plain_signal)
    assert signal(FEATURES) == (2 * (-14) - 28, 0)
    assert signal.address != 0


def test_an_njit_function_is_taken_as_it_is() -> None:
    numba = pytest.importorskip("numba")
    assert user.UserSignal(numba.njit(plain_signal))(FEATURES) == (-56, 0)


def test_a_cfunc_is_taken_and_still_reports_its_exceptions() -> None:
    numba = pytest.importorskip("numba")
    i32 = numba.types.int32

    @numba.cfunc(i32(numba.types.CPointer(i32), i32))
    def total(features, n):
        s = 0
        for i in range(n):
            s += features[i]
        if s < 0:
            raise ValueError("negative")
        return s

    signal = user.UserSignal(total)
    assert signal(FEATURES) == (int(FEATURES.sum()), 0)
    assert signal(-np.abs(FEATURES)) == (0, 1)


def test_an_exception_sets_the_status_so_that_the_shard_holds() -> None:
    pytest.importorskip("numba")
    signal = user.UserSignal(reads_past_the_end)
    assert signal(FEATURES) == (0, 1)
    assert signal(np.abs(FEATURES)) == (20, 0)


def test_a_float_result_is_refused() -> None:
    pytest.importorskip("numba")
    with pytest.raises(user.SignalError, match="returns float64, expected an integer"):
        user.UserSignal(returns_a_float)


def test_code_that_does_not_compile_is_refused_with_its_name() -> None:
    pytest.importorskip("numba")
    with pytest.raises(user.SignalError, match="'cannot_compile' does not compile"):
        user.UserSignal(cannot_compile)


@pytest.mark.parametrize(("path", "message"), [
    ("nonsense", "expected module:function"),
    ("no_such_module_here:f", "cannot import module 'no_such_module_here'"),
    ("hotpath.signal.user:missing", "has no 'missing'"),
])
def test_a_wrong_path_is_named(path: str, message: str) -> None:
    with pytest.raises(user.SignalError, match=message):
        user.load(path)


def test_without_numba_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(user.SignalError, match=r"peregrine-engine\[signals\]"):
        user.UserSignal(plain_signal)
