"""What a reading of the engine says about its life; pure, so that every case of it can be tried."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.observe.states import lost_words
from orchestrator.supervise.holds import words
from orchestrator.supervise.state_file import Hold, LifeState
from orchestrator.supervise.view import PAUSED, EngineView, ShardView

DRAINING, KILLED = 4, 5
#: of telemetry's trading_state: shards that send no new orders whatever the tree allows
HELD_WORDS = {3: "paused", 4: "draining", 5: "killed", 6: "stopped by its journal", 7: "stopped by a breaker"}


def engine_state(state: LifeState, view: EngineView | None, pid: int, *, stalled: str = "", enabled: bool,
                 holds: Sequence[Hold] = ()) -> tuple[LifeState, str]:  # fmt: skip
    """Where an engine in `state` belongs by this reading, and why. `stalled`: its heartbeat stands still, and what is known
    of that. `enabled`: has it been let trade. `holds`: what persons have stopped. An engine that drains or has ended stays."""
    if state not in ("starting", "syncing", "ready", "trading"):
        return state, ""
    if view is None or view.pid != pid or not view.up:
        return ("starting", "") if state == "starting" else ("syncing", "its shared memory is not to be read")
    if stalled:
        return "syncing", stalled
    if not view.synced():
        return "syncing", view.missing()
    if not enabled:
        return "ready", "books in step, session reconciled; trading is held"
    held = {i: _held(i, s, holds) for i, s in enumerate(view.shards) if s.trading_state in HELD_WORDS}
    if len(held) == len(view.shards):
        return "ready", "no shard trades: " + ", ".join(sorted(set(held.values())))
    return "trading", "; ".join(["books in step, session reconciled, trading enabled", *(f"shard {i} {what}" for i, what in held.items())])


def _held(shard: int, seen: ShardView, holds: Sequence[Hold]) -> str:
    """Why a shard does not trade, and by whom where that is known."""
    kind = {DRAINING: "drain", PAUSED: "pause"}.get(seen.trading_state)
    by = next((words(h) for h in holds if (h.shard, h.kind) == (shard, kind)), "") or HELD_WORDS[seen.trading_state]
    lost = lost_words(seen.lost_orders, seen.lost_messages) if seen.trading_state == KILLED else ""
    return f"{by}: {lost}" if lost else by


def steps(before: LifeState, after: LifeState) -> tuple[LifeState, ...]:
    """The moves from one to the other along the table: an engine found trading has come up and got ready on the way."""
    order: tuple[LifeState, ...] = ("starting", "syncing", "ready", "trading")
    if before not in order or after not in order or before == after or after == "starting":
        return ()
    i, k = order.index(before), order.index(after)
    return order[i + 1 : k + 1] if k > i else (after,)
