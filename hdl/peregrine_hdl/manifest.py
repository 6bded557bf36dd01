"""What a core is, as JSON beside its Verilog: timing, widths, ports, and the hashes of what it was made from and into.

The same set and options give the same bytes; no time, path or machine stands in it.

register_map_hash names the interface that software relies on: SHA-256 of the canonical JSON (keys sorted, no spaces) of
`ports`. A baked core has no registers to write, so its payload layouts are that interface. A device's is the hash of its
description, `registers.MAP_SHA256`, whose first word its register map_hash holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data
from amaranth.lib.wiring import In

from peregrine_hdl.core import Core
from peregrine_hdl.device import Device
from peregrine_hdl.registers import LAYOUT_VERSION, MAP_SHA256
from peregrine_hdl.shift_add import bits

FORMAT, VERSION = "peregrine.gateware", 1


@dataclass(frozen=True)
class PolicyName:
    """What the manifest says of a policy beside its network."""

    name: str
    sha256: str


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def ports(core: Core) -> dict[str, Any]:
    """The core's ports; of a payload, each field's first bit, width and sign."""
    return {
        "clk": {"dir": "in", "bits": 1}, "rst": {"dir": "in", "bits": 1},
        "i_valid": {"dir": "in", "bits": 1}, "i_ready": {"dir": "out", "bits": 1},
        "i_payload": {"dir": "in", "bits": core.i.payload.shape().size, "fields": _fields(core.i.payload.shape())},
        "o_valid": {"dir": "out", "bits": 1}, "o_ready": {"dir": "in", "bits": 1},
        "o_payload": {"dir": "out", "bits": core.o.payload.shape().size, "fields": _fields(core.o.payload.shape())},
    }


def set_hash(names: Sequence[PolicyName]) -> str:
    """As the engine names a set (docs/formats-policy.md): its version is the first 8 bytes of this hash."""
    return hashlib.sha256(b"".join(bytes.fromhex(n.sha256) for n in names)).hexdigest()


def device_manifest(device: Device, core: Core, names: Sequence[PolicyName], verilog: str, top: str) -> dict[str, Any]:
    """The manifest of a device around `core`: the core's, with the device's ports and its register map's hash."""
    ports = {name: {"dir": "in" if member.flow == In else "out", "bits": Shape.cast(member.shape).width}
             for name, member in device.signature.members.items()}
    return {**manifest(core, names, verilog, top), "variant": "baked-device", "ports": ports,
            "register_map_hash": MAP_SHA256, "layout_version": LAYOUT_VERSION, "push_slots": device.push.slots,
            "core_clock_khz": device.caps.core_clock_khz}


def manifest(core: Core, names: Sequence[PolicyName], verilog: str, top: str) -> dict[str, Any]:
    """The manifest of a core whose Verilog is `verilog`."""
    described = ports(core)
    policy_hash = set_hash(names)
    return {
        "format": FORMAT, "version": VERSION, "variant": "baked", "top": top,
        "cycles": core.cycles, "ii": 1, "adds_per_stage": core.adds_per_stage, "extra_levels": core.extra_levels,
        "adders": core.adders, "products": sum(layer.weights.size for n in core.policies.networks for layer in n.layers),
        "features": core.features, "actions": core.actions, "quorum_256": core.policies.quorum_256,
        "policy_hash": policy_hash, "set_version": policy_hash[:16],
        "policies": [_policy(core, p, name) for p, name in enumerate(names)],
        "blocks": _blocks(core),
        "ports": described, "register_map_hash": hashlib.sha256(canonical(described).encode()).hexdigest(),
        "verilog_sha256": hashlib.sha256(verilog.encode()).hexdigest(),
    }


def _fields(layout: data.Layout) -> dict[str, Any]:
    found = {}
    for name, field in layout:
        inner, count = field.shape, []
        while isinstance(inner, data.ArrayLayout):
            count.append(inner.length)
            inner = inner.elem_shape
        shape = Shape.cast(inner)
        found[str(name)] = {"first_bit": field.offset, "bits": shape.width, "signed": shape.signed, "count": count}
    return found


def _policy(core: Core, p: int, name: PolicyName) -> dict[str, Any]:
    voter = core.policies.voters[p]
    return {"name": name.name, "sha256": name.sha256, "sizes": core.policies.networks[p].sizes,
            "relu": [layer.relu for layer in core.policies.networks[p].layers], "weight": voter.weight, "risk": voter.risk,
            "veto_actions": sorted(voter.veto_actions), "forced_action": voter.forced_action,
            "cycles": core.path_cycles[p]}


def _blocks(core: Core) -> list[dict[str, Any]]:
    found = [_graph_block("quantiser", core.quantiser, 8)]
    for p, layers in enumerate(core.layers):
        found += [_graph_block(f"p{p}_layer{k}", block, block.width if block.last else 8) for k, block in enumerate(layers)]
        last = core.argmax[p]
        found.append({"name": f"p{p}_argmax", "levels": last.levels, "cycles": last.cycles, "out_bits": len(last.index)})
    found.append({"name": "consensus", "levels": core.consensus.levels, "cycles": core.consensus.cycles,
                  "out_bits": len(core.consensus.action)})
    return found


def _graph_block(name: str, block: Any, out_bits: int) -> dict[str, Any]:
    widest = max(bits(n.lo, n.hi) for n in block.graph.nodes)
    return {"name": name, "levels": block.levels, "cycles": block.cycles, "adders": block.graph.adders,
            "adder_bits": block.graph.adder_bits, "widest_bits": widest, "out_bits": out_bits}
