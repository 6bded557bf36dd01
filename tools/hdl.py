"""Run the gateware's benches: `python tools/hdl.py sim | long`, with a table at the end.

    sim    cocotb on the 8-16-3 core and on the device around it, sets of policies, short vector runs through both shapes; a few minutes
    long   10^9 vectors through 8-16-3 and 2 x 10^7 through 16-64-32-32-5, over 20 random policies each; 10^7 requests to
           loadable cores of 4 to 64 lanes

Exit codes: 0 all equal, 1 something differs, 69 the toolchain is not installed. Everything compiled is kept under
build/hdl by the hash of what went in. WAVES=1 leaves the cocotb runs' waveforms there too and says where; hdl/views holds views of
the device's.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import hdl_loadable  # noqa: E402

import cxx  # noqa: E402
import hdl_cases  # noqa: E402
import hdl_device  # noqa: E402
import hdl_model  # noqa: E402

sys.path.append(str(cxx.ROOT / "tests" / "hdl"))  # cocotb hands sys.path on to the simulator's Python

SMALL, WIDE = [8, 16, 3], [16, 64, 32, 32, 5]
DEPTHS = (2, 0, 1, 4)  # adds a stage; 0: a stage a layer
ARTIFACTS = 20
ONE_A_DEPTH = (0, 5, 10, 15)  # one policy of each pipeline depth and of each kind of `bench_network`
LOADABLE_LONG_REQUESTS = {4: 3 * 10**6, 8: 3 * 10**6, 16: 2 * 10**6, 32: 10**6, 64: 10**6}  # by lanes
LOADABLE_SIM_REQUESTS = {4: 20_000, 16: 20_000, 64: 20_000}
LONG_VECTORS = {"8-16-3": 10**9, "16-64-32-32-5": 2 * 10**7}
COCOTB_ARGS = ["-Wno-fatal", "-Wno-WIDTH", "-Wno-CASEINCOMPLETE"]

_emitting = threading.Lock()


def shape_name(sizes: list[int]) -> str:
    """8-16-3."""
    return "-".join(map(str, sizes))


def cocotb_core(sizes: list[int] = SMALL, seed: int = 0, adds_per_stage: int = 2, waves: bool = False) -> dict[str, Any]:
    """Run tests/hdl/core_bench.py; {"vectors", "cycles", "tests", "failures", "log"}."""
    hdl_model.require()
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    from peregrine_hdl.emit import TOP

    core = hdl_cases.emitted(hdl_cases.bench_network(sizes, seed), adds_per_stage)
    env = hdl_model.verilator_env()
    key = hdl_model.content_hash(core.verilog, env["VERILATOR_ROOT"], str(waves))
    with hdl_model.environment(env):
        runner = get_runner("verilator")

        def build(folder: Path) -> None:
            (folder / f"{TOP}.v").write_text(core.verilog)
            runner.build(sources=[folder / f"{TOP}.v"], hdl_toplevel=TOP, build_dir=folder, always=True, waves=waves,
                         timescale=("1ns", "1ps"), build_args=COCOTB_ARGS, log_file=folder / "build.log")

        folder = hdl_model.BUILD / f"cocotb-{key}"
        if not (folder / "done").exists():  # its path is compiled in: made where it stays
            folder.mkdir(parents=True, exist_ok=True)
            build(folder)
            (folder / "done").touch()
        run = folder / f"run-{os.getpid()}"
        run.mkdir(exist_ok=True)
        report, log = run / "report.json", run / "test.log"
        report.unlink(missing_ok=True)
        runner = get_runner("verilator")
        xml = runner.test(hdl_toplevel=TOP, hdl_toplevel_lang="verilog", test_module="core_bench", build_dir=folder,
                          test_dir=run, waves=waves, results_xml=str(run / "results.xml"), log_file=log, seed=seed + 1, extra_env={
                              "HDL_SEED": str(seed), "HDL_SIZES": shape_name(sizes), "HDL_CYCLES": str(core.cycles),
                              "HDL_REPORT": str(report)})
    tests, failures = get_results(xml)
    counts = json.loads(report.read_text()) if report.exists() else {"vectors": 0, "cycles": 0}
    if tests and not failures and not waves:
        shutil.rmtree(run)
    return {**counts, "tests": tests, "failures": failures, "log": log}


def one_artifact(sizes: list[int], seed: int, proven: int, flooded: int) -> dict[str, Any]:
    """Build policy `seed`'s core; `proven` rows against the oracle, `flooded` against the kernel."""
    depth = DEPTHS[seed // 4 % len(DEPTHS)]
    network = hdl_cases.bench_network(sizes, seed)
    with _emitting:
        hdl_cases.emitted(network, depth)
    bench = hdl_cases.bench(network, depth)
    result = hdl_cases.prove(bench, proven, seed)
    if flooded:
        more = hdl_cases.flood(bench, flooded, seed)
        for name in ("vectors", "cycles", "ties"):
            result[name] += more[name]
    return {**result, "core_cycles": bench.cycles, "adders": bench.adders}


def artifacts(sizes: list[int], seeds: Iterable[int], proven: int, flooded: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All policies of a shape, as many at a time as there are processors; sums of their counts."""
    jobs = int(os.environ.get("PEREGRINE_JOBS", os.cpu_count() or 1))
    total: dict[str, Any] = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(one_artifact, sizes, seed, proven, flooded): seed for seed in seeds}
        for future in concurrent.futures.as_completed(futures):
            result = future.result()
            say(f"  {shape_name(sizes)} policy {futures[future]}: {result['vectors']:,} vectors equal; "
                f"{result['core_cycles']} cycles, {result['adders']} adders")
            for name, value in result.items():
                total[name] = total.get(name, 0) + value
    return total


Row = tuple[str, dict[str, Any], float, str]


def timed(name: str, work: Callable[[], dict[str, Any]], rows: list[Row]) -> bool:
    """Run one bench, note its row; a failure is printed and noted, and the next bench runs."""
    began = time.monotonic()
    try:
        result = work()
        verdict = "ok" if not result.get("failures") else f"{result['failures']} of {result['tests']} FAILED: {result['log']}"
    except (AssertionError, RuntimeError) as err:
        result, verdict = {}, "FAILED"
        print(f"{name}: {err}", file=sys.stderr, flush=True)
    rows.append((name, result, time.monotonic() - began, verdict))
    return verdict == "ok"


def print_table(rows: list[Row]) -> None:
    """bench, vectors, cycles, time."""
    width = max(len(name) for name, *_ in rows)
    print(f"\n{'bench':{width}}  {'vectors':>15}  {'cycles':>15}  {'time':>9}  result")
    for name, result, seconds, verdict in rows:
        print(f"{name:{width}}  {result.get('vectors', 0):>15,}  {result.get('cycles', 0):>15,}  {seconds:>7.1f} s  {verdict}")
    seen = [r for _, r, _, _ in rows if "lowest" in r]
    if seen:
        names = {"lowest": "inputs at -128", "highest": "inputs at 127", "zero": "inputs at 0",
                 "hidden": "hidden values saturated", "ties": "tied logits"}
        print("corners met: " + ", ".join(f"{sum(r[k] for r in seen):,} {text}" for k, text in names.items()))


def print_waves(rows: list[Row]) -> None:
    """Where each bench left its waveform, and how to look at the device's."""
    import hdl_views

    kinds = {f"cocotb {name}": kind for name, (kind, _) in hdl_device.BENCHES.items()}
    print("\nwaveforms")
    for name, result, *_ in rows:
        file = result["log"].parent / "dump.vcd" if "log" in result else None
        if file and file.exists():
            view = "hdl/views" if kinds.get(name, "card") != "card" else "none"
            print(f"  {name}: {file} ({file.stat().st_size >> 20} MiB, view: {view})")
    gtkw, sucl = (hdl_views.FOLDER / file for file in hdl_views.FILES)
    print(f"look at one of the device: gtkwave FILE {gtkw}\n                       or: surfer --command-file {sucl} FILE")


def main(argv: list[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(description="the gateware's benches")
    parser.add_argument("what", choices=("sim", "long"))
    parser.add_argument("--share", type=float, default=1.0, help="run this share of the long run's vectors (default 1)")
    parser.add_argument("--shape", choices=[*sorted(LONG_VECTORS), "loadable"],
                        help="only this shape of the long run")
    options = parser.parse_args(argv)
    try:
        hdl_model.require()
    except hdl_model.ToolMissing as err:
        print(f"hdl: {err}", file=sys.stderr)
        return 69
    rows: list[Row] = []

    def say(text: str) -> None:
        print(text, flush=True)

    good = True
    waves = options.what == "sim" and os.environ.get("WAVES", "0") not in ("", "0")
    if options.what == "sim":
        for depth in (2, 0):
            good &= timed(f"cocotb 8-16-3, {depth} adds a stage", lambda d=depth: cocotb_core(adds_per_stage=d, waves=waves), rows)
        for name, (kind, module) in hdl_device.BENCHES.items():
            good &= timed(f"cocotb {name}", lambda k=kind, b=module: hdl_device.run(k, b, waves=waves), rows)
        good &= timed("sets of 1 to 8 policies", lambda: hdl_cases.prove_sets(4, 20_000), rows)
        good &= timed("8-16-3, 4 policies", lambda: artifacts(SMALL, ONE_A_DEPTH, 100_000, 2_000_000, say), rows)
        good &= timed("16-64-32-32-5, 1 policy", lambda: artifacts(WIDE, [0], 10_000, 100_000, say), rows)
    else:
        for sizes in (SMALL, WIDE):
            name = shape_name(sizes)
            if options.shape not in (None, name):
                continue
            each = -(-int(LONG_VECTORS[name] * options.share) // ARTIFACTS)
            proven = min(100_000 if sizes is SMALL else 20_000, each)
            good &= timed(f"{name}, {ARTIFACTS} policies", lambda s=sizes, p=proven, e=each:
                          artifacts(s, range(ARTIFACTS), p, e, say), rows)
    long = options.what == "long"
    loadable = LOADABLE_LONG_REQUESTS if long else LOADABLE_SIM_REQUESTS
    for lanes, requests in loadable.items() if options.shape in (None, "loadable") else ():
        good &= timed(f"loadable, {lanes} lanes", lambda n=lanes, r=int(requests * options.share), b=24 if long else 8:
                      hdl_loadable.bench(n, b, 100, r, say), rows)
    print_table(rows)
    if waves:
        print_waves(rows)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
