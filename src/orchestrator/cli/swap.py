"""`peregrine swap` and `weights`: another policy at work, other weights, without a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli._control import Options, controlled, show
from orchestrator.cli._errors import CliError
from orchestrator.cli.pause import ShardOption

ORDER = 52


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command(help="Check a policy artifact, load it and put it to work in its slot; --back for the one before.")
    @controlled(changes=True)
    def swap(
        options: Options,
        file: Annotated[Path | None, typer.Argument(help="The artifact, or builtin:default.", show_default=False)] = None,
        slot: Annotated[int, typer.Option("--slot", min=0, max=7, help="Its place in the policy set.")] = 0,
        back: Annotated[bool, typer.Option("--back", help="The artifact that stood there before.")] = False,
        shard: ShardOption = None,
    ) -> None:
        if (file is None) != back:
            raise CliError("swap needs a FILE or --back, one of the two")
        args: dict[str, Any] = {"slot": slot} | ({} if shard is None else {"shard": shard})
        if file is None:
            options.change("policy.swap", {**args, "back": True})
            return
        loaded = options.ask("policy.load", {"slot": slot, **_artifact(file)}, change=True)
        reply = options.ask("policy.swap", args, change=True)
        reply.data = {**(loaded.data or {}), **(reply.data or {})}
        show(reply, "swap", options.as_json)

    @app.command(help="Weights of the policies' votes, a number a slot: peregrine weights 2 1 1.")
    @controlled(changes=True)
    def weights(
        options: Options,
        values: Annotated[list[int], typer.Argument(metavar="WEIGHT…", help="Slot 0, 1, 2 …", show_default=False)],
    ) -> None:
        options.change("weights", {"weights": values})


def _artifact(file: Path) -> dict[str, Any]:
    """The artifact itself where it fits a request (it may be another machine's file system), else its path."""
    from orchestrator.control.messages import MAX_REQUEST_BYTES
    from orchestrator.run.plan import BUILTIN_POLICY

    if str(file) == BUILTIN_POLICY:
        return {"path": BUILTIN_POLICY}
    try:
        data = file.read_bytes()
    except OSError as err:
        raise CliError(f"{file}: {err.strerror}") from err
    return {"data": data} if len(data) < MAX_REQUEST_BYTES - 4096 else {"path": str(file.resolve())}
