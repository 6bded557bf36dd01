"""The device under cocotb: emits a device, compiles it once, runs a bench module of tests/hdl against it.

    baked      around the baked 8-16-3 core of `hdl_cases.bench_network`
    stand-in   around tests/hdl/stand_in.py, two banks whose contents show in every answer
    card       the baked one inside hdl/wrappers/peregrine_card.v
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cxx  # noqa: E402
import hdl_cases  # noqa: E402
import hdl_model  # noqa: E402

sys.path.append(str(cxx.ROOT / "tests" / "hdl"))  # cocotb hands sys.path on to the simulator's Python

SIZES = [8, 16, 3]
VERSION = 0x0123_4567_89AB_CDEF
VERILATE = ["-cc", "--exe", "--vpi", "--prefix", "Vtop", "--timescale", "1ns/1ps", "-Wno-fatal", "-Wno-WIDTH", "-Wno-CASEINCOMPLETE"]
COMPILE = ["CFG_CXXFLAGS_PCH_I=-include", "OPT_FAST=-O1", "OPT_SLOW=-O0"]


CARD_TOP = "peregrine_card"
WRAPPERS = cxx.ROOT / "hdl" / "wrappers"
VIEWS = cxx.ROOT / "hdl" / "views"


def top_of(kind: str) -> str:
    """The topmost module of a kind."""
    from peregrine_hdl.emit import DEVICE_TOP

    return CARD_TOP if kind == "card" else DEVICE_TOP


def device_verilog(kind: str, seed: int = 0) -> str:
    """The device's Verilog; what these sources emitted before is taken from build/hdl."""
    if kind == "card":
        return device_verilog("baked", seed) + "".join(f.read_text() for f in sorted(WRAPPERS.glob("*.v")))
    source = cxx.ROOT / "hdl" / "peregrine_hdl"
    network = hdl_cases.bench_network(SIZES, seed)
    stand_in = cxx.ROOT / "tests" / "hdl" / "stand_in.py"
    key = hdl_model.content_hash(kind, hdl_cases.case_bytes(network), stand_in, *sorted(source.glob("*.py")))

    def make(folder: Path) -> None:
        from peregrine_hdl.core import Core, PolicySet
        from peregrine_hdl.emit import baked_device, device_text

        if kind == "baked":
            device = baked_device(Core(PolicySet((network,), (hdl_cases.Voter(),))), VERSION)
        else:
            import stand_in

            device = stand_in.device()
        (folder / "device.v").write_text(device_text(device))

    return (hdl_model.cached(f"device-{key}", make) / "device.v").read_text()


def port_names(verilog: str, top: str) -> list[str]:
    """The ports of a module, whether declared in its header or named there only."""
    text = re.sub(r"//[^\n]*|\(\*.*?\*\)", "", verilog[verilog.index(f"\nmodule {top}"):].partition("endmodule")[0])
    header = re.search(rf"module {top}\s*(?:#\([^)]*\)\s*)?\(([^;]*)\);", text)
    assert header, f"no ports of {top}"
    return [part.split()[-1] for part in header[1].split(",")]


def compiled(verilog: str, top: str, waves: bool) -> Path:
    """The folder of the simulator of this Verilog; its path is compiled in, so it is made where it stays.

    cocotb's own build makes every signal of a design public, which costs this one minutes. Here only the ports are.
    """
    import cocotb_tools.config

    env = hdl_model.verilator_env()
    key = hdl_model.content_hash(verilog, env["VERILATOR_ROOT"], str(waves), *VERILATE, *COMPILE)
    folder = hdl_model.BUILD / f"cocotb-{key}"
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{top}.v").write_text(verilog)
    (folder / "ports.vlt").write_text("`verilator_config\n" + "".join(
        f'public_flat_rw -module "{top}" -var "{name}"\n' for name in port_names(verilog, top)))  # fmt: skip
    libraries = cocotb_tools.config.libs_dir
    hdl_model.run_tool(
        ["verilator", *VERILATE, *(["--trace"] if waves else []), "--top-module", top, "-Mdir", str(folder), "-o", top,
         "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator", str(folder / "ports.vlt"),
         str(cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"), str(folder / f"{top}.v")], env)  # fmt: skip
    hdl_model.run_tool(["make", "-s", "-j2", "-C", str(folder), "-f", "Vtop.mk", f"VM_TRACE={int(waves)}", *COMPILE], env)
    (folder / "done").touch()
    return folder


def run(kind: str, module: str, *, seed: int = 0, only: str = "", waves: bool = False) -> dict[str, Any]:
    """Run tests/hdl/<module>.py on the device; {"vectors", "cycles", "tests", "failures", "log"}."""
    hdl_model.require()
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    top = top_of(kind)
    folder = compiled(device_verilog(kind, seed), top, waves)
    where = folder / f"run-{module}-{os.getpid()}"
    where.mkdir(exist_ok=True)
    report, log = where / "report.json", where / "test.log"
    report.unlink(missing_ok=True)
    with hdl_model.environment(hdl_model.verilator_env()):
        xml = get_runner("verilator").test(
            hdl_toplevel=top, hdl_toplevel_lang="verilog", test_module=module, build_dir=folder, test_dir=where,
            waves=waves, results_xml=str(where / "results.xml"), log_file=log, seed=seed + 1, test_filter=only or None,
            extra_env={"HDL_SEED": str(seed), "HDL_KIND": kind, "HDL_REPORT": str(report)})  # fmt: skip
    tests, failures = get_results(xml)
    counts = json.loads(report.read_text()) if report.exists() else {"vectors": 0, "cycles": 0}
    if tests and not failures and not waves:
        shutil.rmtree(where)
    return {**counts, "tests": tests, "failures": failures, "log": log}


BENCHES = {"device": ("baked", "device_bench"), "device, errors": ("baked", "device_error_bench"), "device, resets": ("baked", "device_reset_bench"),
           "device, weight banks": ("stand-in", "banks_bench"), "device over PCIe": ("baked", "pcie_bench"),
           "device on a card": ("card", "card_bench")}  # fmt: skip


if __name__ == "__main__":  # python tools/hdl_device.py baked device_bench [name of one test]
    done = run(sys.argv[1], sys.argv[2], only=sys.argv[3] if len(sys.argv) > 3 else "",
               waves=os.environ.get("WAVES", "0") not in ("", "0"))  # fmt: skip
    print({k: str(v) for k, v in done.items()})
    sys.exit(bool(done["failures"]))
