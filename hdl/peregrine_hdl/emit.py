"""Verilog of a core: flat port names, no source positions, the same bytes for the same set and options."""

from __future__ import annotations

import os
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Value

from peregrine_hdl.core import Core

TOP = "peregrine_core"


def verilog_text(core: Core, top: str = TOP) -> str:
    """The Verilog; ports `clk`, `rst`, and `i_` and `o_` with `valid`, `ready`, `payload`."""
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")  # the pinned wheel, not whichever the system has
    ports: dict[str, Any] = {f"{side}_{name}": (Value.cast(getattr(getattr(core, side), name)), None)
                             for side in ("i", "o") for name in ("valid", "ready", "payload")}
    text: str = verilog.convert(core, name=top, ports=ports, emit_src=False, strip_internal_attrs=True)
    return text
