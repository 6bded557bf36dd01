"""What happened between two looks at a status: commands, changes of state, alarms, each a line with its time."""

from __future__ import annotations

from typing import Any

from orchestrator.observe.panel import FEED_STATES, TRADING_STATES

#: Counters whose rise is an alarm → what it says.
ALARMS = {
    "gaps": "holes in the feed", "overruns": "times a shard did not keep up", "reconnects": "order session lost and back",
    "malformed": "feed messages that could not be decoded", "unknown_orders": "orders whose fate is not known",
}  # fmt: skip


class Follower:
    """Remembers what was told, so that each thing is told once. `since_ns`: ask for commands after this."""

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self._told: set[tuple[int, int]] = set()  # (shard, seq) of commands at `since_ns` or after
        self._before: dict[str, Any] | None = None

    def look(self, status: dict[str, Any], commands: dict[str, Any]) -> list[dict[str, Any]]:
        """Lines since the look before, in order of time."""
        lines = [{"what": "command", **c} for c in commands["commands"] if (c["shard"], c["seq"]) not in self._told]
        self._told |= {(c["shard"], c["seq"]) for c in commands["commands"]}
        if commands["commands"]:
            # Shards write their journals each by itself: a command a little older than the newest may still come.
            self.since_ns = max(self.since_ns, commands["commands"][-1]["ts_ns"] - 10 * 10**9)
            if len(self._told) > 20_000:
                self._told = {(c["shard"], c["seq"]) for c in commands["commands"]}
        lines += changes(self._before, status)
        self._before = status
        return sorted(lines, key=lambda line: line["ts_ns"])


def changes(before: dict[str, Any] | None, now: dict[str, Any]) -> list[dict[str, Any]]:
    """What is different; everything there is when there was no look before."""
    states_before = {} if before is None else states(before)
    out = [_line(now, "state", f"{name}: {value}" + (f" (was {states_before[name]})" if name in states_before else ""))
           for name, value in states(now).items() if states_before.get(name) != value]
    if before is not None and before["engine"] and now["engine"] and before["engine"]["engine"]["epoch"] == now["engine"]["engine"]["epoch"]:
        was, is_ = before["engine"]["counters"], now["engine"]["counters"]
        out += [_line(now, "alarm", f"{text}: {is_[name]:,} (was {was[name]:,})") for name, text in ALARMS.items() if is_[name] > was[name]]
    refused, refused_before = _refused(now), _refused(before)
    out += [_line(now, "alarm", f"refused attempts, {reason}: {n:,}") for reason, n in refused.items()
            if before is not None and n > refused_before.get(reason, 0)]
    return out


def states(status: dict[str, Any]) -> dict[str, str]:
    """Everything that is in one state or another, by name."""
    tree, engine = status["tree"], status["engine"]
    out = {"tree": tree["state"], "trading": "enabled" if tree["trading_enabled"] else "not enabled"}
    out |= {f"process {p['name']}": p["state"] + (f", {p['reason']}" if p["reason"] else "") for p in tree["processes"]}
    if engine is None:
        return out | {"engine": "not there"}
    out |= {"engine": engine["engine"]["state"], "kill word": str(engine["engine"]["kill_level"])}
    for number, c in enumerate(engine.get("shards") or [engine["counters"]]):
        out[f"shard {number}"] = _word(TRADING_STATES, c["trading_state"])
        out[f"feed of shard {number}"] = _word(FEED_STATES, c["feed_state"])
        out[f"session of shard {number}"] = "ready" if c["session_ready"] else "not ready"
    return out


def _refused(status: dict[str, Any] | None) -> dict[str, int]:
    control = (status or {}).get("control") or {}
    found: dict[str, int] = control.get("refused", {})
    return found


def _word(words: tuple[str, ...], index: int) -> str:
    return words[index] if 0 <= index < len(words) else f"state {index}"


def _line(now: dict[str, Any], what: str, text: str) -> dict[str, Any]:
    return {"what": what, "ts_ns": now["ts_ns"], "text": text}
