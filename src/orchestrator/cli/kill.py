"""`peregrine kill`: stop an engine's trading, now, whatever its control plane is doing."""

from __future__ import annotations

import os
import signal as signals
from typing import Annotated

import typer

ORDER = 45


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Set the kill word: no new order from the next input on, everything at the venue is cancelled.")
    def kill(
        name: Annotated[str | None, typer.Argument(help="Name of the engine; not needed when one is running.")] = None,
        flatten: Annotated[
            bool, typer.Option("--flatten", help="Also close the position, with reducing orders only.")
        ] = False,
        signal: Annotated[bool, typer.Option("--signal", help="Send SIGUSR1 instead of writing the word.")] = False,
    ) -> None:
        from orchestrator.cli._engines import pick_engine
        from orchestrator.cli._errors import EXIT_UNAVAILABLE, CliError
        from orchestrator.observe.segment import KILL_LEVELS, Segment, SegmentError

        if signal and flatten:
            raise CliError("--signal with --flatten", hint="a signal carries no level: leave one of the two out")
        chosen = pick_engine(name)
        try:
            with Segment(chosen, write=not signal) as segment:
                pid = segment.status().pid
                if signal:
                    os.kill(pid, signals.SIGUSR1)
                else:
                    segment.kill(KILL_LEVELS["flatten" if flatten else "cancel"])
        except (SegmentError, OSError) as err:
            raise CliError(
                f"{chosen} could not be killed: {err}", hint="as the user that runs it?", code=EXIT_UNAVAILABLE
            ) from err
        how = "SIGUSR1 sent" if signal else "kill word set" + (", flattening" if flatten else "")
        typer.echo(f"{chosen} (pid {pid}): {how}")
