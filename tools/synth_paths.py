"""How many carry blocks stand one behind the other between two registers, out of a netlist that Yosys wrote as JSON."""

from __future__ import annotations

import json
import re
from typing import Any

CARRY = ("CARRY4", "CARRY8")  # Yosys maps additions to the former, of four bits, for UltraScale+ too
#: where a path begins and ends, beside the ports of the module
_KEEPERS = re.compile(r"FD[RSCP]E|SRL16E|SRLC32E|RAMB\w+|RAM\d+\w+|DSP48\w+")


def carry_levels(netlist: str, module: str) -> int:
    """The most carry blocks on any way from a register or an input to a register or an output of `module`.

    An addition of w bits is ceil(w / 4) blocks of four bits when its top bit is waited for, so the number tells how many
    additions a stage holds one behind the other, and how wide they are. Raises KeyError when the module is not there, ValueError for
    a loop without a register.
    """
    cells: dict[str, dict[str, Any]] = json.loads(netlist)["modules"][module]["cells"]
    driver: dict[Any, str] = {}
    reads: dict[str, list[Any]] = {}
    for name, cell in cells.items():
        if _KEEPERS.fullmatch(cell["type"]):
            continue
        reads[name] = []
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output":
                driver.update(dict.fromkeys(bits, name))
            else:
                reads[name] += bits
    before = {name: {driver[b] for b in bits if b in driver} for name, bits in reads.items()}
    after: dict[str, list[str]] = {name: [] for name in reads}
    waits = {name: len(found) for name, found in before.items()}
    for name, found in before.items():
        for other in found:
            after[other].append(name)
    levels = dict.fromkeys(reads, 0)
    ready = [name for name, n in waits.items() if n == 0]
    done = 0
    while ready:
        name = ready.pop()
        done += 1
        levels[name] += cells[name]["type"] in CARRY
        for other in after[name]:
            levels[other] = max(levels[other], levels[name])
            waits[other] -= 1
            if waits[other] == 0:
                ready.append(other)
    if done != len(reads):
        raise ValueError(f"{module}: {len(reads) - done} cells stand in or behind a loop without a register")
    return max(levels.values(), default=0)
