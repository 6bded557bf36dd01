"""`peregrine config assign`: which shard gets which symbol, from the configuration's loads or those of an earlier run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def register(group: typer.Typer) -> None:
    """Add the command to `peregrine config`."""

    @group.command(help="Show which shard gets which symbol by load, and print the instruments with loads measured in a run.")
    def assign(
        file: Annotated[Path, typer.Argument(help="The configuration.")],
        run: Annotated[Path | None, typer.Option("--from", help="A run's folder: loads are its feed messages of each symbol.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        from orchestrator.config import load_file
        from orchestrator.run.loads import measured
        from orchestrator.run.shards import instruments_of
        from orchestrator.supervise.assign import spread

        cfg = load_file(file)
        if run is not None:
            counts = measured(run)
            heavier = [i.model_copy(update={"load": max(1, counts.get(i.symbol, 1))}) for i in cfg.instruments]
            cfg = cfg.model_copy(update={"instruments": heavier})
        engine = cfg.engine.model_copy(update={"assignment": "by_load"})
        chosen = [instruments_of(cfg.model_copy(update={"engine": engine}), shard) for shard in range(engine.shards)]
        loads = [i.load for shard in chosen for i in shard]
        at = iter(range(len(loads)))
        words = spread(loads, [[next(at) for _ in shard] for shard in chosen])
        if as_json:
            shards = [{"load": sum(i.load for i in s), "symbols": {i.symbol: i.load for i in s}} for s in chosen]
            typer.echo(json.dumps({"assignment": words, "shards": shards}))
            return
        typer.echo(f"# {words}")
        for number, shard in enumerate(chosen):
            typer.echo(f"# shard {number}: load {sum(i.load for i in shard)}: {' '.join(i.symbol for i in shard)}")
        typer.echo("instruments:")
        for instrument in cfg.instruments:
            values = {"symbol": instrument.symbol, **instrument.model_dump(exclude_defaults=True), "load": instrument.load}
            typer.echo("  - {" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}")
