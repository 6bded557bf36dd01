"""Everything that can be known of one engine at one moment, from outside: what metrics, health and the publisher show.

    shared segment ──┐  (mapped once; attached anew when the name leads to another segment or another epoch)
    supervisor.json ─┼─▶ Reading
    /proc/PID ───────┤
    control.log ─────┘

Reading disturbs nothing: memory is copied, files are read. A Reading is kept for a moment, so that any number of callers
cost what one costs.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.observe import resources
from orchestrator.observe.refusals import RefusalCounter
from orchestrator.observe.resources import Resources
from orchestrator.observe.segment import Segment, SegmentError, Status
from orchestrator.observe.shards import merge, region_names
from orchestrator.observe.standing import Standing
from orchestrator.observe.telemetry import Snapshot, TelemetryError, read
from orchestrator.supervise import state_file
from orchestrator.supervise.paths import runtime_dir
from orchestrator.supervise.state_file import TreeState


@dataclass(frozen=True)
class Reading:
    """One moment. Without an engine `status` is None and `problem` says why; the rest is there all the same."""

    name: str
    taken_ns: int
    status: Status | None = None
    heartbeat_age_s: float | None = None  # None: no engine
    shards: tuple[Snapshot, ...] = ()
    problem: str = ""
    tree: TreeState | None = None
    tree_problem: str = ""
    processes: dict[str, Resources] = field(default_factory=dict)  # by the tree's names; "engine" without a tree
    refused: dict[str, int] = field(default_factory=dict)  # attempts the control API refused, by reason
    standing: Standing = field(default_factory=Standing)  # who stopped what, and why
    attached: int = 0  # segments attached to so far: a restart of the engine adds one

    @property
    def alive(self) -> bool:
        """Is the engine that owns the segment still there, and not at its end?"""
        return self.status is not None and self.status.alive and self.status.state != "ended"

    def whole(self) -> Snapshot | None:
        """All shards as one; None while there is nothing to read."""
        return merge(list(self.shards)) if self.shards else None


class Reader:
    """Makes readings of the engine called `name`; for any number of threads."""

    def __init__(self, name: str, *, folder: Path | None = None, keep_s: float = 0.05) -> None:
        self.name = name
        self._folder = folder  # of the segment; None: where engines make theirs
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._segment: Segment | None = None
        self._epoch = 0
        self._attached = 0
        self._beat_ns = 0
        self._beat_seen_s = 0.0
        self._last: Reading | None = None
        self._last_s = 0.0
        self._refusals = RefusalCounter(runtime_dir(name))

    def close(self) -> None:
        """Let the segment go."""
        with self._lock:
            self._drop()

    def read(self) -> Reading:
        """A reading no older than `keep_s`. Never raises for anything the engine does or does not do."""
        with self._lock:
            now_s = time.monotonic()
            if self._last is None or now_s - self._last_s > self._keep_s:
                self._last, self._last_s = self._read(now_s), now_s
            return self._last

    def _read(self, now_s: float) -> Reading:
        status, shards, problem = self._engine()
        age_s = self._beat(status, now_s)
        tree, tree_problem = self._tree()
        return Reading(
            name=self.name, taken_ns=time.time_ns(), status=status, heartbeat_age_s=age_s, shards=shards, problem=problem,
            tree=tree, tree_problem=tree_problem, processes=_processes(tree, status), refused=self._refusals.read(),
            standing=self._refusals.standing, attached=self._attached,
        )  # fmt: skip

    def _engine(self) -> tuple[Status | None, tuple[Snapshot, ...], str]:
        try:
            segment = self._attach()
            status = segment.status()
            if not status.alive:
                return status, (), f"the engine (pid {status.pid}) has ended without a word"
            return status, tuple(read(segment.region(region)) for region in region_names(segment)), ""
        except TelemetryError as err:
            return status, (), str(err)
        except (SegmentError, OSError, ValueError) as err:
            self._drop()
            return None, (), str(err)

    def _attach(self) -> Segment:
        if self._segment is not None and (self._segment.superseded() or self._segment.status().epoch != self._epoch):
            self._drop()
        if self._segment is None:
            self._segment = Segment(self.name, folder=self._folder)
            self._epoch = self._segment.status().epoch
            self._attached += 1
            self._beat_ns = 0
        return self._segment

    def _drop(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _beat(self, status: Status | None, now_s: float) -> float | None:
        """Age of the heartbeat by our own clock, so that a step of the wall clock is no lost engine."""
        if status is None:
            return None
        if status.heartbeat_ns != self._beat_ns:
            first = self._beat_ns == 0
            self._beat_ns, self._beat_seen_s = status.heartbeat_ns, now_s
            if first and status.heartbeat_ns > 0:  # it may have stood still for long before we came
                self._beat_seen_s = now_s - max(0.0, (time.time_ns() - status.heartbeat_ns) / 1e9)
        return now_s - self._beat_seen_s if self._beat_ns else 0.0

    def _tree(self) -> tuple[TreeState | None, str]:
        try:
            return state_file.read(runtime_dir(self.name)), ""
        except (state_file.StateFileError, OSError) as err:
            return None, str(err)


def _processes(tree: TreeState | None, status: Status | None) -> dict[str, Resources]:
    pids = {p.name: p.pid for p in tree.processes if p.alive()} if tree else {}
    if tree and tree.supervisor_alive():
        pids["supervisor"] = tree.supervisor_pid
    if not tree and status and status.alive:
        pids["engine"] = status.pid
    return {name: found for name, pid in pids.items() if (found := resources.read(pid))}
