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
        as_json: Annotated[bool, typer.Option("--json", help="Print the result object.")] = False,
    ) -> None:
        from orchestrator.cli._run import runner
        from orchestrator.observe.console import stderr, stdout

        progress = None if as_json else lambda row: stderr().print(f"  {row['name']}", highlight=False)
        report, code = runner().bench(only=only or [], quick=quick, out=out, on_result=progress)
        if as_json:
            typer.echo(json.dumps(report))
        else:
            stdout().print(table(report))
        raise typer.Exit(code)


def table(report: dict[str, Any]) -> Any:
    """The results as a rich table."""
    from rich.table import Table

    from orchestrator.observe.machine import one_line
    from orchestrator.observe.report import nanoseconds

    out = Table(box=None, padding=(0, 2, 0, 0), caption=one_line(report["machine"]), caption_justify="left")
    for title in ("", "p50", "p99", "p99.9", "max", "rate", "baseline", "ratio"):
        out.add_column(title, justify="right" if title else "left")
    for row in report["results"]:
        show = nanoseconds if row["unit"] == "ns" else lambda v: f"{v:,.0f}"
        figures = [show(row[k]) if row.get(k) is not None else "-" for k in ("p50", "p99", "p99_9", "max")]
        rate = f"{row['rate']:,.0f}/s" if row.get("rate") else "-"
        ratio = f"{row['ratio']:.2f}" if row.get("ratio") is not None else "-"
        out.add_row(row["name"], *figures, rate, (row.get("baseline") or {}).get("name", "-"), ratio)
    return out
