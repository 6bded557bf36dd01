"""`peregrine limits get|set`: the limits in force, of the account or one symbol."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from orchestrator.cli._control import Options, controlled, show
from orchestrator.cli._errors import CliError

ORDER = 49

SymbolOption = Annotated[str | None, typer.Option("--symbol", help="Limits of one symbol; without it the account's.")]


def register(app: typer.Typer) -> None:
    """Add `limits` with its commands."""
    group = typer.Typer(no_args_is_help=True, help="Show and change limits of a running engine.")

    @group.command(help="Limits in force: those of the start, and every change since.")
    @controlled(changes=False)
    def get(options: Options, symbol: SymbolOption = None) -> None:
        found = options.ask("limits.get", {"symbol": symbol} if symbol else {}).data
        if options.as_json:
            typer.echo(json.dumps(found))
        else:
            _print(found)

    @group.command(name="set", help="Change limits by one journaled command: max_order_lots=100 max_loss_units=5_000_000.")
    @controlled(changes=True)
    def set_(
        options: Options,
        values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE…", help="Limits by name.", show_default=False)],
        symbol: SymbolOption = None,
    ) -> None:
        args: dict[str, Any] = {"limits": parse(values), **({"symbol": symbol} if symbol else {})}
        reply = options.ask("limits.set", args, change=True)
        show(reply, "limits", options.as_json)

    app.add_typer(group, name="limits")


def parse(values: list[str]) -> dict[str, int]:
    """NAME=VALUE words as a map. Raises CliError that names every word that is none."""
    found, wrong = {}, []
    for word in values:
        name, equals, text = word.partition("=")
        try:
            found[name] = int(text) if equals else int("")
        except ValueError:
            wrong.append(word)
    if wrong:
        raise CliError(f"expected NAME=INTEGER, found {', '.join(wrong)}", hint="peregrine limits get shows the names")
    return found


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table

    from orchestrator.observe.console import stdout

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("limit")
    if "symbol" in found:
        table.add_column(found["symbol"] + ("" if found["own"] else " (as every symbol)"), justify="right")
        for name, value in found["limits"].items():
            table.add_row(name, f"{value:,}")
    else:
        table.add_column("account", justify="right")
        for symbol in found["symbols"]:
            table.add_column(symbol, justify="right")
        for name, value in found["account"].items():
            table.add_row(name, f"{value:,}")
        table.add_section()
        for name, value in found["symbols_default"].items():
            table.add_row(name, f"{value:,}", *(f"{own[name]:,}" for own in found["symbols"].values()))
    stdout().print(table)
