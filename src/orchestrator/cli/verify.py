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
        from_snapshot: Annotated[
            bool, typer.Option("--from-snapshot", help="Only what comes after the newest snapshot.")
        ] = False,
    ) -> None:
        from orchestrator.cli._errors import CliError
        from orchestrator.cli._run import journal_errors, runner

        if not journal.exists():
            raise CliError(f"{journal} is not there", hint="the report of a run names its journal")
        with journal_errors():
            report = runner().verify_journal(journal, from_snapshot=from_snapshot)
        typer.echo(json.dumps(report) if as_json else text(report))
        raise typer.Exit(0 if report["identical"] else 1)


def text(report: dict[str, Any]) -> str:
    """The verdict for people."""
    counted = f"{report['records']:,} records, {report['orders']:,} messages to the venue"  # cancels too
    if shards := report.get("shards"):
        counted += f" in {len(shards)} shards"
    if (start := report.get("from_seq", 1)) > 1:
        counted += f" from record {start:,} on"
    if held := report.get("snapshots", 0):
        counted += f"; {held} snapshot{'s' * (held > 1)} hold what the replay came to"
    notes = [f"  note: {note}" for note in report.get("notes", [])]
    if report["identical"]:
        return "\n".join([f"identical: {counted}", *notes])
    lines = [f"DIFFERENT: {counted}", *notes]
    if differ := report.get("snapshots_differ", 0):
        lines.append(f"  {differ} snapshot{'s' * (differ > 1)} differ from what the replay came to")
    for name, values in (report.get("divergence") or {}).items():
        lines.append(f"  {name}:")
        if isinstance(values, dict) and {"journal", "replay"} <= values.keys():
            lines += [f"    journal  {values['journal']}", f"    replay   {values['replay']}"]
        else:
            lines.append(f"    {values}")
    return "\n".join(lines)
