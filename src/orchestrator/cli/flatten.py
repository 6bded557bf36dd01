"""`peregrine flatten` and `reduce-only`: close positions, or let only what makes them smaller pass."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli._control import Options, controlled, shard_or_all
from orchestrator.cli.pause import ShardOption

ORDER = 51


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command(help="Cancel what works and close positions with reducing orders only; `peregrine resume` lifts it.")
    @controlled(changes=True)
    def flatten(options: Options, shard: ShardOption = None) -> None:
        options.change("flatten", shard_or_all(shard))

    @app.command(name="reduce-only", help="Let only orders pass that make a position smaller, or lift that.")
    @controlled(changes=True)
    def reduce_only(
        options: Options,
        state: Annotated[str, typer.Argument(help="on or off.")] = "on",
        shard: ShardOption = None,
    ) -> None:
        from orchestrator.cli._errors import CliError

        if state not in ("on", "off"):
            raise CliError(f"reduce-only: found {state!r}", hint="expected on or off")
        options.change("reduce_only", {"on": state == "on", **shard_or_all(shard)})
