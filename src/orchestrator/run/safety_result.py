"""What a run's breakers and kills came to, read from its own journals once it is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.control import breakers, kills
from orchestrator.observe.result import RunResult


def apply_safety(result: RunResult, folder: Path, summary: dict[str, Any], account_trips: list[dict[str, Any]]) -> None:
    """Fill in `result.breakers` and `result.kills`; journals are read only where something tripped or was killed.

    The journal knows when a kill was seen; when it was asked for stands in the kill word, or with the signal. What stayed
    open at the venue is counted by each shard: orders that work, or of whose end it was never told.
    """
    shards = summary["shards"]
    result.breakers = list(account_trips)
    try:
        if any(s.get("breaker_trips") for s in shards):
            result.breakers = sorted(breakers.history_of(folder) + account_trips, key=lambda trip: trip["ts_ns"])
        if any(s["kills"] for s in shards):
            result.kills = kills.history_of(folder)
    except (ValueError, OSError, RuntimeError) as err:
        result.warnings.append(f"the journal does not tell of breakers and kills: {err}")
    for kill in result.kills:
        shard = shards[kill["shard"]]
        kill["still_open"] = shard["working_orders"] if kill["lifted_seq"] is None else None
        if kill["asked_ns"] is None and kill["by"].startswith("word"):
            _say_who(kill, summary)


def _say_who(kill: dict[str, Any], summary: dict[str, Any]) -> None:
    """Word or signal: the one of the two that was given last before it was seen."""
    word_ns, signal_ns = summary.get("kill_word_ns", 0), summary.get("kill_signal_ns", 0)
    slack_ns = 1_000_000  # two clocks of one machine
    given = [(ns, by) for ns, by in ((word_ns, "word"), (signal_ns, "signal")) if 0 < ns <= kill["seen_ns"] + slack_ns]
    if not given:
        return
    kill["asked_ns"], how = max(given)
    if how == "word":
        kill["who"] = f"process {summary['kill_word_pid']}"
    kill["by"] = kill["by"].replace("word or signal", how)

