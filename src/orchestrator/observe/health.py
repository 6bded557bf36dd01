"""Is the engine well, and may it trade? Answers for /healthz and /readyz, as plain JSON-able dicts.

Health: the exporter answers at all, the engine's process lives, its heartbeat moves.
Readiness: every reason that keeps it from sending a new order; ready when there is none.
"""

from __future__ import annotations

from typing import Any

from orchestrator.observe.reading import Reading
from orchestrator.observe.standing import reasons, remarks


def health(reading: Reading, heartbeat_after_s: float) -> dict[str, Any]:
    """`{ok, reasons, engine}`; ok while the engine lives and its heartbeat is no older than `heartbeat_after_s`."""
    found = _engine_reasons(reading, heartbeat_after_s)
    return {"ok": not found, "reasons": found, "engine": _engine(reading)}


def readiness(reading: Reading, heartbeat_after_s: float) -> dict[str, Any]:
    """`{ready, reasons, remarks, engine}`; ready when books are synced, sessions reconciled, and trading is enabled.

    Remarks are what is not as configured although it trades: a symbol that somebody paused, for one.
    """
    found = _engine_reasons(reading, heartbeat_after_s) or _trading_reasons(reading)
    said = remarks([s.counters for s in reading.shards], reading.standing)
    return {"ready": not found, "reasons": found, "remarks": said, "engine": _engine(reading)}


def _engine(reading: Reading) -> dict[str, Any]:
    status, age_s = reading.status, reading.heartbeat_age_s
    return {
        "name": reading.name,
        "alive": reading.alive,
        "pid": status.pid if status else 0,
        "epoch": status.epoch if status else 0,
        "state": status.state if status else "none",
        "heartbeat_age_s": None if age_s is None else round(age_s, 3),
        "shards": len(reading.shards),
    }


def _engine_reasons(reading: Reading, heartbeat_after_s: float) -> list[str]:
    if reading.status is None:
        return [reading.problem or "no engine"]
    if not reading.alive:
        return [reading.problem or f"the engine (pid {reading.status.pid}) has ended"]
    if (age_s := reading.heartbeat_age_s) is not None and age_s > heartbeat_after_s:
        return [f"no heartbeat for {age_s:.1f} s"]
    return []


def _trading_reasons(reading: Reading) -> list[str]:
    if not reading.shards:
        return [reading.problem or "no telemetry yet"]
    kill_level = reading.status.kill_level if reading.status is not None else 0
    return reasons([s.counters for s in reading.shards], kill_level=kill_level, tree=reading.tree, said=reading.standing)
