"""Life of a process of the tree, and of the tree as a whole, as a table of allowed moves. No other move happens.

                      ┌─────────────── it died, or could not start ───────────────┐
                      │              │            │             │                 │
    start ──▶ starting ──▶ syncing ──▶ ready ──▶ trading ──▶ draining ──▶ stopped │
                 ▲    it is up   │  ▲    │  ▲      │  │          ▲           │    ▼
                 │               │  └────┘  └──────┘  │          │           │  failed
                 │               │  lost     held     │          │           │    │
                 │               └────────────────────┴──────────┘           │    │
                 │                     asked to stop (from each of the four) │    │
                 └──────────────────────── started again ────────────────────┴────┘

    starting   its process is there, or about to be; it answers nothing yet
    syncing    it is up; books, session or reconciliation are not done, or were lost, or it stands still
    ready      all it needs is there; the engine holds its orders back until trading is enabled
    trading    the engine sends orders; only an engine trades, and the tree when its engine does
    draining   asked to stop: no new orders, what works is cancelled, the journal is flushed
    stopped    it ended because it was asked to
    failed     it ended, or never began, and nobody asked for that
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

from orchestrator.supervise.state_file import LifeState

STATES: tuple[LifeState, ...] = get_args(LifeState)

#: (from, to) → what such a move means. What is not here is refused.
MOVES: dict[tuple[LifeState, LifeState], str] = {
    ("starting", "syncing"): "it is up",
    ("syncing", "ready"): "what it needs is there",
    ("ready", "trading"): "trading enabled",
    ("trading", "ready"): "trading held",
    ("ready", "syncing"): "what it needs was lost",
    ("trading", "syncing"): "what it needs was lost",
    ("starting", "draining"): "asked to stop",
    ("syncing", "draining"): "asked to stop",
    ("ready", "draining"): "asked to stop",
    ("trading", "draining"): "asked to stop",
    ("draining", "stopped"): "ended as asked",
    ("starting", "failed"): "could not start",
    ("syncing", "failed"): "died",
    ("ready", "failed"): "died",
    ("trading", "failed"): "died",
    ("draining", "failed"): "did not end cleanly",
    ("failed", "starting"): "started again",
    ("stopped", "starting"): "started again",
    ("failed", "stopped"): "given up and cleaned away",
}


class ForbiddenMove(Exception):
    """A move the table does not have: a defect of whoever asked for it."""


def allowed(before: LifeState, after: LifeState, *, trades: bool = True) -> bool:
    """Is this move in the table? `trades`: is it an engine, or the tree; nothing else gets to `trading`."""
    return (before, after) in MOVES and (trades or after != "trading")


@dataclass
class Life:
    """Where one process is in its life, and since when."""

    name: str
    trades: bool = True
    state: LifeState = "starting"
    since_ns: int = 0
    reason: str = ""
    on_move: Callable[[Life, LifeState], None] | None = None  # told after each move: the life and the state before
    clock: Callable[[], int] = field(default=time.time_ns)

    def __post_init__(self) -> None:
        self.since_ns = self.since_ns or self.clock()

    def move(self, after: LifeState, reason: str = "") -> None:
        """Go there, for a reason in a line; what the move means stands in for one. Raises ForbiddenMove, unmoved."""
        if not allowed(self.state, after, trades=self.trades):
            raise ForbiddenMove(f"{self.name}: {self.state} to {after} is not a move of supervise/lifecycle.py")
        before, self.state = self.state, after
        self.since_ns = self.clock()
        self.reason = reason or MOVES[before, after]
        if self.on_move:
            self.on_move(self, before)

    def settle(self, after: LifeState, reason: str = "") -> None:
        """Go there unless it is there already."""
        if self.state != after:
            self.move(after, reason)
