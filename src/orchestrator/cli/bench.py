"""`peregrine bench`: how fast this machine is, beside a baseline and its own noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

ORDER = 50


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Measure this machine. Exit code 1 over budget, 75 when it is too noisy to judge.")
    def bench(
        only: Annotated[
            list[str] | None, typer.Option("--only", help="Name of a measurement; may be repeated. Default: all.")
        ] = None,
        quick: Annotated[bool, typer.Option("--quick", help="Fewer repetitions, for a first look.")] = False,
        out: Annotated[
            Path | None, typer.Option("--out", help="Folder for latest.json, .hgrm files and the plot.")
        ] = None,
        burst: Annotated[
            bool,
            typer.Option("--burst", help="Capacity instead of latency: 10x bursts, 10x symbols, 8,000 symbols, in every topology. "
                                         "Exit code 1 when anything was lost."),
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the result object.")] = False,
    ) -> None:
        from orchestrator.cli._run import runner

        if burst:
            _burst(only or [], quick, as_json)
        progress = None if as_json else _say
        report, code = runner().bench(only=only or [], quick=quick, out=out, on_result=progress)
        if as_json:
            typer.echo(json.dumps(report))
        else:
            _show(report, out)
        raise typer.Exit(code)


def _burst(only: list[str], quick: bool, as_json: bool) -> None:
    from orchestrator.cli._errors import EXIT_INTERNAL, EXIT_USAGE, CliError
    from orchestrator.observe.console import stderr, stdout
    from orchestrator.run.burst import LOADS, bench_burst

    if only and not any(word in load.name for word in only for load in LOADS):
        raise CliError("no load of that name", hint="loads: " + ", ".join(load.name for load in LOADS), code=EXIT_USAGE)

    def say(outcome: Any) -> None:
        verdict = "nothing lost" if outcome.good else "NOT GOOD"
        stderr().print(f"  {outcome.load}, {outcome.topology}, {outcome.shards} shards: {verdict}", highlight=False)

    try:
        report = bench_burst(quick=quick, only=only, on_result=None if as_json else say)
    except TimeoutError as err:
        raise CliError(str(err), hint="a machine as busy as this cannot show it: try again", code=EXIT_INTERNAL) from err
    if as_json:
        typer.echo(json.dumps(report))
    else:
        for table in burst_tables(report):
            stdout().print(table)
    raise typer.Exit(0 if report["ok"] else 1)


def burst_tables(report: dict[str, Any]) -> list[Any]:
    """The loads and the queues of a capacity test as rich tables."""
    from rich.table import Table

    from orchestrator.observe.machine import one_line

    loads = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("load", "topology", "shards", "messages", "peak/s", "skipped", "gaps", "overruns", "rebuilt", "p50", "p99", "lost"):
        loads.add_column(title, justify="left" if title in ("load", "topology", "lost") else "right")
    for r in report["results"]:
        lost = [what for what, good in (("replay differs", r["identical"]), ("books differ", r["books_equal"]),
                                        ("position differs", r["position_equal"])) if not good]  # fmt: skip
        t2o = r["tick_to_order_ns"]
        loads.add_row(
            r["load"], r["topology"], str(r["shards"]), f"{r['messages']:,}", f"{r['peak_per_s']:,}", f"{r['of_no_shard']:,}",
            f"{r['gaps']:,}", f"{r['overruns']:,}", f"{r['rebuilt']:,}", figure(t2o["p50"], "ns"), figure(t2o["p99"], "ns"),
            ", ".join(lost) or "nothing",
        )  # fmt: skip
    queues = Table(box=None, padding=(0, 2, 0, 0), caption=one_line(report["machine"]), caption_justify="left")
    for title in ("queue", "capacity", "high water", "full", "rule when full", "seen"):
        queues.add_column(title, justify="right" if title in ("capacity", "high water", "full") else "left")
    for q in report["queues"]:
        capacity = f"{q['capacity']:,} {q['unit']}" if q["capacity"] else "-"
        high = f"{q['high_water']:,}" if q["high_water"] else "-"
        queues.add_row(q["queue"], capacity, high, f"{q['times_full']:,}", q["rule"], "acting" if q["seen"] else "not reached")
    return [loads, "", queues]


def _say(row: dict[str, Any]) -> None:
    from orchestrator.observe.console import stderr

    stderr().print(f"  {row['name']}  {figure(row['p50'], row['unit'])}", highlight=False)


def _show(report: dict[str, Any], out: Path | None) -> None:
    from orchestrator.observe.console import stdout

    console, noise = stdout(), report.get("noise")
    console.print(table(report))
    for line in [*beside(report), *targets(report)]:
        console.print(line, highlight=False)
    if noise:
        console.print(
            f"noise floor: a bare spinning thread saw gaps of {figure(noise['p99_9'], 'ns')} at p99.9 and "
            f"{figure(noise['max'], 'ns')} at worst; load {report['machine'].get('load_1m', '?')}",
            highlight=False,
        )
    for line in (f"plot {report['plot']}" if "plot" in report else "",
                 f"{len(report.get('files', []))} files in {out or 'bench/results'}", report.get("verdict", "")):  # fmt: skip
        if line:
            console.print(line, highlight=False)


def beside(report: dict[str, Any]) -> list[str]:
    """A line for each further twin of a row, and for each that could not be measured."""
    lines = []
    for row in report["results"]:
        for twin in row.get("twins", []):
            lines.append(f"{row['name']} beside {twin['name']}: {figure(twin['p50'], row['unit'])}, ratio {twin['ratio']:.3f}")
        lines += [f"{row['name']}: not measured beside {why}" for why in row.get("twins_skipped", [])]
    return lines


def targets(report: dict[str, Any]) -> list[str]:
    """A line for each target the project began with."""
    lines = []
    for t in report.get("targets", []):
        time = t["unit"] == "ns"
        goal = f"under {figure(t['goal'], 'ns')}" if time else f"{t['goal']:,.0f}/s"
        got = figure(t["measured"], "ns") if time else f"{t['measured']:,.0f}/s"
        word = ("under" if time else "over") if t["times"] >= 1 else "of the goal: missed,"
        lines.append(f"target {t['name']}: {goal}; measured {got}, {t['times']:,.0f} times {word} ({t['how']})")
    return lines


def figure(value: float, unit: str) -> str:
    """A figure for people: times in the unit they read best in, with a digit more below 50 ns."""
    from orchestrator.observe.report import nanoseconds

    if unit != "ns":
        return f"{value:,.0f}"
    return f"{value:.1f} ns" if value < 50 else nanoseconds(round(value))


def table(report: dict[str, Any]) -> Any:
    """The results as a rich table."""
    from rich.table import Table

    from orchestrator.observe.machine import one_line

    out = Table(box=None, padding=(0, 2, 0, 0), caption=one_line(report["machine"]), caption_justify="left")
    for title in ("", "p50", "p99", "p99.9", "max", "rate", "baseline", "its p50", "ratio"):
        out.add_column(title, justify="left" if title in ("", "baseline") else "right")
    for row in report["results"]:
        cells = [figure(row[k], row["unit"]) if row.get(k) is not None else "-" for k in ("p50", "p99", "p99_9", "max")]
        rate = f"{row['rate']:,.0f}/s" if row.get("rate") else "-"
        ratio = f"{row['ratio']:.2f}" if row.get("ratio") is not None else "-"
        twin = row.get("baseline") or {}
        its = figure(twin["p50"], row["unit"]) if twin.get("p50") is not None else "-"
        out.add_row(row["name"], *cells, rate, twin.get("name", "-"), its, ratio)
    return out
