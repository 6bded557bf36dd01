"""Breakers of a run, out of its journals: which tripped when, on what against which limit, and who armed it again.

A shard writes a record when one trips and when one is armed again (journal/record.h, DecisionHead of no instrument), so
nothing has to be replayed to know it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from orchestrator.control import bodies

#: Bits of a `rearm` command's body and of the counter `breakers_open`, as risk/breakers.h numbers them.
BREAKERS: dict[int, str] = {1: "message_rate", 2: "reject_rate", 4: "loss", 8: "drawdown"}
BITS = {name: bit for bit, name in BREAKERS.items()}
ALL = sum(BREAKERS)

COMMAND, DECISION = 21, 65
BREAKER_REASON = 39  # RiskReason::kBreaker
_DECISION = struct.Struct("<QQQIBBBBqq")
_COMMAND = struct.Struct("<QHHI")


def names(bits: int) -> list[str]:
    """The breakers in a set of bits, in their order."""
    return [name for bit, name in BREAKERS.items() if bits & bit]


def bits(wanted: Iterable[str]) -> int:
    """The bits of breakers by name; of none, all. Raises ValueError naming one that does not exist."""
    out = 0
    for name in wanted:
        if name not in BITS:
            raise ValueError(f"no such breaker: {name}; there are {', '.join(BITS)}")
        out |= BITS[name]
    return out or ALL


def history(records: Iterable[tuple[int, int, int, int, bytes]]) -> list[dict[str, Any]]:
    """Trips in a journal's records (type, seq, ts_ns, generation, payload), in order.

    Each is {breaker, seq, ts_ns, value, limit, rearmed_seq, rearmed_ns, rearmed_by, why}: the last four None while it has
    not been armed again. `rearmed_by` is "cooldown" or who gave the command; value and limit are events, or money units.
    """
    out: list[dict[str, Any]] = []
    open_: dict[str, dict[str, Any]] = {}
    rearm: tuple[str, str] | None = None  # the command whose outputs follow
    for kind, seq, ts_ns, _, payload in records:
        if kind < 64:
            rearm = _rearm(payload) if kind == COMMAND else None
            continue
        if kind != DECISION:
            continue
        bit, _, _, instrument, _, reason, _, _, value, limit = _DECISION.unpack_from(payload)
        if instrument != bodies.ACCOUNT:
            continue
        name = BREAKERS.get(bit, f"breaker {bit}")
        if reason == BREAKER_REASON:
            open_[name] = {"breaker": name, "seq": seq, "ts_ns": ts_ns, "value": value, "limit": limit,
                           "rearmed_seq": None, "rearmed_ns": None, "rearmed_by": None, "why": None}  # fmt: skip
            out.append(open_[name])
        elif (trip := open_.pop(name, None)) is not None:
            who, why = rearm or ("cooldown", "")
            trip.update(rearmed_seq=seq, rearmed_ns=ts_ns, rearmed_by=who, why=why)
    return out


def _rearm(payload: bytes) -> tuple[str, str] | None:
    _, kind, said, size = _COMMAND.unpack_from(payload)
    if kind != bodies.KINDS["rearm"]:
        return None
    origin = bodies.parse_origin(payload[_COMMAND.size + size :][:said]) if said else {}
    return origin.get("who") or "unknown", origin.get("why") or ""


def history_of(folder: Path) -> list[dict[str, Any]]:
    """Trips in every journal of a run's folder, in time's order, each with its `shard`. Raises what the reader raises."""
    from hotpath import _core
    from orchestrator.run.shards import folders

    found = []
    for shard, own in enumerate(folders(folder)):
        found += [{"shard": shard, **trip} for trip in history((r[0], r[1], r[2], r[3], bytes(r[4])) for r in _core.journal.Reader(str(own)))]
    return sorted(found, key=lambda trip: trip["ts_ns"])
