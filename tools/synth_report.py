"""What Yosys and nextpnr report, read into numbers; sums of parts; the table's columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

#: cell → what it is, in LUTs, of a 4-input LUT fabric (ECP5). A CCU2C is two LUTs with a carry chain.
ECP5_LUTS = {"LUT4": 1, "CCU2C": 2}
#: memory made of LUTs, in LUTs
LUT_RAMS = {"TRELLIS_DPR16X4": 4, "RAM32X1S": 1, "RAM64X1S": 1, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8,
            "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8}  # fmt: skip


@dataclass(frozen=True)
class Resources:
    """Cells of a design as the synthesiser counts them, before packing. `carry`: CCU2C, or CARRY4/CARRY8."""

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram: int = 0
    carry: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(**{k: v + getattr(other, k) for k, v in asdict(self).items()})


def total(parts: Iterable[Resources]) -> Resources:
    """The sum of parts that were synthesised each by itself."""
    return sum(parts, Resources())


def resources(stat_text: str, module: str) -> Resources:
    """Resources of one module in the text of `stat -json`. Raises KeyError when it is not there.

    Cells that only join LUTs of a slice (PFUMX, L6MUX21, MUXF7) are no LUT of their own.
    """
    modules = json.loads(stat_text)["modules"]
    cells: dict[str, int] = modules[f"\\{module}"]["num_cells_by_type"]
    lut = ff = dsp = bram = carry = 0
    for name, count in cells.items():
        if name in ECP5_LUTS:
            lut += ECP5_LUTS[name] * count
            carry += count if name == "CCU2C" else 0
        elif re.fullmatch(r"LUT[1-6]|SRL16E|SRLC32E", name):
            lut += count
        elif name in LUT_RAMS:
            lut += LUT_RAMS[name] * count
        elif re.fullmatch(r"TRELLIS_FF|FD[RSCP]E", name):
            ff += count
        elif name.startswith(("DSP48", "MULT18X18", "ALU54")):
            dsp += count
        elif re.fullmatch(r"DP16KD|RAMB\w+", name):
            bram += count
        elif name in ("CARRY4", "CARRY8"):
            carry += count
    return Resources(lut, ff, dsp, bram, carry)


@dataclass(frozen=True)
class Timing:
    """nextpnr's own verdict: the highest clock, and where its slowest path runs."""

    fmax_mhz: float
    logic_ns: float
    routing_ns: float
    path_from: str
    path_to: str

    @property
    def period_ns(self) -> float:
        """Of the highest clock."""
        return 1e3 / self.fmax_mhz


def timing(report_text: str) -> Timing:
    """From `--report FILE` of nextpnr. Raises ValueError when no clock was found."""
    report: dict[str, Any] = json.loads(report_text)
    if not report.get("fmax"):
        raise ValueError("nextpnr's report names no clock: the design has no register")
    clock, speed = min(report["fmax"].items(), key=lambda item: item[1]["achieved"])
    path: list[dict[str, Any]] = []
    for found in report.get("critical_paths", []):
        if found["from"] == f"posedge {clock}" and found["to"] == f"posedge {clock}":
            path = found["path"]
    routing = sum(step["delay"] for step in path if step["type"] == "routing")
    return Timing(
        fmax_mhz=float(speed["achieved"]), logic_ns=sum(step["delay"] for step in path) - routing, routing_ns=routing,
        path_from=str(path[0]["from"]["cell"]) if path else "", path_to=str(path[-1]["to"]["cell"]) if path else "",
    )  # fmt: skip
