"""What stands where in emitted Verilog: every wire, register and instance by its path from the top."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NAME = r"(\\\S+ |[A-Za-z_][\w$]*)"


@dataclass
class Module:
    """One module's own names: signal to bits; register to the clocks' nets it changes on; instance to its module."""

    signals: dict[str, int] = field(default_factory=dict)
    registers: dict[str, str] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)


def plain(name: str) -> str:
    """Without the backslash and blank of an escaped name."""
    return name.strip().removeprefix("\\")


def modules(verilog: str) -> dict[str, Module]:
    """Every module of the text. Of `(* … *)`, memories and ports' directions nothing is kept."""
    found: dict[str, Module] = {}
    for text in re.findall(r"^module .*?^endmodule", verilog, flags=re.S | re.M):
        name = re.match(rf"module {NAME}", text)
        assert name
        module = found[plain(name[1])] = Module()
        for high, signal in re.findall(rf"^\s*(?:\(\*.*?\*\)\s*)?(?:wire|reg)\s+(?:\[(\d+):0\]\s*)?{NAME}", text, flags=re.M):
            module.signals[plain(signal)] = int(high or 0) + 1
        for clock, body in re.findall(r"always @\(posedge (\w+)[^)]*\)\s*(.*?<=)", text, flags=re.S):
            target = re.findall(rf"{NAME}\s*(?:\[[^\]]*\]\s*)?<=", body)
            module.registers |= {plain(t): clock for t in target}
        for of, instance in re.findall(rf"^  {NAME}\s*{NAME}\s*\(\s*$", text, flags=re.M):
            module.instances[plain(instance)] = plain(of)
    return found


def paths(verilog: str, top: str) -> dict[str, Module]:
    """Instance path, "" for the top itself, to its module."""
    every = modules(verilog)
    found: dict[str, Module] = {}

    def walk(path: str, of: str) -> None:
        found[path] = every[of]
        for instance, below in every[of].instances.items():
            if below in every:
                walk(f"{path}/{instance}".lstrip("/"), below)

    walk("", top)
    return found
