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

    @group.command(help="Limits in force (those of the start, and every change since), what is used of each now, and what is left.")
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
    """NAME=VALUE words as a map. Raises CliError that names every word that is none, and every name that comes twice."""
    found, wrong = {}, []
    for word in values:
        name, equals, text = word.partition("=")
        try:
            found[name] = int(text) if equals and text.isascii() else int("")
        except ValueError:
            wrong.append(word)
        else:
            if not -(2**63) <= found[name] < 2**63:  # what a request has room for
                wrong.append(word)
    if wrong:
        raise CliError(f"expected NAME=INTEGER, found {', '.join(wrong)}", hint="peregrine limits get shows the names")
    if len(found) < len(values):
        names = [word.partition("=")[0] for word in values]
        raise CliError(f"named twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}", hint="one value for each limit")
    return found


def _print(found: dict[str, Any]) -> None:
    from rich.table import Table

    from orchestrator.observe.console import stdout

    table = Table(box=None, padding=(0, 2, 0, 0))
    use = found["use"] or {}
    table.add_column("limit")
    if "symbol" in found:
        table.add_column(found["symbol"] + ("" if found["own"] else " (as every symbol)"), justify="right")
        for head in ("used", "left"):
            table.add_column(head, justify="right")
        for name, value in found["limits"].items():
            now = use.get(name)
            table.add_row(name, f"{value:,}", *((f"{now['used']:,}", f"{now['left']:,}") if now else ()))
    else:
        several = len(found["shards"]) > 1
        for head in ("account", "used", "left", *(("least left in",) if several else ())):
            table.add_column(head, justify="right")
        for name, value in found["account"].items():
            table.add_row(name, f"{value:,}", *_used(use.get(name), several))
        stdout().print(table)
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("limit of a symbol")
        for head in ("each", *found["symbols"], "used", "left", "least left in"):
            table.add_column(head, justify="right")
        for name, value in found["symbols_default"].items():
            now = use.get(name)
            told = (f"{now['used']:,}", f"{now['left']:,}", now["symbol"]) if now else ()
            table.add_row(name, f"{value:,}", *(f"{own[name]:,}" for own in found["symbols"].values()), *told)
    stdout().print(table)
    for sentence in above(use):
        typer.echo(sentence)
    if "problem" in found:
        typer.echo(found["problem"], err=True)


def above(use: dict[str, Any]) -> list[str]:
    """A sentence about each leased limit that what stands, or what is out on lease, is above: by how much, and until when."""
    told = []
    for name, now in use.items():
        if now.get("above"):
            told.append(f"{name}: above by {now['above']:,} until orders are done or positions come down; "
                        f"a shard adds within its lease only, and leases come to {now['out']:,}")
        elif now.get("out", 0) > now["value"]:
            told.append(f"{name}: {now['out'] - now['value']:,} more on lease than the limit until the shards have taken their cuts")
    return told


def _used(now: dict[str, Any] | None, several: bool) -> tuple[str, ...]:
    """Used, left, and where least is left; a mark where the soft share is reached."""
    if now is None:
        return ()
    part = now["shards"][now["tightest"]]
    cells = (f"{now['used']:,}" + (" soft" if now["soft"] else ""), f"{now['left']:,}")
    return (*cells, f"shard {now['tightest']}: {part['left']:,}") if several else cells
