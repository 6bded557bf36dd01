"""`peregrine down`: end a tree, orders first."""

from __future__ import annotations

import json
from typing import Annotated

import typer

ORDER = 12


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="No new orders, cancel what works, flush the journal, end every process; say what stayed open.")
    def down(
        name: Annotated[str | None, typer.Argument(help="Name of the engine; not needed when one tree is up.")] = None,
        timeout: Annotated[str | None, typer.Option(help="Longest wait, as in 30s; default: what the tree may take.")] = None,
        books_only: Annotated[
            bool, typer.Option("--books-only", help="Where engine and supervisor died: close the books without cancelling at the venue.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
    ) -> None:
        import msgspec

        from orchestrator.cli._durations import duration_ns
        from orchestrator.cli._errors import CliError
        from orchestrator.cli._trees import pick_tree
        from orchestrator.supervise.ending import bring_down
        from orchestrator.supervise.panel import end_lines

        chosen = pick_tree(name)
        report = bring_down(chosen, timeout_s=duration_ns(timeout) / 1e9 if timeout else None, books_only=books_only)
        if report is None:
            if as_json:
                typer.echo(json.dumps({"name": chosen, "was_up": False}))
            else:
                typer.echo(f"{chosen} was down already")
            return
        if as_json:
            typer.echo(json.dumps(msgspec.to_builtins(report)))
        elif not report.code:
            typer.echo("\n".join(end_lines(report)))
        if report.code:
            first, *others = end_lines(report)
            raise CliError("\n".join([first, *others]), hint=report.hint or f"logs: {report.run}/logs", code=report.code)
