"""A quant's own signal: Python compiled by numba into a C function that the shard calls at each decision.

A signal is a function `f(features) -> int` over the int32 array of the schema (`hotpath.signal.schema.NAMES`), or a
ready `@numba.cfunc("int32(CPointer(int32), int32)")` over pointer and length. It is wrapped so that an exception
inside it sets a status word instead of vanishing (numba's C functions print and return 0): the shard then holds.

    import numba

    @numba.njit
    def lean(features):                      # or a plain `def`
        return features[2] // 4 - features[16]

    signal = load("my_signals:lean")         # or UserSignal(lean)
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

MISSING = ("user signals need numba, which is not installed; install the extra: "
           "pip install 'peregrine-engine[signals]'")


class SignalError(Exception):
    """A user's signal cannot be used: what was found, where, and what was expected."""


class UserSignal:
    """A compiled signal. `address` is what the shard calls; keep this object alive as long as the shard runs."""

    def __init__(self, function: Any, name: str = "") -> None:
        """Compile `function`: a plain function, an `njit` function, or a numba CFunc.

        Raises SignalError when numba is missing, when it does not compile, or when it does not return an integer.
        """
        self.name = str(name or getattr(function, "__name__", "") or getattr(function, "_wrapper_name", "signal"))
        self._cfunc = _compile(function, self.name)
        self.address: int = int(self._cfunc.address)

    def __call__(self, features: np.ndarray) -> tuple[int, int]:
        """(value, status) as the shard sees it; status 1 = it raised, value 0. features: int32[n]."""
        import hotpath._core as _core

        value, status = _core.call_user_signal(self.address, np.ascontiguousarray(features, np.int32))
        return int(value), int(status)


def load(path: str) -> UserSignal:
    """The signal named `module:function` (dots allowed in both), compiled.

    Raises SignalError naming the part that was not found.
    """
    module_name, colon, attribute = path.partition(":")
    if not (colon and module_name and attribute):
        raise SignalError(f"user signal: found {path!r}, expected module:function")
    try:
        target: Any = importlib.import_module(module_name)
    except ImportError as err:
        raise SignalError(f"user signal {path!r}: cannot import module {module_name!r}: {err}") from err
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise SignalError(f"user signal {path!r}: {module_name!r} has no {attribute!r}")
        target = getattr(target, part)
    return UserSignal(target, path)


def _compile(function: Any, name: str) -> Any:
    try:
        import numba
        from numba.core.ccallback import CFunc
        from numba.core.dispatcher import Dispatcher
    except ImportError as err:
        raise SignalError(MISSING) from err

    if isinstance(function, CFunc):
        takes_pointer = True
        inner = numba.njit(function._pyfunc)  # type: ignore[attr-defined]
    elif isinstance(function, Dispatcher):
        takes_pointer = False
        inner = function
    elif callable(function):
        takes_pointer = False
        inner = numba.njit(function)
    else:
        raise SignalError(f"user signal {name!r}: found {type(function).__name__}, expected a function")

    if takes_pointer:
        def wrapper(features, n, status):  # type: ignore[no-untyped-def]
            status[0] = 1
            try:
                value = inner(features, n)
            except Exception:
                return 0
            status[0] = 0
            return value
    else:
        def wrapper(features, n, status):  # type: ignore[no-untyped-def]
            status[0] = 1
            try:
                value = inner(numba.carray(features, n, numba.int32))
            except Exception:
                return 0
            status[0] = 0
            return value

    try:
        _check_returns_integer(numba, inner, takes_pointer, name)
        i32 = numba.types.int32
        signature = i32(numba.types.CPointer(i32), i32, numba.types.CPointer(i32))
        return numba.cfunc(signature, nopython=True, cache=False)(wrapper)
    except numba.core.errors.NumbaError as err:
        raise SignalError(f"user signal {name!r} does not compile: {_last_line(err)}") from err


def _check_returns_integer(numba: Any, inner: Any, takes_pointer: bool, name: str) -> None:
    i32 = numba.types.int32
    args = (numba.types.CPointer(i32), i32) if takes_pointer else (numba.types.Array(i32, 1, "C"),)
    inner.compile(args)
    returned = inner.overloads[args].signature.return_type
    if not isinstance(returned, (numba.types.Integer, numba.types.Boolean)):
        raise SignalError(f"user signal {name!r} returns {returned}, expected an integer (int32)")


def _last_line(err: Exception) -> str:
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return lines[0] if lines else type(err).__name__
