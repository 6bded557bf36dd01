"""Which shard gets which instrument, by expected load: the longest-processing-time rule with a most to a shard.

The instruments are taken heaviest first (equal loads: in the configuration's order) and each goes to the shard with the
least load so far that still has room (equal shards: the lowest number). Integers only, no hash order, no randomness: the
same input gives the same assignment on every machine and in every release.

How good it is: the heaviest shard carries at most 4/3 − 1/(3·shards) times what the best assignment there is could not
avoid (R. L. Graham, "Bounds on Multiprocessing Timing Anomalies", 1969), as long as no shard is full. Where shards fill up
that proof does not hold; there the tests compare with every possible assignment of small cases and hold twice the best.
"""

from __future__ import annotations

from collections.abc import Sequence


def by_load(loads: Sequence[int], shards: int, most: int) -> list[list[int]]:
    """Indices into `loads` for each shard, heaviest first.

    Raises ValueError for less than one shard, a load below 1, or more instruments than `most` a shard leave room for.
    """
    if shards < 1 or most < 1 or any(load < 1 for load in loads):
        raise ValueError("at least one shard, one instrument a shard, and loads of 1 or more")
    if len(loads) > shards * most:
        raise ValueError(f"{len(loads)} instruments, room for {shards * most}: {shards} shards of {most}")
    chosen: list[list[int]] = [[] for _ in range(shards)]
    carried = [0] * shards
    for ix in sorted(range(len(loads)), key=lambda i: (-loads[i], i)):
        lightest = min((s for s in range(shards) if len(chosen[s]) < most), key=lambda s: (carried[s], len(chosen[s]), s))
        chosen[lightest].append(ix)
        carried[lightest] += loads[ix]
    return chosen


def carried(loads: Sequence[int], chosen: Sequence[Sequence[int]]) -> list[int]:
    """The load of each shard of an assignment."""
    return [sum(loads[ix] for ix in shard) for shard in chosen]


def spread(loads: Sequence[int], chosen: Sequence[Sequence[int]]) -> str:
    """An assignment in words: how many symbols and how much load the shards have, and how uneven it is."""
    each = carried(loads, chosen)
    sizes = [len(shard) for shard in chosen]
    mean = sum(each) / len(each)
    symbols = f"{min(sizes)} to {max(sizes)}" if min(sizes) != max(sizes) else f"{sizes[0]}"
    return f"{len(each)} shards of {symbols} symbols, the heaviest carries {max(each) / mean:.3f} times the mean load"
