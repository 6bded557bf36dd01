"""`peregrine note TEXT`: a line in the journal for whoever reads it later."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli._control import Options, controlled

ORDER = 54


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Put a line of text into the journal of every shard.")
    @controlled(changes=True)
    def note(options: Options, text: Annotated[str, typer.Argument(help="What to say.", show_default=False)]) -> None:
        options.why = options.why or "note"
        options.change("note", {"text": text})
