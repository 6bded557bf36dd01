"""Verilog of a core or a device: flat port names, no source positions, the same bytes for the same set and options."""

from __future__ import annotations

import os
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Value

from peregrine_hdl.baked_port import BakedPort
from peregrine_hdl.core import Core
from peregrine_hdl.device import Caps, Device

TOP = "peregrine_core"
DEVICE_TOP = "peregrine_device"


def verilog_text(core: Core, top: str = TOP) -> str:
    """The Verilog; ports `clk`, `rst`, and `i_` and `o_` with `valid`, `ready`, `payload`."""
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")  # the pinned wheel, not whichever the system has
    ports: dict[str, Any] = {f"{side}_{name}": (Value.cast(getattr(getattr(core, side), name)), None)
                             for side in ("i", "o") for name in ("valid", "ready", "payload")}
    text: str = verilog.convert(core, name=top, ports=ports, emit_src=False, strip_internal_attrs=True)
    return text


def baked_device(core: Core, policy_version: int, *, push_slots: int = 4, core_clock_khz: int = 0) -> Device:
    """The device around a baked core of one policy, whose version stands in the completions."""
    network = core.policies.networks[0]
    caps = Caps("baked", slots=1, banks=0, lanes=0, max_inputs=len(core.features), max_width=max([0, *network.sizes[1:-1]]),
                max_layers=len(network.layers), max_outputs=core.actions, core_clock_khz=core_clock_khz,
                policy_version=policy_version)
    return Device(BakedPort(core), caps, push_slots=push_slots)


def device_text(device: Device, top: str = DEVICE_TOP) -> str:
    """The Verilog; ports as `device.py` names them."""
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    text: str = verilog.convert(device, name=top, emit_src=False, strip_internal_attrs=True)
    return text
