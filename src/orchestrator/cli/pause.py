"""`peregrine pause`, `resume`, `drain`: stop opening orders of a symbol, a shard or all, and go on."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli._control import Options, controlled, target

ORDER = 50

SymbolArgument = Annotated[str | None, typer.Argument(help="One symbol.", show_default=False)]
ShardOption = Annotated[int | None, typer.Option("--shard", min=0, help="One shard, by number.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every shard.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command(help="No new orders of a symbol, a shard or all; what works is cancelled.")
    @controlled(changes=True)
    def pause(options: Options, symbol: SymbolArgument = None, shard: ShardOption = None, everything: AllOption = False) -> None:
        options.change("pause", target(symbol, shard, everything))

    @app.command(help="Lift a pause or a drain; a symbol paused by name is resumed by name. A kill is lifted by `peregrine revive` only.")
    @controlled(changes=True)
    def resume(options: Options, symbol: SymbolArgument = None, shard: ShardOption = None, everything: AllOption = False) -> None:
        options.change("resume", target(symbol, shard, everything))

    @app.command(help="Cancel everything a shard has at the venue; no new orders until it is resumed.")
    @controlled(changes=True)
    def drain(options: Options, shard: ShardOption = None, everything: AllOption = False) -> None:
        options.change("drain", target(None, shard, everything))
