"""Several shards in one engine: who trades which symbol, what of the account's limits each has, where each journals.

The rules, all deterministic: with `engine.assignment: dealt` instrument i of the configuration belongs to shard i mod N
(like cards, so that an instrument added at the end moves no other); `by_load` is in supervise/assign.py. A limit of the account is divided among the shards, rounded down, the
remainder to the first: their sum is the account's limit, never more. One shard journals into the run's folder itself;
of several, shard k into `shard-kk` in it.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.config.models import Config, Instrument
from orchestrator.supervise.assign import by_load

MAX_SHARDS = 16


def instruments_of(cfg: Config, shard: int) -> list[Instrument]:
    """What shard number `shard` trades, in its order of priority: the configuration's, or the heaviest load first.

    The journal's header has this list, so that a replay does not ask again; a run that goes on is refused when it has changed.
    """
    engine = cfg.engine
    if engine.assignment == "dealt":
        return cfg.instruments[shard :: engine.shards]
    chosen = by_load([i.load for i in cfg.instruments], engine.shards, engine.symbols_per_shard)
    return [cfg.instruments[ix] for ix in chosen[shard]]


def part(total: int, shards: int, shard: int) -> int:
    """Shard number `shard`'s part of an account-wide limit."""
    return total // shards + (total % shards if shard == 0 else 0)


def folder_of(run: Path, shards: int, shard: int) -> Path:
    """Where a shard's journal lies in the folder of its run."""
    return run if shards == 1 else run / f"shard-{shard:02}"


def folders(run: Path) -> list[Path]:
    """The journal folders of a run, in shard order: the run's own where there is one shard."""
    found = sorted(p for p in run.glob("shard-[0-9][0-9]") if p.is_dir()) if run.is_dir() else []
    return found or [run]


def user_of(username: str, shard: int) -> str:
    """Account of a shard at the embedded venue: the demo account itself, then one more of its firm for each shard."""
    return username if shard == 0 else f"{username[0]}{username[-1]}SH{shard:02}"
