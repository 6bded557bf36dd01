"""`peregrine revive`: trade again after a kill, in two steps."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orchestrator.cli._control import Options, controlled, show

ORDER = 46


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Trade again after a kill: once for a token, then with it. On a terminal it asks between the two.")
    @controlled(changes=True)
    def revive(
        options: Options,
        token: Annotated[str | None, typer.Option("--token", help="What the first step printed.")] = None,
    ) -> None:
        if token is None:
            first = options.ask("revive", change=True)
            if options.as_json or not sys.stdin.isatty():
                show(first, "revive, the first of two steps", options.as_json)
                return
            level = first.data["kill_level"]
            typer.confirm(f"the kill word is {level}; trade again ({options.why})?", abort=True, err=True)
            token = first.data["token"]
        options.change("revive", {"token": token})
