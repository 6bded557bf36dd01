"""Metrics of the reconciler, out of its status file; absent for a tree that has none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import get_args

from orchestrator.day.reconciler import State, Status, read_status
from orchestrator.observe.metric_table import Kind, Metric, Sample
from orchestrator.observe.reading import Reading
from orchestrator.supervise.paths import runtime_dir

FRESH_S = 0.2  # one reading of the file serves a whole scrape
GROUP, WORDS = "reconciler", "The venue's drop copy against the journals ([the trading day](trading-day.md)); absent where no reconciler runs."
_kept: dict[str, tuple[float, Status | None]] = {}
_seen: dict[str, tuple[int, float]] = {}  # engine → the last status' own stamp, and when it was new to us, monotonic seconds


def _status(reading: Reading) -> Status | None:
    if reading.tree is None or all(p.role != "reconciler" for p in reading.tree.processes):
        return None
    at, found = _kept.get(reading.name, (0.0, None))
    if (now := time.monotonic()) - at > FRESH_S:
        found = read_status(runtime_dir(reading.name))
        _kept[reading.name] = (now, found)
    return found if found is not None and found.run == reading.tree.run else None


def _age(reading: Reading) -> Iterable[Sample]:
    """By our own clock since the status changed, so that a step of the wall clock is no silence, and hides none."""
    if (found := _status(reading)) is None:
        return
    now = time.monotonic()
    stamp, since = _seen.get(reading.name, (0, now))
    if found.written_ns != stamp:  # one that is new to this process may have stood there for long
        since = now if stamp else now - max(0.0, time.time() - found.written_ns / 1e9)
        _seen[reading.name] = (found.written_ns, since)
    yield (), now - since


def _one(value: Callable[[Status], float]) -> Callable[[Reading], Iterable[Sample]]:
    def samples(reading: Reading) -> Iterable[Sample]:
        if (found := _status(reading)) is not None:
            yield (), value(found)

    return samples


def _states(reading: Reading) -> Iterable[Sample]:
    if (found := _status(reading)) is not None:
        yield from (((state,), int(found.state == state)) for state in get_args(State))


def _metric(name: str, kind: Kind, unit: str, labels: str, text: str, samples: Callable[[Reading], Iterable[Sample]]) -> Metric:
    return Metric(f"peregrine_reconciler_{name}", kind, unit, tuple(labels.split()), text, samples, GROUP)


METRICS: tuple[Metric, ...] = (
    _metric("state", "gauge", "", "state", "1 for how the comparison stands, 0 for the others", _states),
    _metric("agreed_total", "counter", "", "", "executions that both sides have, the same", _one(lambda s: s.agreed)),
    _metric("differences", "gauge", "", "", "differences that stand now", _one(lambda s: len(s.standing))),
    _metric("waiting", "gauge", "", "", "executions that one side alone has told so far", _one(lambda s: s.waiting)),
    _metric("lag_seconds", "gauge", "seconds", "", "age of the oldest of them", _one(lambda s: s.lag_ns / 1e9)),
    _metric("last_seq", "gauge", "", "", "last message of the drop copy", _one(lambda s: s.last_seq)),
    _metric("last_agreed_seq", "gauge", "", "", "message up to which nothing waited and nothing differed", _one(lambda s: s.last_agreed_seq)),
    _metric("gaps_total", "counter", "", "", "times the drop copy did not go on where it stopped", _one(lambda s: s.gaps)),
    _metric("lost_total", "counter", "", "", "connections to the drop copy that were lost", _one(lambda s: s.lost)),
    _metric("status_age_seconds", "gauge", "seconds", "", "since it last said how it stands", _age),
)  # fmt: skip
