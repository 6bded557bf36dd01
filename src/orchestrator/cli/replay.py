"""`peregrine replay`: a journal again, or a recorded feed as a backtest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ORDER = 20


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Feed a journal, or with --itch a recorded feed, through the same engine and report.")
    def replay(
        journal: Annotated[Path | None, typer.Argument(help="The run's folder, as the report names it.")] = None,
        itch: Annotated[
            Path | None, typer.Option("--itch", help="Recorded ITCH 5.0 file (plain, .gz, .zst): backtest over it.")
        ] = None,
        profile: Annotated[str | None, typer.Option(help="For --itch: profile, by default replay.")] = None,
        config: Annotated[Path | None, typer.Option("--config", help="For --itch: configuration file.")] = None,
        overrides: Annotated[
            list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="For --itch: change a setting.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        from orchestrator.cli._errors import EXIT_INTERRUPTED, CliError
        from orchestrator.cli._run import journal_errors, load_config, runner, show_result, terminable

        if (journal is None) == (itch is None):
            raise CliError("one of a journal's folder and --itch FILE is needed", hint="peregrine replay runs/latest")
        if itch is None and (profile or config or overrides):
            raise CliError("a journal brings its own configuration", hint="leave --profile, --config and --set out")
        source = itch if journal is None else journal
        if source is None or not source.exists():
            raise CliError(f"{source} is not there", hint="the report of a run names its journal")
        with terminable(), journal_errors():
            try:
                if itch is not None:
                    cfg = load_config(profile, config, overrides or [], default="replay")
                    result = runner().replay_itch(itch, cfg)
                else:
                    result = runner().replay_journal(journal)
            except KeyboardInterrupt:
                raise CliError("stopped half way: nothing to report", code=EXIT_INTERRUPTED) from None
        show_result(result, as_json)
        raise typer.Exit(0)
