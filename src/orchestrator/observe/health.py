"""Is the engine well, and may it trade? Answers for /healthz and /readyz, as plain JSON-able dicts.

Health: the exporter answers at all, the engine's process lives, its heartbeat moves.
Readiness: every reason that keeps it from sending a new order; ready when there is none.
"""

from __future__ import annotations

from typing import Any

from orchestrator.observe.metric_engine import FEED_STATES, TRADING_STATES
from orchestrator.observe.reading import Reading

LIVE, TRADING, THROTTLED = FEED_STATES.index("live"), TRADING_STATES.index("trading"), TRADING_STATES.index("throttled")


def health(reading: Reading, heartbeat_after_s: float) -> dict[str, Any]:
    """`{ok, reasons, engine}`; ok while the engine lives and its heartbeat is no older than `heartbeat_after_s`."""
    reasons = _engine_reasons(reading, heartbeat_after_s)
    return {"ok": not reasons, "reasons": reasons, "engine": _engine(reading)}


def readiness(reading: Reading, heartbeat_after_s: float) -> dict[str, Any]:
    """`{ready, reasons, engine}`; ready when books are synced, sessions reconciled, and trading is enabled."""
    reasons = _engine_reasons(reading, heartbeat_after_s) or _trading_reasons(reading)
    return {"ready": not reasons, "reasons": reasons, "engine": _engine(reading)}


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
    out = []
    if reading.status is not None and reading.status.kill_level:
        out.append("the kill word is set")
    if reading.tree is not None and not reading.tree.trading_enabled:
        out.append(f"the supervisor has not enabled trading: the tree is {reading.tree.state}")
    for i, shard in enumerate(reading.shards):
        feed, doing = shard["feed_state"], shard["trading_state"]
        if feed != LIVE:
            out.append(f"shard {i}: books are {_name(FEED_STATES, feed)}")
        if not shard["session_ready"]:
            out.append(f"shard {i}: the order session is not ready")
        if doing not in (TRADING, THROTTLED) and feed == LIVE and shard["session_ready"]:
            out.append(f"shard {i}: {_name(TRADING_STATES, doing)}")
    return out


def _name(states: tuple[str, ...], value: int) -> str:
    return states[value].replace("_", " ") if 0 <= value < len(states) else f"state {value}"
