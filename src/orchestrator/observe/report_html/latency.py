"""Latencies of a journal over its time: a histogram a measure and span of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: measure → what is timed. All from stamps in the journal, which are those of the engine's own clock.
MEASURES = {
    "order_to_answer": "from the packet that caused an order to the venue's answer to it",
    "cancel_to_answer": "from the input that caused a cancel to the venue's word that it is gone",
    "input_to_sent": "from the packet that caused an order to the next turn of the loop after its send",
    "decision_interval": "between two decisions of a shard",
}
_KEYS = ("count", "p50", "p90", "p99", "p99_9", "max")


@dataclass
class LatencyOverTime:
    """`rows` equal spans of time between two stamps, a histogram each and measure; made when first recorded into."""

    first_ns: int
    last_ns: int
    rows: int
    _cells: dict[tuple[str, int], Any] = field(default_factory=dict)

    def record(self, measure: str, ts_ns: int, value_ns: int) -> None:
        """Count one value, at the time it was known."""
        self.cell(measure, self.row_of(ts_ns)).record(value_ns)

    def merge(self, measure: str, row: int, histogram: Any) -> None:
        """Add a histogram of the compiled engine's."""
        if histogram.count:
            self.cell(measure, row).merge(histogram)

    def cell(self, measure: str, row: int) -> Any:
        """The histogram of a measure and span."""
        from hotpath._core import Histogram

        if (measure, row) not in self._cells:
            self._cells[measure, row] = Histogram()
        return self._cells[measure, row]

    def row_of(self, ts_ns: int) -> int:
        """The span a stamp falls into."""
        width = self.last_ns - self.first_ns + 1
        return min(self.rows - 1, max(0, (ts_ns - self.first_ns) * self.rows // width))

    def edges(self, row: int) -> tuple[int, int]:
        """First and last nanosecond of a span."""
        width = self.last_ns - self.first_ns + 1
        return self.first_ns + width * row // self.rows, self.first_ns + width * (row + 1) // self.rows - 1

    def whole(self, measure: str) -> dict[str, int]:
        """count, p50 … max over all spans, nanoseconds."""
        from hotpath._core import Histogram

        out = Histogram()
        for (name, _), histogram in self._cells.items():
            if name == measure:
                out.merge(histogram)
        return {key: int(out.summary()[key]) for key in _KEYS}

    def over_time(self, measure: str) -> list[tuple[int, dict[str, int]]]:
        """(span, summary) of the spans that have values."""
        rows = sorted(row for name, row in self._cells if name == measure)
        return [(row, {key: int(self._cells[measure, row].summary()[key]) for key in _KEYS}) for row in rows]


def read_hgrm(path: Path) -> dict[str, int]:
    """count, p50 … max of a .hgrm file, in its own unit. Raises OSError, and ValueError for what is no such file."""
    points: list[tuple[float, int]] = []
    count = 0
    for text in path.read_text(encoding="utf-8").splitlines():
        fields = text.split()
        if len(fields) >= 3 and fields[0][0].isdigit():
            points.append((float(fields[1]), int(float(fields[0]))))
            count = max(count, int(fields[2]))
        elif text.startswith("#[Max") and points == []:
            return dict.fromkeys(_KEYS, 0)  # nothing was recorded
    if not points:
        raise ValueError("no percentile lines")
    out = {"count": count, "max": points[-1][1]}
    for key, want in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)):
        out[key] = next((value for percentile, value in points if percentile >= want), points[-1][1])
    return {key: out[key] for key in _KEYS}
