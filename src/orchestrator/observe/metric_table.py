"""What one metric is: its name, kind, labels and words, and where its values come from in a reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.observe.reading import Reading

Kind = Literal["counter", "gauge", "histogram"]
#: one sample: values of the labels after `engine`, and the number (a histogram: bounds and sum)
Sample = tuple[tuple[str, ...], Any]


@dataclass(frozen=True)
class Metric:
    """One row of METRICS. Base units: seconds, bytes; money in the account's currency; `ratio` is 0 to 1."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    samples: Callable[[Reading], Iterable[Sample]]
    group: str


def per_shard(reading: Reading) -> Iterable[tuple[str, Any]]:
    """(label of the shard, its snapshot), in shard order."""
    return ((str(i), s) for i, s in enumerate(reading.shards))
