"""`peregrine keys new|show`: keys for the control API over the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

ORDER = 57


def register(app: typer.Typer) -> None:
    """Add `keys` with its commands."""
    group = typer.Typer(no_args_is_help=True, help="Make and show keys for the control API over the network.")

    @group.command(help="Make a key pair: the secret into a file only you can read, the line for the server's list printed.")
    def new(
        name: Annotated[str, typer.Argument(help="Whose key it is, one word.", show_default=False)],
        role: Annotated[str, typer.Option("--role", help="viewer, operator, risk or admin.")] = "viewer",
        out: Annotated[Path | None, typer.Option("--out", help="File to write; NAME.key without it.")] = None,
    ) -> None:
        from orchestrator.cli._errors import CliError
        from orchestrator.control import keys

        path = out or Path(f"{name}.key")
        try:
            known, pair = keys.role(role), keys.make(name)
            keys.write(pair, path)
        except keys.KeyFileError as err:
            raise CliError(str(err)) from err
        typer.echo(f"{path} holds the secret key; keep it to yourself", err=True)
        typer.echo(pair.line(known))

    @group.command(help="Show the public part of a key file.")
    def show(
        file: Annotated[Path, typer.Argument(help="The key file.", show_default=False)],
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        from orchestrator.cli._errors import CliError
        from orchestrator.control import keys

        try:
            pair = keys.read(file)
        except keys.KeyFileError as err:
            raise CliError(str(err)) from err
        typer.echo(json.dumps({"name": pair.name, "public": pair.public}) if as_json else f"name: {pair.name}\npublic: {pair.public}")

    app.add_typer(group, name="keys")
