"""Curves out of a watched replay: spans of four points (engine/replay_watch.h) as step lines, and sums over shards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPAN_DTYPE = np.dtype([("first_at", "<i8"), ("low_at", "<i8"), ("high_at", "<i8"), ("last_at", "<i8"),
                       ("first", "<i8"), ("low", "<i8"), ("high", "<i8"), ("last", "<i8")])  # fmt: skip
assert SPAN_DTYPE.itemsize == 64


@dataclass(frozen=True)
class Line:
    """A step line: from `ts_ns[i]` on the value is `values[i]`. Both int64, times rising."""

    ts_ns: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def last(self) -> int:
        """The last value, 0 where there is none."""
        return int(self.values[-1]) if len(self.values) else 0

    def at(self, ts_ns: np.ndarray) -> np.ndarray:
        """The values in force at these times; 0 before the first."""
        if not len(self.values):
            return np.zeros(len(ts_ns), "<i8")
        i = np.searchsorted(self.ts_ns, ts_ns, side="right") - 1
        return np.where(i >= 0, self.values[np.maximum(i, 0)], 0)


EMPTY = Line(np.zeros(0, "<i8"), np.zeros(0, "<i8"))


def line(spans: bytes) -> Line:
    """All points kept of one curve, in time order, repetitions left out."""
    table = np.frombuffer(spans, SPAN_DTYPE)
    if not len(table):
        return EMPTY
    times = np.stack([table[n] for n in ("first_at", "low_at", "high_at", "last_at")], axis=1)
    values = np.stack([table[n] for n in ("first", "low", "high", "last")], axis=1)
    # Within a span: first, then low and high in the order they came in, then last.
    swap = times[:, 1] > times[:, 2]
    times[swap, 1], times[swap, 2] = times[swap, 2], times[swap, 1].copy()
    values[swap, 1], values[swap, 2] = values[swap, 2], values[swap, 1].copy()
    t, v = times.ravel(), values.ravel()
    keep = np.ones(len(v), bool)
    keep[1:] = (v[1:] != v[:-1])
    keep[-1] = True
    return Line(t[keep], v[keep])


def total(lines: list[Line], ends_ns: np.ndarray) -> Line:
    """Sum of several shards' lines. One line is itself; of several the sum is taken at the given times only."""
    lines = [x for x in lines if len(x)]
    if len(lines) <= 1:
        return lines[0] if lines else EMPTY
    return Line(ends_ns, np.sum([x.at(ends_ns) for x in lines], axis=0, dtype="<i8"))


def column_ends(first_ns: int, last_ns: int, columns: int) -> np.ndarray:
    """The last nanosecond of each of the equal spans between two times, as int64."""
    width = last_ns - first_ns + 1
    return np.array([first_ns + width * (i + 1) // columns - 1 for i in range(columns)], "<i8")


def rate(total_line: Line, ends_ns: np.ndarray) -> Line:
    """A running total as increments a second, a value a span: at each end what came in since the end before."""
    if not len(total_line) or len(ends_ns) < 2:
        return EMPTY
    at = total_line.at(ends_ns)
    return Line(ends_ns[1:], (at[1:] - at[:-1]) * 1_000_000_000 // np.maximum(1, ends_ns[1:] - ends_ns[:-1]))
