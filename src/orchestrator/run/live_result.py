"""What a live run came to, from the compiled engine's own summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.config import config_hash
from orchestrator.config.cores import hot_threads
from orchestrator.config.models import Config, EmbeddedVenue
from orchestrator.observe.result import RunResult
from orchestrator.run import plan
from orchestrator.run.results import apply_shards


def live_result(cfg: Config, folder: Path, policies: list[plan.LoadedPolicy], summary: dict[str, Any],
                facts: dict[str, Any], notes: list[str], cores: int) -> RunResult:
    """The result object of a live run; `facts` describes the machine, `notes` is what its watcher did, `cores` is how
    many the process might use."""
    result = RunResult(
        mode="live",
        config_name=cfg.name,
        config_sha256=config_hash(cfg),
        seed=cfg.venue.seed if isinstance(cfg.venue, EmbeddedVenue) else None,
        currency=cfg.account.currency,
        units_per_currency=cfg.account.units_per_currency,
        journal=str(folder),
        machine=facts,
    )
    shards = summary["shards"]
    result.stopped_by = summary["stopped_by"]
    # A kill or a tripped breaker is the reason, however the process ended.
    apply_shards(result, shards, policies, latency=summary["latency"])
    result.duration_ns = summary["now_ns"] - summary["started_ns"]
    result.topology = cfg.engine.topology
    result.working_orders = sum(s["working_orders"] for s in shards)
    result.queues = summary["queues"]
    result.snapshots = sum(s["state_snapshots"] for s in shards)
    if any(s["recovered"] for s in shards):
        result.recovery = {
            "snapshot_seq": shards[0]["recovered_from_snapshot_seq"],
            "replayed_inputs": sum(s["recovered_inputs"] for s in shards),
            "ns": sum(s["recovery_ns"] for s in shards),
        }
    result.warnings += _warnings(cfg, summary, cores) + notes
    return result


def _warnings(cfg: Config, summary: dict[str, Any], cores: int) -> list[str]:
    out = []
    shards = summary["shards"]
    for i, shard in enumerate(shards):
        of = f"shard {i}: " if len(shards) > 1 else ""
        out += [of + note for note in shard["recovery_notes"]]
        if shard["snapshot_error"]:
            out.append(f"{of}snapshots: {shard['snapshot_error']}")
        if shard["overruns"]:
            out.append(f"{of}it did not keep up with its feed {shard['overruns']} times and was rebuilt {shard['rebuilt']} times by snapshot")
        if shard["working_orders"]:
            out.append(f"{of}{shard['working_orders']} orders may still work at the venue: run --resume on this journal cancels them")
    hot = hot_threads(cfg.engine)
    if len(hot) > cores:
        out.append(f"{len(hot)} hot threads ({', '.join(hot)}) shared {cores} core{'s' * (cores > 1)}: latencies are the scheduler's")
    if summary["placement_error"]:
        out.append(f"engine thread: {summary['placement_error']}")
    for note in summary["lock_notes"]:
        out.append(f"not locked into memory: {note} (hint: peregrine doctor)")
    if not summary["journal_closed"]:
        out.append(f"journal: {summary['journal_error']}")
    if summary["feed"]["kernel_drops"]:
        out.append(f"the kernel dropped {summary['feed']['kernel_drops']} feed packets: peregrine doctor says how to give it room")
    return out
