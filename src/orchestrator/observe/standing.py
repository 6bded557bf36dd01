"""Why a shard does not trade: what stopped it, who asked for that and why, in lines for people.

    telemetry's states ─────────────────┐
    supervisor.json: holds, trading ────┼─▶ reasons
    control.log, or the journals ───────┘  (who and why: the newest command that still stands)

Health, `status` and the screen say the same, because they ask here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.observe.states import BREAKERS, FEED_STATES, TRADING_STATES, lost_words
from orchestrator.supervise.state_file import TreeState

STARTING, TRADING, THROTTLED, PAUSED, DRAINING, KILLED, JOURNAL, BREAKER = range(len(TRADING_STATES))
LIVE = FEED_STATES.index("live")
HALTED = 7  # execution/order_session.h, SessionPhase
NO_AGREEMENT = "the order session is halted: the venue did not answer what is open; peregrine resume asks it again"
OWED = {"drain": "drain", "pause": "pause", "pause_symbol": "pause", "reduce_only": "reduce-only", "flatten": "flatten"}


@dataclass(frozen=True)
class Order:
    """A command that stands: who gave it, why, and its journal number in the shard (0: not known)."""

    who: str
    why: str
    seq: int = 0

    def __str__(self) -> str:
        text = f" by {self.who}" if self.who else ""
        text += f": {self.why}" if self.why else ""
        return text + (f" (record {self.seq:,})" if self.seq else "")


@dataclass
class Standing:
    """Commands that stand, of shards by kind (pause, drain, kill, reduce_only) and of symbols. Fed in the order they came."""

    shards: dict[int, dict[str, Order]] = field(default_factory=dict)
    symbols: dict[str, Order] = field(default_factory=dict)

    def audited(self, entry: Mapping[str, Any]) -> None:
        """A line of control.log; what is no change that was done is passed over."""
        effects = entry.get("effects")
        args = entry.get("args")
        if entry.get("event") != "change" or not isinstance(effects, list) or not isinstance(args, dict):
            return
        cmd, symbol = str(entry.get("cmd")), args.get("symbol")
        for e in effects:
            if isinstance(e, dict):
                order = Order(str(entry.get("who", "")), str(entry.get("why", "")), int(e.get("seq", 0)))
                self._take(cmd, int(e.get("shard", -1)), order, on=bool(args.get("on", True)), symbol=symbol)

    def journaled(self, line: Mapping[str, Any], symbols: Mapping[tuple[int, int], str]) -> None:
        """A command out of a journal, as control/told.py lists it; `symbols` by (shard, instrument)."""
        if line.get("duplicate"):
            return
        kind, shard, value = str(line["kind"]), int(line["shard"]), int(line.get("value", 0))
        order = Order(str(line.get("who", "")), str(line.get("why", "")), int(line["seq"]))
        if kind in ("pause_symbol", "resume_symbol"):
            self._take(kind.removesuffix("_symbol"), shard, order, on=True, symbol=symbols.get((shard, value), f"instrument {value}"))
        elif kind != "kill word":  # its command follows, with a name
            self._take(kind, shard, order, on=bool(value), symbol=None)

    def _take(self, cmd: str, shard: int, order: Order, *, on: bool, symbol: Any) -> None:
        own = self.shards.setdefault(shard, {})
        if symbol is not None and cmd == "pause":
            self.symbols[str(symbol)] = order
        elif symbol is not None and cmd == "resume":
            self.symbols.pop(str(symbol), None)
        elif cmd in ("pause", "drain"):
            own[cmd] = order
        elif cmd in ("kill", "flatten"):
            own["kill"] = order
        elif cmd == "reduce_only" and on:
            own[cmd] = order
        elif cmd in ("resume", "revive", "reduce_only"):
            for ended in {"resume": ("pause", "drain"), "revive": ("kill",)}.get(cmd, (cmd,)):
                own.pop(ended, None)

    def of(self, shard: int, kind: str) -> str:
        """ by WHO: WHY (record N), or nothing where it is not known."""
        order = self.shards.get(shard, {}).get(kind)
        return str(order) if order else ""


def breakers_of(counters: Mapping[str, int]) -> str:
    """The tripped breakers and how they stand: "message rate, cooling down; loss, awaits rearm"; "" when none is."""
    found = []
    for bit, name in BREAKERS.items():
        if counters.get("breakers_open", 0) & bit:
            cooling = counters.get("breakers_cooling", 0) & bit
            found.append(f"{name.replace('_', ' ')}, {'cooling down' if cooling else 'awaits rearm'}")
    return "; ".join(found)


def shard_reasons(shard: int, counters: Mapping[str, int], said: Standing, tree: TreeState | None) -> list[str]:
    """What keeps this shard from sending new orders; [] when nothing does."""
    out = []
    feed, doing = counters.get("feed_state", 0), counters.get("trading_state", 0)
    if feed != LIVE:
        out.append(f"books are {FEED_STATES[feed] if 0 <= feed < len(FEED_STATES) else f'in state {feed}'}")
    if not counters.get("session_ready"):
        out.append(NO_AGREEMENT if counters.get("session_phase") == HALTED else "the order session is not ready")
    if doing == PAUSED:
        out.append("paused" + (_hold(tree, shard, "pause") or said.of(shard, "pause")))
    elif doing == DRAINING:
        out.append("drained" + (_hold(tree, shard, "drain") or said.of(shard, "drain")))
    elif doing == KILLED:
        tripped = breakers_of(counters)
        lost = lost_words(counters.get("lost_orders", 0), counters.get("lost_messages", 0))
        out.append("killed" + (f": {lost}" if lost else f" by a breaker: {tripped}" if tripped else said.of(shard, "kill")))
    elif doing == BREAKER:
        out.append(f"stopped by a breaker: {breakers_of(counters)}")
    elif doing == JOURNAL:
        out.append("the journal takes no more records")
    elif doing not in (TRADING, THROTTLED) and not out:
        out.append(TRADING_STATES[doing].replace("_", " ") if 0 <= doing < len(TRADING_STATES) else f"state {doing}")
    return [f"shard {shard}: {text}" for text in out]


def reasons(shards: Sequence[Mapping[str, int]], *, kill_level: int, tree: TreeState | None, said: Standing) -> list[str]:
    """Everything that keeps the engine from sending new orders, the whole engine's first."""
    out = []
    if kill_level:
        out.append("the kill word is set" + said.of(0, "kill"))
    if tree is not None and not tree.trading_enabled:
        out.append(f"the supervisor has not enabled trading: the tree is {tree.state}" + (f" ({tree.reason})" if tree.reason else ""))
    for number, counters in enumerate(shards):
        out += shard_reasons(number, counters, said, tree)
    return out


def remarks(shards: Sequence[Mapping[str, int]], said: Standing) -> list[str]:
    """What is not as configured although the engine trades: single symbols that are paused, reduce-only, fewer active ones."""
    out = [f"{symbol}: paused{order}" for symbol, order in sorted(said.symbols.items())]
    for number, counters in enumerate(shards):
        out += [f"shard {number}: reduce-only{said.of(number, 'reduce_only')}"] if "reduce_only" in said.shards.get(number, {}) else []
        if counters.get("breakers_open") and counters.get("trading_state") not in (KILLED, BREAKER):
            out.append(f"shard {number}: breaker tripped: {breakers_of(counters)}")
    return out


def owed(tree: TreeState) -> list[str]:
    """What was asked for while no engine ran, and the one that comes next gets before it may trade."""
    of: dict[tuple[str, str], list[str]] = {}
    for hold in (h for h in tree.holds if h.owed):
        of.setdefault((f"{OWED[hold.kind]}{Order(hold.who, hold.why)}", "symbol" if hold.symbol else "shard"), []).append(hold.symbol or str(hold.shard))
    return [f"owed to the engine that comes next: {what}, {kind} {', '.join(where)}" for (what, kind), where in of.items()]


def of_status(found: Mapping[str, Any], tree: TreeState, commands: Callable[[], list[dict[str, Any]]]) -> tuple[list[str], list[str]]:
    """(reasons, remarks) of what `status` answers: engine as `top --json` shows it, who and why out of the journals."""
    engine = found["engine"]
    if engine is None:
        return ["no engine runs" + (f": {tree.reason}" if tree.reason else "")], owed(tree)
    said = Standing()
    shards = engine.get("shards") or [engine["counters"]]
    with contextlib.suppress(Exception):  # `problems` tells of a journal that cannot be read
        symbols: dict[tuple[int, int], str] = {}
        for row in engine["instruments"]:
            symbols[row["shard"], sum(1 for at in symbols if at[0] == row["shard"])] = row["symbol"]
        for line in commands():
            said.journaled(line, symbols)
    return reasons(shards, kill_level=engine["engine"]["kill_level"], tree=tree, said=said), remarks(shards, said) + owed(tree)


def _hold(tree: TreeState | None, shard: int, kind: str) -> str:
    """What the supervisor keeps of a person's pause or drain, over the death of an engine too."""
    for hold in getattr(tree, "holds", []):
        if hold.shard == shard and hold.kind == kind:
            return str(Order(hold.who, hold.why, hold.seq if hold.seq > 1 else 0))
    return ""
