"""What every shard held on lease at every instant of a run, out of its journals alone: each is replayed, and asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from hotpath import _core
from orchestrator.control.bodies import KIND_NAMES
from orchestrator.run import plan
from orchestrator.run.journals import read_header
from orchestrator.run.shards import folders

HEADER, COMMAND = 1, 21
LEASES = ("lease_grant", "lease_return")


class Event(NamedTuple):
    """From here on the shard holds this much."""

    ts_ns: int
    shard: int
    seq: int
    kind: str
    epoch: int
    units: int


def lease_events(run: Path) -> list[Event]:
    """Every change of every shard's lease, in time's order."""
    found: list[Event] = []
    for shard, folder in enumerate(folders(run)):
        parsed, _ = read_header(folder)
        spec, quorum = parsed.config["shard"], parsed.config["quorum"]
        replay = _core.WatchedReplay(spec, [p.spec for p in plan.policies_of_header(parsed)], quorum, plan.bank_spec)

        def on(kind: int, seq: int, ts_ns: int, generation: int, payload: bytes, shard: int = shard, replay: Any = replay) -> None:
            if kind == HEADER:
                name = "start"
            else:
                name = KIND_NAMES.get(int.from_bytes(payload[8:10], "little"), "")
            epoch, units, _ = replay.lease
            if name in (*LEASES, "start"):
                found.append(Event(ts_ns, shard, seq, name, epoch, units))

        replay.run(str(folder), 0, 1, 1, 1, [HEADER, COMMAND], on)
    return sorted(found)


def passes(events: list[Event], budget_units: int) -> list[Event]:
    """The events after which the shards together hold more than the budget."""
    held: dict[int, int] = {}
    over = []
    for event in events:
        held[event.shard] = event.units
        if sum(held.values()) > budget_units:
            over.append(event)
    return over
