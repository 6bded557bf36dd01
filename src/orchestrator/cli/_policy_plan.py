"""`peregrine policy plan FILE`: where a policy's decisions are cheapest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli._errors import EXIT_UNAVAILABLE, EXIT_USAGE, CliError

VARIANTS = ("baked", "loadable")


def run(artifact: Any, *, variant: str, lanes: int | None, adds_per_stage: int | None, period_ns: float | None,
        pcie_ns: float | None, plot: Path | None, as_json: bool) -> None:
    """Measure, compute, print; None stands for the planner's own assumption. Raises CliError."""
    from orchestrator.run import planner

    if variant not in VARIANTS:
        raise CliError(f"--variant: found {variant!r}", hint=f"expected one of {', '.join(VARIANTS)}", code=EXIT_USAGE)
    for name, value, least in (("--period-ns", period_ns, "above 0"), ("--pcie-ns", pcie_ns, "0 or more")):
        if value is not None and (value < 0 or value == 0 and name == "--period-ns"):
            raise CliError(f"{name}: found {value:g}", hint=f"expected nanoseconds, {least}", code=EXIT_USAGE)
    given: dict[str, Any] = {"lanes": lanes, "adds_per_stage": adds_per_stage, "period_ns": period_ns, "pcie_ns": pcie_ns}
    budget = planner.Budget(variant, **{k: v for k, v in given.items() if v is not None})
    try:
        told = planner.plan(artifact, budget)
    except ModuleNotFoundError as err:
        raise CliError(f"the gateware's formulas are not here: {err.name} is missing", code=EXIT_UNAVAILABLE,
                       hint="pip install 'peregrine-engine[hdl]'") from err
    except ValueError as err:  # of the lanes; the artifact itself was checked as it was loaded
        raise CliError(str(err), hint="see --lanes in peregrine policy plan --help", code=EXIT_USAGE) from err
    if plot is not None:
        _draw(told, plot)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _show(told)


def _draw(told: dict[str, Any], path: Path) -> None:
    from orchestrator.run import planner

    try:
        planner.plot(told, path)
    except ModuleNotFoundError as err:
        raise CliError(f"--plot: {err.name} is not installed", code=EXIT_UNAVAILABLE,
                       hint="pip install 'peregrine-engine[bench]'") from err
    except (OSError, ValueError) as err:
        raise CliError(f"--plot: {path} cannot be written: {err}", hint="name a file such as plan.png", code=EXIT_USAGE) from err


def _show(told: dict[str, Any]) -> None:
    from rich.table import Table

    from orchestrator.observe.console import stdout

    console, budget = stdout(), told["budget"]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("network", "weights", "CPU ns", "cycles", "device ns", "cheaper"):
        table.add_column(title, justify="left" if title in ("network", "cheaper") else "right")
    own = {**told["policy"], "cheaper": told["auto"]}
    for row, name in ((own, f"{told['policy']['name']} (this policy)"), *((c, c["name"]) for c in told["family"])):
        table.add_row(name, f"{row['weights']:,}", f"{row['cpu_ns']:.0f}", str(row["cycles"]), f"{row['device_ns']:.0f}",
                      row["cheaper"])  # fmt: skip
    console.print(table)
    how = f"{budget['lanes']} lanes" if budget["variant"] == "loadable" else f"{budget['adds_per_stage']} adds a stage"
    for line in (
        f"CPU: measured here, each decision waiting for the one before. Device: computed, {budget['variant']}, {how}, "
        f"{budget['period_ns']:.2f} ns a cycle ({budget['period_from']}), {budget['pcie_ns']:.0f} ns PCIe "
        f"(assumed: {budget['pcie_from']}).",
        "crossover: " + _crossover(told["crossover_weights"]),
        f"placement auto: {told['auto']}, since {told['why']}",
    ):
        console.print(line, highlight=False, markup=False)


def _crossover(weights: int | None) -> str:
    if weights is None:
        return "none in this family: the CPU is cheaper at every size"
    if weights == 0:
        return "below this family: the device is cheaper at every size"
    return f"the device is cheaper from about {weights:,} weights on"
