"""Stops that come while no engine runs: kept for the engine that comes next, which gets them before it may trade.

Noted and written down before the command is answered. The dispatcher looks for an engine once more after that, and the
start looks for what is noted after it has its hand on the engine: so one of the two sees the other.
"""

from __future__ import annotations

from typing import Any, cast

from orchestrator.control.errors import ControlError
from orchestrator.control.messages import Request
from orchestrator.observe import log
from orchestrator.supervise.engine_keeper import EngineKeeper
from orchestrator.supervise.holds import ANY_SHARD, REDUCING, words
from orchestrator.supervise.state_file import StopKind
from orchestrator.supervise.tree import Tree

KEPT = "no engine runs just now: the one that comes next gets it before it may trade"
CLOSES = "; positions are closed once its books are in step and its session is ready"
_log = log.logger()


def keep(tree: Tree, engine: EngineKeeper, request: Request) -> dict[str, Any]:
    """Keep a pause, a drain, a `reduce_only` on or a flatten; what is answered. From any thread. Raises ControlError where no
    engine is to come, and for an engine that trades and is not in hand just now."""
    if tree.life.state not in ("starting", "syncing", "ready", "trading") or (engine.lifted and engine.member.alive()):
        raise ControlError("unavailable", "no engine can be reached just now", "peregrine status says what became of it")
    symbol, kept = request.args.get("symbol"), bool(request.args.get("keep"))
    if symbol is not None:
        if symbol not in {i.symbol for i in tree.cfg.instruments}:
            raise ControlError("usage", f"no symbol {symbol}", f"{tree.name} does not trade it")
        tree.holds.owe("pause_symbol", ANY_SHARD, request, symbol=symbol)
    else:
        after_kill = request.cmd in REDUCING and engine.killed()
        for shard in _shards(tree, request):
            tree.holds.owe(cast(StopKind, request.cmd), shard, request, keep=kept, after_kill=after_kill)
    tree.save()
    _log.warning("kept for the engine that comes next", cmd=request.cmd, who=request.who, why=request.why, id=request.id)
    return {"kept": KEPT + (CLOSES if request.cmd == "flatten" else "")}


def take_back(tree: Tree, engine: EngineKeeper, request: Request) -> dict[str, Any] | None:
    """A resume while no engine runs, or a `reduce_only` off, in the supervisor's loop: what was kept for the next one is not
    given. None: there is an engine, or nothing that stands. Raises ControlError where an engine has taken something, which only
    one can resume, and where a flatten is owed, which `reduce_only` does not end."""
    if engine.link is not None:
        return None
    symbol, resumes = request.args.get("symbol"), request.cmd == "resume"
    shards = [ANY_SHARD] if symbol is not None else _shards(tree, request)
    there = [h for h in tree.holds.listed() if h.shard in shards and h.symbol == (symbol or "")]
    meant = there if resumes else [h for h in there if h.kind == "reduce_only"]
    if not meant:
        if flatten := [h for h in there if h.kind == "flatten" and not resumes]:
            raise ControlError("unavailable", f"no engine runs just now, and the one that comes next is {words(flatten[0])}",
                               "peregrine resume takes that back")  # fmt: skip
        return None
    if older := [h for h in meant if not h.owed]:
        raise ControlError("unavailable", f"no engine runs just now, and shard {older[0].shard} was {words(older[0])} before: that one is to resume it",
                           "again when the engine is back: peregrine status")  # fmt: skip
    for hold in meant:
        tree.holds.refused(hold)
    tree.save()
    return {"taken_back": ", ".join(words(hold) for hold in meant)}


def _shards(tree: Tree, request: Request) -> list[int]:
    every = tree.cfg.engine.shards
    if (shard := request.args.get("shard")) is None:
        return list(range(every))
    if shard >= every:
        raise ControlError("usage", f"no shard {shard}: {tree.name} has {every}", f"0 to {every - 1}")
    return [shard]
