"""`peregrine report`: a run's journal as one HTML page with its tables beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

ORDER = 32


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Write one self-contained HTML page about a run, from its journal alone, and its tables as CSV and Parquet.")
    def report(
        journal: Annotated[Path, typer.Argument(help="The run's folder, as the report of the run names it.")],
        out: Annotated[Path | None, typer.Option("--out", help="Folder to write into; by default `report` in the run's folder.")] = None,
        symbols: Annotated[int, typer.Option("--symbols", min=0, max=1000, help="Symbols with a chart of their own, the most traded first.")] = 12,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
        show: Annotated[str, typer.Option("--open", metavar="yes|no", help="Open the page in a browser afterwards.")] = "no",
    ) -> None:
        from orchestrator.cli._errors import EXIT_INTERRUPTED, EXIT_TRY_AGAIN, CliError
        from orchestrator.cli._run import journal_errors, runner
        from orchestrator.observe.report_html.build import build_report

        if show not in ("yes", "no"):
            raise CliError(f"--open {show}", hint="--open yes or --open no")
        if not journal.is_dir():
            raise CliError(f"{journal} is not the folder of a run", hint="the report of a run names its journal")
        runner()  # says so where the engine is not built
        folder = out or journal / "report"
        try:
            with journal_errors():
                written = build_report(journal.resolve(), folder, most_symbols=symbols, on_progress=_progress if sys.stderr.isatty() else None)
        except OSError as err:
            raise CliError(f"{folder}: {err.strerror or err}", hint="name a folder that can be written: --out DIR", code=EXIT_TRY_AGAIN) from err
        except KeyboardInterrupt:
            raise CliError("stopped half way: what was written is not whole", code=EXIT_INTERRUPTED) from None
        for note in [*written.story.notes, *written.notes]:
            typer.echo(f"note: {note}", err=True)
        if as_json:
            typer.echo(json.dumps(written.to_json()))
        else:
            verdict = "identical" if written.story.identical else "DIFFERENT: peregrine verify says where"
            typer.echo(f"{written.page}\n{written.story.result.journal_records:,} records replayed, {verdict}; {len(written.files) - 1} tables beside it")
        if show == "yes":
            typer.launch(written.page.resolve().as_uri())
        raise typer.Exit(0 if written.story.identical else 1)


def _progress(shard: int, records: int, of: int) -> None:
    end = "\n" if records >= of - 200_000 else ""
    print(f"\rshard {shard}: {records:,} of {of:,} records", end=end, file=sys.stderr, flush=True)
