"""`peregrine verify`: a journal replayed must give the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

ORDER = 30


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Replay a journal and compare every order byte and state hash. Exit code 1 when they differ.")
    def verify(
        journal: Annotated[Path, typer.Argument(help="The run's folder, as the report names it.")],
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        from orchestrator.cli._errors import CliError
        from orchestrator.cli._run import journal_errors, runner

        if not journal.exists():
            raise CliError(f"{journal} is not there", hint="the report of a run names its journal")
        with journal_errors():
            report = runner().verify_journal(journal)
        typer.echo(json.dumps(report) if as_json else text(report))
        raise typer.Exit(0 if report["identical"] else 1)


def text(report: dict[str, Any]) -> str:
    """The verdict for people."""
    counted = f"{report['records']:,} records, {report['orders']:,} orders"
    if report["identical"]:
        return f"identical: {counted}"
    lines = [f"DIFFERENT: {counted}"]
    for name, values in (report.get("divergence") or {}).items():
        lines.append(f"  {name}:")
        if isinstance(values, dict) and {"journal", "replay"} <= values.keys():
            lines += [f"    journal  {values['journal']}", f"    replay   {values['replay']}"]
        else:
            lines.append(f"    {values}")
    return "\n".join(lines)
