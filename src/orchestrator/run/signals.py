"""A quant's own signal, named `module:function`, compiled once at start."""

from __future__ import annotations

import sys
from typing import Any

from orchestrator.config.problems import ConfigError, Problem


def load_signal(name: str) -> Any:
    """The compiled signal of `module:function` (numba @cfunc or @njit); it must be kept alive while it is used.

    The current folder is searched too. Raises ConfigError when it cannot be imported or compiled.
    """
    from hotpath.signal import user

    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return user.load(name)
    except user.SignalError as err:
        raise ConfigError([Problem("policies.signal", str(err), "module:function of a numba @cfunc", "pip install 'peregrine-engine[signals]'")]) from err

