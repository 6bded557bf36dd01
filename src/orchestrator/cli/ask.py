"""`peregrine ask CMD [NAME=VALUE…]`: any command of the control API, those without a command of their own too."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from orchestrator.cli._control import Options, controlled, show
from orchestrator.cli._errors import CliError

ORDER = 56


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Any command of the control API: peregrine ask snapshot all=true --why 'before the change'.")
    @controlled(changes=True)
    def ask(
        options: Options,
        cmd: Annotated[str, typer.Argument(help="Its name.", show_default=False)],
        arguments: Annotated[
            list[str] | None, typer.Argument(metavar="NAME=VALUE…", help="Its arguments, values as JSON or text.")
        ] = None,
    ) -> None:
        from orchestrator.control.messages import COMMANDS

        if cmd not in COMMANDS:
            raise CliError(f"no command {cmd}", hint=", ".join(COMMANDS))
        changes = COMMANDS[cmd].changes
        reply = options.ask(cmd, parse(arguments or []), change=changes)
        if changes:
            show(reply, cmd, options.as_json)
        else:
            typer.echo(json.dumps(reply.data, indent=None if options.as_json else 2, default=str))


def parse(words: list[str]) -> dict[str, Any]:
    """NAME=VALUE words as arguments. Raises CliError."""
    out: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise CliError(f"expected NAME=VALUE, found {word}")
        try:
            out[name] = json.loads(text)
        except ValueError:
            out[name] = text
        except RecursionError:
            raise CliError(f"{name}: brackets nested deeper than any argument has them") from None
    return out
