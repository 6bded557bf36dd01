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
AWAKE_S = 2.0  # after a change of limits: they show in the engine's telemetry a moment later


class Leasing:
    """One host for each life of the engine: a new one begins with what its shards say they hold."""

    def __init__(self) -> None:
        self._link: EngineLink | None = None
        self._host: LeaseHost | None = None
        self._next_s = 0.0
        self._awake_s = 0.0
        self._resting = False  # until a limit is changed, or another engine comes
        self._hurried = False

    def state(self) -> LeaseState | None:
        """Of the engine there is now; None before its first reading, and where one shard has it all."""
        return self._host.state() if self._host is not None else None

    def hurry(self) -> None:
        """A limit was changed: look at the next round. Any thread."""
        self._hurried = True

    def round(self, link: EngineLink | None) -> None:
        """To be called often; does something every EVERY_S while there is an engine of several shards, and of one that has not
        all of its limit on lease: it was raised."""
        now_s = time.monotonic()
        if self._hurried or (self._resting and link is not self._link):
            self._hurried = self._resting = False  # before anything is read
            self._next_s, self._awake_s = 0.0, now_s + AWAKE_S
        if link is None or self._resting or now_s < self._next_s:
            return
        self._next_s = now_s + EVERY_S
        if link is not self._link or self._host is None:
            self._link = link
            self._host = LeaseHost(lambda: self._link)
            self._awake_s = now_s + AWAKE_S
        with contextlib.suppress(SegmentError, TelemetryError), Segment(link.name) as segment:
            self._host.tick(read_engine(segment))
        if (state := self._host.state()) is not None and state.above:
            self._next_s = min(self._next_s, now_s + ABOVE_EVERY_S)
        self._resting = self._host.is_whole() and now_s >= self._awake_s
