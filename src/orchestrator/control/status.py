"""What `status` answers: the tree, the engine's reading, limits beside positions. Made at most ten times a second.

However many ask, the shared memory is read once in `FRESH_S`, and the answer encoded once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.control.errors import ControlError
from orchestrator.control.limits import Limits
from orchestrator.observe import standing
from orchestrator.observe.segment import Segment, SegmentError
from orchestrator.observe.shards import by_thread, read_engine
from orchestrator.observe.telemetry import TelemetryError

if TYPE_CHECKING:
    from orchestrator.control.dispatch import TreeControl

FRESH_S = 0.1


class Status:
    """Threads may share it."""

    def __init__(self, tree: TreeControl, limits: Limits, server_stats: Callable[[], dict[str, Any]] | None) -> None:
        self._tree = tree
        self._limits = limits
        self._server_stats = server_stats
        self._lock = threading.Lock()
        self._made_s = float("-inf")
        self._encoded = msgspec.Raw(b"")

    def reading(self) -> msgspec.Raw:
        """MessagePack of what `read` gives, at most FRESH_S old."""
        with self._lock:
            if time.monotonic() - self._made_s > FRESH_S:
                self._encoded = msgspec.Raw(msgspec.msgpack.encode(self.read()))
                self._made_s = time.monotonic()
            return self._encoded

    def read(self) -> dict[str, Any]:
        """Everything, as plain values. What cannot be read is missing, and `problems` says why."""
        state = self._tree.state()
        problems: list[str] = []
        out: dict[str, Any] = {
            "ts_ns": time.time_ns(), "name": state.name, "tree": msgspec.to_builtins(state), "engine": None, "limits": None,
            "reasons": [], "remarks": [],
            "threads": [],  # the shards of each thread, where there are several
            "control": self._server_stats() if self._server_stats else None, "problems": problems,
        }  # fmt: skip
        try:
            out["engine"] = _engine(state.name)
            out["threads"] = by_thread([shard["thread"] for shard in out["engine"].get("shards", [])])
        except (SegmentError, TelemetryError) as err:
            problems.append(f"engine: {err}")
        try:
            out["limits"] = self._limits.in_force()
        except (ControlError, LookupError, ValueError) as err:
            problems.append(f"limits: {err}")
        out["reasons"], out["remarks"] = standing.of_status(out, state, self._limits.commands)
        return out


def _engine(name: str) -> dict[str, Any]:
    from orchestrator.cli.top import to_json

    with Segment(name) as segment:
        return to_json(segment.status(), read_engine(segment))
