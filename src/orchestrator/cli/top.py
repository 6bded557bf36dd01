"""`peregrine top`: watch a running engine: through its shared memory, or from another machine over the control API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

ORDER = 40


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(help="Watch a running engine without disturbing it; keys pause and kill. q leaves; the engine goes on.")
    def top(
        name: Annotated[str | None, typer.Argument(help="Name of the engine; not needed when one is running.")] = None,
        once: Annotated[bool, typer.Option("--once", help="One reading, then leave.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="One reading as a JSON object, then leave.")] = False,
        refresh_ms: Annotated[
            int, typer.Option("--refresh-ms", min=50, max=60_000, help="Time between two readings.")
        ] = 500,
        remote: Annotated[str | None, typer.Option("--remote", metavar="HOST:PORT", help="Over the control API of another machine.")] = None,
        key: Annotated[Path | None, typer.Option("--key", help="With --remote: our key file.")] = None,
        server_key: Annotated[str | None, typer.Option("--server-key", help="With --remote: the server's public key, or a file with it.")] = None,
    ) -> None:
        if remote is not None:
            _watch_remote(remote, key, server_key, refresh_ms, plain=once or as_json)
            return
        from orchestrator.cli._engines import pick_engine
        from orchestrator.cli._errors import EXIT_TRY_AGAIN, EXIT_UNAVAILABLE, CliError
        from orchestrator.observe.panel import render
        from orchestrator.observe.segment import Segment, SegmentError
        from orchestrator.observe.shards import read_engine
        from orchestrator.observe.telemetry import TelemetryError

        chosen = pick_engine(name)
        try:
            with Segment(chosen) as segment:
                if as_json:
                    typer.echo(json.dumps(to_json(segment.status(), read_engine(segment))))
                    return
                from orchestrator.observe.console import stdout

                console = stdout()
                if once or not console.is_terminal:
                    console.print(render(read_engine(segment), title=chosen))
                    return
            from orchestrator.observe.screen.app import TopApp
            from orchestrator.observe.screen.source import SharedMemorySource

            TopApp(SharedMemorySource(chosen), refresh_s=refresh_ms / 1000).run()
        except TelemetryError as err:
            raise CliError(f"{chosen}: {err}", hint="try again in a moment", code=EXIT_TRY_AGAIN) from err
        except SegmentError as err:
            raise CliError(
                str(err), hint="peregrine top without a name lists what runs", code=EXIT_UNAVAILABLE
            ) from err
        except KeyboardInterrupt:
            return


def _watch_remote(where: str, key: Path | None, server_key: str | None, refresh_ms: int, *, plain: bool) -> None:
    from orchestrator.cli._errors import EXIT_UNAVAILABLE, CliError
    from orchestrator.observe.screen.app import TopApp
    from orchestrator.observe.screen.source import SourceError, remote_source

    if key is None or server_key is None:
        raise CliError("--remote without --key and --server-key", hint="--remote HOST:PORT --key FILE --server-key KEY")
    if plain:
        raise CliError("--remote with --once or --json", hint="peregrine status asks another machine once")
    try:
        TopApp(remote_source(where, key, server_key), refresh_s=refresh_ms / 1000).run()
    except SourceError as err:
        raise CliError(str(err), hint=err.hint, code=EXIT_UNAVAILABLE) from err


def to_json(status: Any, snapshot: Any) -> dict[str, Any]:
    """One reading as a JSON-able dict. `octaves` are counts by power of two of the nanoseconds of each stage."""
    from orchestrator.observe.screen.reading import octaves_of, of_shard

    shards = snapshot.extra.get("shards", [])
    return {
        "engine": vars(status),
        "counters": snapshot.counters,
        **({"shards": [s.counters for s in shards]} if shards else {}),
        "latency_ns": {name: h.summary() for name, h in snapshot.histograms.items()},
        "shard_latency_ns": [of_shard(s) for s in shards or [snapshot]],
        "octaves": {name: octaves_of(h) for name, h in snapshot.histograms.items()},
        "instruments": [
            {n: row[n].decode("ascii", "replace").strip() if n == "symbol" else int(row[n]) for n in row.dtype.names} | {"shard": shard}
            for shard, part in enumerate(shards or [snapshot]) for row in part.instruments
        ],
        "limits": [{name: int(row[name]) for name in row.dtype.names} for row in snapshot.limits],
        "units_per_currency": snapshot.units_per_currency,
    }  # fmt: skip
