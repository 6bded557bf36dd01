"""Verilog of a loadable core, and its manifest: what the build holds, how many cycles, and which image it takes."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Shape, Value
from amaranth.lib.wiring import In

from peregrine_hdl import bank_image
from peregrine_hdl.device import Caps, Device
from peregrine_hdl.emit import DEVICE_TOP, device_text
from peregrine_hdl.loadable import LoadableCore
from peregrine_hdl.loadable_limits import BANKS, LARGEST, LAYER_CYCLES, REQUEST_CYCLES, Limits
from peregrine_hdl.registers import (
    KINDS,
    LAYOUT_VERSION,
    MAP_SHA256,
    MAX_INPUTS,
    MAX_LAYERS,
    MAX_OUTPUTS,
    MAX_WIDTH,
)

TOP = "peregrine_loadable"
FORMAT, VERSION = "peregrine.core", 1
STREAMS = ("i", "o", "bank_cmd", "bank_reply")
EXAMPLES = ((16, 64, 32, 32, 5), LARGEST)
FORMULA = "{request} + sum over layers of (ceil(outputs / lanes) * inputs + {layer})"


def core_ports(core: LoadableCore) -> dict[str, Any]:
    """Flat names of the core's ports."""
    ports: dict[str, Any] = {
        f"{side}_{name}": (Value.cast(getattr(getattr(core, side), name)), None)
        for side in STREAMS
        for name in ("valid", "ready", "payload")
    }
    ports["parity_error"] = (core.parity_error, None)
    if core.upsets:
        ports["upset"] = (Value.cast(core.upset), None)
    return ports


def loadable_verilog(core: LoadableCore, top: str = TOP) -> str:
    """The Verilog; ports `clk`, `rst`, each stream's `valid`, `ready`, `payload`, and `parity_error`."""
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")  # the pinned wheel, not whichever the system has
    text: str = verilog.convert(core, name=top, ports=core_ports(core), emit_src=False, strip_internal_attrs=True)
    return text


def loadable_manifest(core: LoadableCore, text: str, top: str = TOP) -> dict[str, Any]:
    """The manifest of a core whose Verilog is `text`."""
    limits = core.limits
    return {
        "format": FORMAT, "version": VERSION, "variant": "loadable", "top": top,
        "lanes": limits.lanes, "slots": limits.slots, "banks": BANKS, "kinds": KINDS,
        "limits": {"inputs": MAX_INPUTS, "width": MAX_WIDTH, "layers": MAX_LAYERS, "outputs": MAX_OUTPUTS},
        "memories": {"weight_rows": limits.weight_rows, "channel_rows": limits.channel_rows,
                     "layer_entries": limits.layer_entries},
        "cycles": {"formula": FORMULA.format(request=REQUEST_CYCLES, layer=LAYER_CYCLES), "request": REQUEST_CYCLES,
                   "layer": LAYER_CYCLES,
                   "examples": {"-".join(map(str, sizes)): limits.cycles(sizes) for sizes in EXAMPLES}},
        "image_version": bank_image.IMAGE_VERSION, "bank_words": bank_image.max_words(limits),
        "regions": {name: bank_image.words_of(r, limits) for r, name in enumerate(bank_image.REGIONS)},
        "ports": {name: {"bits": len(value)} for name, (value, _) in core_ports(core).items()},
        "register_map_hash": MAP_SHA256,
        "verilog_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }  # fmt: skip


def loadable_device(limits: Limits, *, push_slots: int = 4, core_clock_khz: int = 0, core: LoadableCore | None = None) -> Device:
    """The device around a loadable core."""
    caps = Caps("loadable", slots=limits.slots, banks=BANKS, lanes=limits.lanes, max_inputs=MAX_INPUTS, max_width=MAX_WIDTH,
                max_layers=MAX_LAYERS, max_outputs=MAX_OUTPUTS, bank_words=bank_image.max_words(limits),
                core_clock_khz=core_clock_khz)
    return Device(core or LoadableCore(limits), caps, push_slots=push_slots)


def emit_loadable_device(limits: Limits, *, push_slots: int = 4, core_clock_khz: int = 0) -> tuple[str, dict[str, Any]]:
    """(Verilog, manifest) of a build with the device around it."""
    core = LoadableCore(limits)
    device = loadable_device(limits, push_slots=push_slots, core_clock_khz=core_clock_khz, core=core)
    text = device_text(device)
    ports = {name: {"dir": "in" if member.flow == In else "out", "bits": Shape.cast(member.shape).width}
             for name, member in device.signature.members.items()}
    described = {**loadable_manifest(core, text, DEVICE_TOP), "variant": "loadable-device", "ports": ports,
                 "layout_version": LAYOUT_VERSION, "push_slots": push_slots, "core_clock_khz": core_clock_khz}
    return text, described


def emit_loadable(limits: Limits) -> tuple[str, dict[str, Any]]:
    """(Verilog, manifest) of a build."""
    core = LoadableCore(limits)
    text = loadable_verilog(core)
    return text, loadable_manifest(core, text)
