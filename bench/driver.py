"""Builds the programs of bench/native, runs them, and puts what they print into one report with files beside it.

Used by `peregrine bench` and by `pytest bench/`. Works in a checkout only: it needs the sources and a compiler.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "bench" / "native"
RESULTS = ROOT / "bench" / "results"
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "bench")]

import targets  # noqa: E402
import twins  # noqa: E402

import cxx  # noqa: E402

#: A budget in nanoseconds for the whole way; over it the bench fails, where the machine can judge it.
BUDGET_NS = 100_000
#: The bare echo's own p99 above which no verdict about microseconds is worth anything on this machine.
NOISY_ECHO_NS = 50_000
BUDGETED = ("tick_to_order", "wire_to_wire_inline")
EXIT_GOOD, EXIT_OVER_BUDGET, EXIT_TOO_NOISY = 0, 1, 75


@dataclass(frozen=True)
class Program:
    """One file of bench/native: the results it prints, and seconds a result, normal and quick."""

    name: str
    results: tuple[str, ...]
    seconds: float = 3.0
    quick_seconds: float = 0.4


PROGRAMS = (
    Program("ring_spsc", ("ring_spsc", "ring_round_trip"), 6.0, 0.8),
    Program("itch_decode", ("itch_decode",), 2.0),
    Program("book_update", ("book_update_hot", "book_update_wide"), 5.0, 1.0),
    Program("features", ("features",)),
    Program("policy_inference", ("policy_inference",), 2.0),
    Program("risk_gate", ("risk_gate",), 2.0),
    Program("order_encode", ("order_encode",), 2.0),
    Program("journal_append", ("journal_append",)),
    Program("tick_to_order", ("tick_to_order", "orders_per_second"), 12.0, 1.5),
    Program("wire_to_wire", ("wire_to_wire_inline",), 30.0, 6.0),
    Program("virtual_time", ("virtual_time_throughput", "virtual_time_recorded"), 12.0, 1.0),
    Program("matching", ("matching",)),
)
NAMES = tuple(name for program in PROGRAMS for name in program.results)


class BenchError(RuntimeError):
    """A program could not be built or did not give its result; the message is for people."""


class UnknownName(BenchError):
    """There is no measurement of that name."""


class BuildError(BenchError):
    """The compiler is missing or refused."""


def select(only: Iterable[str]) -> list[Program]:
    """The programs that give the named results (all when none is named). Raises UnknownName."""
    wanted = list(only)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        raise UnknownName(f"no measurement {unknown[0]!r}; there are {', '.join(NAMES)}")
    return [p for p in PROGRAMS if not wanted or set(wanted) & set(p.results)]


@lru_cache(maxsize=1)
def toolchain() -> cxx.Toolchain:
    """The flags and the folder of the engine's own build, so that its objects are taken as they are."""
    tag = sysconfig.get_config_var("SOABI") or "py"
    return cxx.Toolchain(build_dir=ROOT / "build" / f"release-{tag}")


def build(programs: Iterable[Program]) -> dict[str, Path]:
    """Compile what is stale; program name → executable. Raises BuildError with the compiler's words."""
    tc = toolchain()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    define = [f'-DPEREGRINE_VERSION="{version}"']
    try:
        core = tc.archive(tc.compile(cxx.core_sources(), define), "peregrine_core")
        venue = tc.archive(tc.compile(cxx.venue_sources(), define), "peregrine_venue")
        chosen = list(programs)
        objects = tc.compile([NATIVE / f"{p.name}.cpp" for p in chosen], define)
        return {p.name: tc.link([obj, venue, core], tc.build_dir / "bench" / "bin" / p.name, shared=False)
                for p, obj in zip(chosen, objects, strict=True)}
    except (RuntimeError, OSError) as err:
        raise BuildError(str(err)) from err


def run(program: Program, executable: Path, *, quick: bool = False) -> list[dict[str, Any]]:
    """Run one program; its results as it printed them. Raises BenchError with its words when it fails."""
    seconds = program.quick_seconds if quick else program.seconds
    cpus = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="peregrine-bench-") as folder:
        spec = Path(folder) / "spec"
        spec.write_text(spec_text())
        command = [executable, "--seconds", seconds, "--spec", spec, "--dir", folder,
                   "--cpu", cpus[-1], "--other-cpu", cpus[0]]
        try:
            done = subprocess.run([str(a) for a in command], capture_output=True, text=True, timeout=seconds * 20 + 60)
        except (OSError, subprocess.TimeoutExpired) as err:
            raise BenchError(f"{program.name}: {err}") from err
        if done.returncode != 0:
            raise BenchError(f"{program.name} left with {done.returncode}: {done.stderr.strip()}")
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        twins.beside(program.name, rows, Path(folder), seconds)
    return [_with_ratio(row) for row in rows]


def _with_ratio(row: dict[str, Any]) -> dict[str, Any]:
    for twin in [row["baseline"], *row["twins"]]:
        ratio = round(row["p50"] / twin["p50"], 3) if twin["p50"] else None
        (row if twin is row["baseline"] else twin)["ratio"] = ratio
    return row


@lru_cache(maxsize=1)
def spec_text() -> str:
    """The numbers the native programs are configured with: the laptop profile, its policy, and a network of
    16-64-32-32-5. Rates and quote times are lifted, so that a run of seconds holds many orders; no check is off.
    """
    import numpy as np

    from hotpath.policy.random_network import random_network
    from hotpath.signal import schema
    from orchestrator.config import load_profile
    from orchestrator.run import plan
    from orchestrator.run.virtual import OPEN_NS, VIRTUAL_DAY

    cfg = load_profile("laptop", [])
    midnight = plan.session_midnight_ns(VIRTUAL_DAY)
    spec = plan.shard_spec(cfg, midnight_ns=midnight)
    spec["decision_interval_ns"] = 0
    spec["session_message_window_ns"] = 10_000_000
    spec["limits"].update(message_window_ns=10_000_000, max_executions=60, execution_window_ns=10_000_000,
                          max_loss=1 << 50, max_drawdown=1 << 50, max_credit=1 << 50)
    instrument = {**spec["instruments"][0], "min_resting_ns": 1_000_000, "take_interval_ns": 5_000_000}
    lines = {f"limits.{k}": v for k, v in spec["limits"].items()}
    lines |= {f"instrument.{k}": v for k, v in instrument.items() if isinstance(v, int | str)}
    lines |= {k: v for k, v in spec.items() if isinstance(v, int | str) and v != ""}
    lines |= {"start_ns": midnight + OPEN_NS, "quorum": cfg.policies.quorum_q8, "seed": 7, "rate_per_s": 2000}
    lines |= _network_lines("default", plan.load_policies(cfg)[0].spec)
    net = random_network(np.random.default_rng(11), [16, 64, 32, 32, 5], len(schema.NAMES))
    lines |= _network_lines("wide", {
        "feature_index": net.feature_index.tolist(), "quant_m": net.quant_m.tolist(), "quant_s": net.quant_s.tolist(),
        "layers": [{"inputs": la.inputs, "outputs": la.outputs, "relu": la.relu, "weights": la.weights.tobytes(),
                    "bias": la.bias.astype("<i4").tobytes(), "shift": b"" if la.shift is None else la.shift.tobytes()}
                   for la in net.layers],
    })  # fmt: skip
    return "".join(f"{k} {int(v) if isinstance(v, bool) else v}\n" for k, v in lines.items())


def _network_lines(prefix: str, spec: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    lines: dict[str, Any] = {
        f"{prefix}.feature_index": np.array(spec["feature_index"], "<u2").tobytes().hex(),
        f"{prefix}.quant_m": np.array(spec["quant_m"], "<i2").tobytes().hex(),
        f"{prefix}.quant_s": np.array(spec["quant_s"], "u1").tobytes().hex(),
        f"{prefix}.layers": len(spec["layers"]),
    }
    for i, layer in enumerate(spec["layers"]):
        for key in ("inputs", "outputs", "relu"):
            lines[f"{prefix}.layer{i}.{key}"] = int(layer[key])
        for key in ("weights", "bias", "shift"):
            if layer[key]:
                lines[f"{prefix}.layer{i}.{key}"] = layer[key].hex()
    return lines


def machine() -> dict[str, Any]:
    """The machine, its kernel's settings, and how the programs were compiled."""
    from orchestrator.observe import machine as observe

    probe = observe.Probe()
    tc = toolchain()
    return {
        **observe.describe(),
        "bench_compiler": _first_line([*tc.cxx, "--version"]),
        "bench_flags": [*cxx.BASE_FLAGS, *tc.flags],
        "kernel_settings": {
            "cmdline": probe.text("/proc/cmdline"),
            "transparent_hugepage": probe.text("/sys/kernel/mm/transparent_hugepage/enabled"),
            "sched_rt_runtime_us": probe.number("/proc/sys/kernel/sched_rt_runtime_us"),
            "swappiness": probe.number("/proc/sys/vm/swappiness"),
            "busy_poll": probe.number("/proc/sys/net/core/busy_poll"),
        },
        "load_1m": round(os.getloadavg()[0], 2),
    }


def _first_line(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return None


def noise_floor(rows: Iterable[dict[str, Any]]) -> dict[str, float | int]:
    """One floor from those every program measured before its own work: the middle p50, the worst of the rest."""
    floors = [row["noise"] for row in rows]
    if not floors:
        return {"p50": 0, "p99": 0, "p99_9": 0, "max": 0, "count": 0}
    return {
        "p50": statistics.median(f["p50"] for f in floors),
        **{key: max(f[key] for f in floors) for key in ("p99", "p99_9", "max")},
        "count": sum(f["count"] for f in floors),
    }


def verdict(rows: Iterable[dict[str, Any]]) -> tuple[int, str]:
    """Exit code and reason: 75 where the raw echo's own p99 is over 50 µs, so that no figure of this machine says
    anything about the budget; else 1 when a p99 is over the budget of 100 µs; else 0."""
    by_name = {row["name"]: row for row in rows}
    over = [name for name in BUDGETED if name in by_name and by_name[name]["p99"] > BUDGET_NS]
    wire = by_name.get("wire_to_wire_inline")
    echo_ns = wire["baseline"]["p99"] if wire else 0
    if wire and echo_ns > NOISY_ECHO_NS:
        return EXIT_TOO_NOISY, f"too noisy to judge: the raw echo's own p99 is {echo_ns / 1000:,.0f} µs (limit 50 µs)"
    if over:
        return EXIT_OVER_BUDGET, ", ".join(
            f"{name}: p99 {by_name[name]['p99'] / 1000:,.1f} µs is over the budget of 100 µs" for name in over)
    return EXIT_GOOD, "within budget" if any(name in by_name for name in BUDGETED) else "no budgeted measurement ran"


def bench(only: list[str], quick: bool, out: Path | None, on_result: Callable[[dict[str, Any]], None] | None
          ) -> tuple[dict[str, Any], int]:
    """Measure, write the files below `out`, return the report and the exit code. Raises BenchError."""
    programs = select(only)
    executables = build(programs)
    rows: list[dict[str, Any]] = []
    for program in programs:
        for row in run(program, executables[program.name], quick=quick):
            if only and row["name"] not in only:
                continue
            rows.append(row)
            if on_result is not None:
                on_result(row)
    rows.sort(key=lambda row: NAMES.index(row["name"]))
    code, reason = verdict(rows)
    report: dict[str, Any] = {
        "machine": machine(), "noise": noise_floor(rows), "quick": quick, "exit_code": code, "verdict": reason,
        "results": rows, "targets": targets.rows(rows),
    }  # fmt: skip
    write(report, out or RESULTS)
    return report, code


def write(report: dict[str, Any], folder: Path) -> None:
    """latest.json, a .hgrm file a distribution (values in ns) and the plot; their names go into the report.

    Takes the distributions' text out of the rows: latest.json keeps the figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names, curves = [], {}
    for row in report["results"]:
        for suffix, figures in (("", row), (".baseline", row["baseline"])):
            name, text = f"{row['name']}{suffix}.hgrm", figures.pop("hgrm")
            (folder / name).write_text(text)
            names.append(name)
            curves[f"{row['name']}{suffix}"] = text
            figures.pop("quantiles", None)
    if plot(curves, folder / "percentiles.png"):
        names.append("percentiles.png")
    else:
        report["plot"] = "not drawn: matplotlib is not installed (pip install 'peregrine-engine[bench]')"
    report["files"] = [*names, "latest.json"]
    (folder / "latest.json").write_text(json.dumps(report, indent=1) + "\n")


def curve(hgrm: str) -> tuple[list[float], list[float]]:
    """(1/(1-percentile), value in ns) of a .hgrm text, up to the last finite point."""
    x, y = [], []
    for line in hgrm.splitlines():
        cells = line.split()
        if len(cells) != 4 or cells[0] == "Value" or line.startswith("#"):
            continue
        value, inverse = float(cells[0]), cells[3]
        if inverse not in ("inf", "Infinity"):
            x.append(float(inverse))
            y.append(value)
    return x, y


def plot(curves: dict[str, str], path: Path) -> bool:
    """Latency by percentile on log axes, each result with its twin dashed; False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    long = {"tick_to_order", "wire_to_wire_inline"}
    figure, axes = pyplot.subplots(1, 2, figsize=(15, 6.5))
    for ax, title in zip(axes, ("single stages, ns an item", "whole way, ns"), strict=True):
        colours: dict[str, Any] = {}
        ax.set_prop_cycle(color=pyplot.get_cmap("tab20").colors)  # more results than the usual ten colours
        for name, text in curves.items():
            base = name.removesuffix(".baseline")
            x, y = curve(text)
            if (base in long) != (ax is axes[1]) or not x:
                continue
            style = {"linestyle": "--", "alpha": 0.6} if name != base else {"label": base}
            (line,) = ax.plot(x, y, color=colours.get(base), linewidth=1.4, **style)
            colours.setdefault(base, line.get_color())
        ax.set(xscale="log", yscale="log", xlabel="percentile", title=f"{title} (dashed: baseline)")
        ticks = [1, 2, 10, 100, 1000, 10_000, 100_000]
        ax.set_xticks(ticks, ["0", "50", "90", "99", "99.9", "99.99", "99.999"])
        ax.grid(True, which="major", alpha=0.3)
        if colours:
            ax.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True
