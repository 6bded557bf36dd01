"""The engine as its supervisor sees it: a few words out of shared memory, nothing asked of the engine."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.observe.segment import Segment, SegmentError
from orchestrator.observe.shards import region_names, sharing
from orchestrator.observe.states import lost_words
from orchestrator.observe.telemetry import COUNTERS_END, TelemetryError, read_counters

FEED_LIVE = 2
FEED_WORDS = ("down", "recovering", "live", "gapped", "stale", "ended")
SESSION_WORDS = ("no connection that is logged in", "logging in", "querying", "cancelling", "cancelling", "settling", "ready",
                 "no agreement with the venue", "ended by the venue")  # fmt: skip
ENDED = SESSION_WORDS.index("ended by the venue")
PAUSED = 3
UP_STATES = ("trading", "paused", "killed")  # of the segment: the loop runs


@dataclass(frozen=True)
class ShardView:
    """One shard: states as telemetry numbers them, and the orders that are out."""

    feed_state: int
    session_ready: bool
    trading_state: int
    working_orders: int
    unknown_orders: int
    thread: int = 0  # that polls it
    session_phase: int = 0
    lost_orders: int = 0  # were open when the venue began another session
    lost_messages: int = 0  # of the venue, which were never seen


@dataclass(frozen=True)
class EngineView:
    """One reading."""

    pid: int
    epoch: int
    up: bool  # its loop runs
    heartbeat_count: int
    kill_level: int
    shards: tuple[ShardView, ...]

    def books_live(self) -> bool:
        """Are the books of every shard in step with the feed?"""
        return bool(self.shards) and all(s.feed_state == FEED_LIVE for s in self.shards)

    def sessions_ready(self) -> bool:
        """Is every shard logged in and agreed with the venue?"""
        return bool(self.shards) and all(s.session_ready for s in self.shards)

    def synced(self) -> bool:
        """Could it trade?"""
        return self.up and self.books_live() and self.sessions_ready()

    def open_orders(self) -> int:
        """Orders that work, or may work, at the venue."""
        return sum(max(s.working_orders, s.unknown_orders) for s in self.shards)

    def unsettled(self) -> str:
        """What keeps it from having nothing open at the venue, a line; empty where every shard has agreed with it, or it has
        ended their sessions."""
        for i, s in enumerate(self.shards):
            if not s.session_ready and s.session_phase != ENDED:
                return f"the order session{self._of(i)} is not reconciled ({SESSION_WORDS[s.session_phase]})"
        if self.open_orders():
            return f"{self.open_orders()} orders are not cancelled"
        return "" if self.shards and self.up else "the engine does not run"

    def lost(self) -> str:
        """Of orders whose end the venue does not tell and messages never seen, a line; empty where there are none."""
        return lost_words(sum(s.lost_orders for s in self.shards), sum(s.lost_messages for s in self.shards))

    def _of(self, shard: int) -> str:
        return f" of shard {shard}" if len(self.shards) > 1 else ""

    def sharing(self) -> str:
        """Which shards share a thread, a line; empty where none does."""
        return sharing([s.thread for s in self.shards])

    def missing(self) -> str:
        """What keeps it from trading, a line; empty when nothing does."""
        if not self.up:
            return "its loop does not run"
        for i, s in enumerate(self.shards):
            of = self._of(i)
            if s.feed_state != FEED_LIVE:
                return f"the books{of} are not in step with the feed ({FEED_WORDS[s.feed_state]})"
            if not s.session_ready:
                return f"the order session{of} is not logged in and reconciled"
        return "" if self.shards else "it shows no shard"


def read_view(name: str) -> EngineView | None:
    """The engine of that name now; None while there is none to be read. Opens the segment anew each time: a restarted
    engine has another."""
    try:
        with Segment(name) as segment:
            status = segment.status()
            shards = []
            for region in region_names(segment):
                c = read_counters(segment.region(region, COUNTERS_END))
                shards.append(ShardView(c["feed_state"], c["session_ready"] == 1, c["trading_state"],
                                        c["working_orders"], c["unknown_orders"], c["thread"], c["session_phase"],
                                        c["lost_orders"], c["lost_messages"]))  # fmt: skip
    except TelemetryError:
        shards = []
    except SegmentError:
        return None
    return EngineView(status.pid, status.epoch, status.alive and status.state in UP_STATES, status.heartbeat_count,
                      status.kill_level, tuple(shards))  # fmt: skip
