"""One reading of an engine of several shards: each has a telemetry region of its own in the engine's segment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from orchestrator.observe.segment import Segment
from orchestrator.observe.telemetry import REGION, HistogramView, Snapshot, read

_SEVERITY = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 7: 5, 5: 6, 6: 7}  # of trading states: a breaker says less than a kill
_DEVICE_SEVERITY = {0: 0, 1: 1, 4: 2, 2: 3, 3: 4}  # of device states: a breaker says more than a loading

#: counters that are not summed over shards: how several become one
_ONE_OF: dict[str, Callable[[list[int]], int]] = {
    "now_ns": max, "started_ns": min, "session_ready": min, "journal_free_bytes": min,
    "journal_ring_bytes": min, "soft_permille": min, "limit_gross_units": min,  # the account's, told by each
    "trading_state": lambda values: max(values, key=_SEVERITY.__getitem__),
    "session_phase": lambda values: min(values, key=lambda phase: (phase == _SESSION_READY, phase)),  # one that is not ready says more
    "breakers_open": lambda values: int(np.bitwise_or.reduce(values)), "lease_epoch": max,
    "breakers_cooling": lambda values: int(np.bitwise_or.reduce(values)),
    "device_state": lambda values: max(values, key=_DEVICE_SEVERITY.__getitem__),
    "clock_offset_ns": lambda values: max(values, key=abs), "clock_steps": max,
    # of the feed, which all shards share
    "gaps": max, "recovered": max, "stale_ns": max,
    # of the thread that serves a shard
    "lag_ns": max, "stall_max_ns": max, "thread": max,
}  # fmt: skip
_LIVE = 2
_SESSION_READY = 6


def region_of(shard: int) -> str:
    """Name of a shard's telemetry region."""
    return numbered(REGION, shard)


def numbered(base: str, shard: int) -> str:
    """Name of a shard's region of this kind: the first shard's has no number."""
    return base if shard == 0 else f"{base}-{shard:02}"


def read_engine(segment: Segment) -> Snapshot:
    """All shards of an engine as one snapshot; `extra["shards"]` holds each one's own where there are several.

    Raises what `read` raises.
    """
    return merge([read(segment.region(name)) for name in region_names(segment)])


def region_names(segment: Segment) -> list[str]:
    """The telemetry regions of a segment, in shard order."""
    names = set(segment.region_names())
    count = 1
    while region_of(count) in names:
        count += 1
    return [region_of(shard) for shard in range(count)]


def by_thread(threads: Sequence[int]) -> list[list[int]]:
    """The shards each thread polls, in order of the threads; `threads` is counter `thread` of each shard."""
    return [[shard for shard, of in enumerate(threads) if of == thread] for thread in sorted(set(threads))]


def sharing(threads: Sequence[int]) -> str:
    """Which shards share a thread, in a line; "" where none does."""
    served = by_thread(threads)
    if len(served) == len(threads):
        return ""
    who = " | ".join(",".join(map(str, shards)) for shards in served)
    return f"{len(threads)} shards on {len(served)} thread{'s' * (len(served) > 1)}: {who}"


def merge(shards: list[Snapshot]) -> Snapshot:
    """Several shards' snapshots as one of the engine."""
    if len(shards) == 1:
        return shards[0]
    counters = {}
    for name in shards[0].counters:
        values = [s[name] for s in shards]
        if name == "policy_version":
            counters[name] = values[0]
        elif name == "feed_state":  # one that is not live says more than the others
            counters[name] = next((v for v in values if v != _LIVE), _LIVE)
        else:
            counters[name] = _ONE_OF.get(name, sum)(values)
    histograms = {
        name: HistogramView(
            name,
            np.sum([s.histograms[name].counts for s in shards], axis=0),
            h.sub_bits,
            max(s.histograms[name].max for s in shards),
            sum(s.histograms[name].sum for s in shards),
        )
        for name, h in shards[0].histograms.items()
    }
    return Snapshot(
        counters=counters,
        histograms=histograms,
        instruments=np.concatenate([s.instruments for s in shards]),
        units_per_currency=shards[0].units_per_currency,
        rejects={name: sum(s.rejects.get(name, 0) for s in shards) for name in shards[0].rejects},
        limits=np.concatenate([s.limits for s in shards]),
        extra={"shards": shards},
    )


def shards_of(snapshot: Snapshot) -> list[Snapshot]:
    """Each shard's own of what `read_engine` gave; of one shard the snapshot itself."""
    found = snapshot.extra.get("shards")
    return found if isinstance(found, list) else [snapshot]
