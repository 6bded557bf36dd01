"""The supervisor's part in leases: a few times a second it lets the account's budget move between the engine's shards."""

from __future__ import annotations

import contextlib
import time

from orchestrator.control.engine_link import EngineLink
from orchestrator.control.leases import LeaseHost, LeaseState
from orchestrator.observe.segment import Segment, SegmentError
from orchestrator.observe.shards import read_engine
from orchestrator.observe.telemetry import TelemetryError

EVERY_S = 0.25
ABOVE_EVERY_S = 0.05  # while leases come down to a lowered limit


class Leasing:
    """One host for each life of the engine: a new one begins with what its shards say they hold."""

    def __init__(self) -> None:
        self._link: EngineLink | None = None
        self._host: LeaseHost | None = None
        self._next_s = 0.0
        self._resting = False  # until a limit is changed, or another engine comes

    def state(self) -> LeaseState | None:
        """Of the engine there is now; None before its first reading, and where one shard has it all."""
        return self._host.state() if self._host is not None else None

    def hurry(self) -> None:
        """A limit was changed: look at the next round. Any thread."""
        self._next_s = 0.0

    def round(self, link: EngineLink | None) -> None:
        """To be called often; does something every EVERY_S while there is an engine of several shards, and of one that has not
        all of its limit on lease: it was raised."""
        now_s = time.monotonic()
        if link is None or (now_s < self._next_s and (link is self._link or not self._resting)):
            return
        self._next_s, self._resting = now_s + EVERY_S, False
        if link is not self._link or self._host is None:
            self._link = link
            self._host = LeaseHost(lambda: self._link)
        with contextlib.suppress(SegmentError, TelemetryError), Segment(link.name) as segment:
            self._host.tick(read_engine(segment))
        if (state := self._host.state()) is not None and state.above:
            self._next_s = min(self._next_s, now_s + ABOVE_EVERY_S)
        if self._host.is_whole():
            self._next_s, self._resting = float("inf"), True
