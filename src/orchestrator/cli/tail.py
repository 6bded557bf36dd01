"""`peregrine tail`: commands, state changes and alarms of a running engine, a line each, as they come."""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from typing import Annotated, Any

import typer

from orchestrator.cli._control import Options, cli_error, controlled

ORDER = 42


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Follow commands, state changes and alarms. Ctrl-C leaves; with --json a JSON object a line.")
    @controlled(changes=False)
    def tail(
        options: Options,
        refresh_ms: Annotated[int, typer.Option("--refresh-ms", min=50, max=60_000, help="Time between two looks.")] = 500,
        since_s: Annotated[int, typer.Option("--since", min=0, help="Begin with the commands of the last so many seconds.")] = 3600,
        once: Annotated[bool, typer.Option("--once", help="What there is, then leave.")] = False,
    ) -> None:
        from orchestrator.control.changes import Follower
        from orchestrator.control.errors import ControlError

        follower = Follower(time.time_ns() - since_s * 10**9)
        with options.client() as client:
            try:
                while True:
                    commands = client.call("commands", {"since_ns": max(0, follower.since_ns)}, who=options.who or "").data
                    for line in follower.look(client.call("status", who=options.who or "").data, commands):
                        typer.echo(json.dumps(line) if options.as_json else in_words(line))
                    sys.stdout.flush()
                    if once:
                        return
                    time.sleep(refresh_ms / 1000)
            except ControlError as err:
                raise cli_error(err) from err
            except KeyboardInterrupt:
                return


def in_words(line: dict[str, Any]) -> str:
    """One line for a person."""
    at = dt.datetime.fromtimestamp(line["ts_ns"] / 1e9).strftime("%H:%M:%S.%f")[:-3]
    if line["what"] != "command":
        return f"{at}  {line['what']:<8} {line['text']}"
    who = f"  {line['who']}: {line['why']}" if line.get("who") else ""
    value = line.get("text") or line.get("value", "")
    return f"{at}  command  {line['kind']} {value}".rstrip() + f", shard {line['shard']} at {line['seq']}{who}"
