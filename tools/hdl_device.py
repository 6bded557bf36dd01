"""The device under cocotb: emits a device, compiles it once, runs a bench module of tests/hdl against it.

    baked      around the baked 8-16-3 core of `hdl_cases.bench_network`
    stand-in   around tests/hdl/stand_in.py, two banks whose contents show in every answer
"""

from __future__ import annotations

import json
import os
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
BUILD_ARGS = ["-Wno-fatal", "-Wno-WIDTH", "-Wno-CASEINCOMPLETE"]


def device_verilog(kind: str, seed: int = 0) -> str:
    """The device's Verilog; what these sources emitted before is taken from build/hdl."""
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


def compiled(verilog: str, top: str, waves: bool) -> Path:
    """The folder of the simulator of this Verilog; its path is compiled in, so it is made where it stays."""
    import hdl
    from cocotb_tools.runner import get_runner

    env = hdl_model.verilator_env()
    folder = hdl_model.BUILD / f"cocotb-{hdl_model.content_hash(verilog, env['VERILATOR_ROOT'], str(waves))}"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{top}.v").write_text(verilog)
        with hdl.environment(env):
            get_runner("verilator").build(
                sources=[folder / f"{top}.v"], hdl_toplevel=top, build_dir=folder, always=True, waves=waves,
                timescale=("1ns", "1ps"), build_args=BUILD_ARGS, log_file=folder / "build.log")  # fmt: skip
        (folder / "done").touch()
    return folder


def run(kind: str, module: str, *, seed: int = 0, only: str = "", waves: bool = False) -> dict[str, Any]:
    """Run tests/hdl/<module>.py on the device; {"vectors", "cycles", "tests", "failures", "log"}."""
    hdl_model.require()
    import hdl
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    from peregrine_hdl.emit import DEVICE_TOP

    folder = compiled(device_verilog(kind, seed), DEVICE_TOP, waves)
    where = folder / f"run-{module}-{os.getpid()}"
    where.mkdir(exist_ok=True)
    report, log = where / "report.json", where / "test.log"
    report.unlink(missing_ok=True)
    with hdl.environment(hdl_model.verilator_env()):
        xml = get_runner("verilator").test(
            hdl_toplevel=DEVICE_TOP, hdl_toplevel_lang="verilog", test_module=module, build_dir=folder, test_dir=where,
            waves=waves, results_xml=str(where / "results.xml"), log_file=log, seed=seed + 1, test_filter=only or None,
            extra_env={"HDL_SEED": str(seed), "HDL_KIND": kind, "HDL_REPORT": str(report)})  # fmt: skip
    tests, failures = get_results(xml)
    counts = json.loads(report.read_text()) if report.exists() else {"vectors": 0, "cycles": 0}
    if tests and not failures and not waves:
        shutil.rmtree(where)
    return {**counts, "tests": tests, "failures": failures, "log": log}


if __name__ == "__main__":  # python tools/hdl_device.py baked device_bench [name of one test]
    done = run(sys.argv[1], sys.argv[2], only=sys.argv[3] if len(sys.argv) > 3 else "",
               waves=os.environ.get("WAVES", "0") not in ("", "0"))  # fmt: skip
    print({k: str(v) for k, v in done.items()})
    sys.exit(bool(done["failures"]))
