"""An engine that is none: it takes commands, keeps limits, and does well or badly by them; its time is the deploy's own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from orchestrator.config import effective, load_profile
from orchestrator.control.messages import Effect, Problem, Reply, Request
from orchestrator.deploy.flow import Job, Tools
from orchestrator.deploy.health import Reading
from orchestrator.deploy.history import History

TICK_NS = 100_000_000


class FakeEngine:
    """Sends 2 orders a tick; its gate refuses them all while max_order_lots is below 100 or the collar is 0."""

    def __init__(self, view: dict[str, Any]) -> None:
        self.view = copy.deepcopy(view)
        self.risk = self.view["risk"]
        self.paused: set[str] = set()
        self.seen: list[Request] = []
        self.refuse: dict[str, int] = {}  # command → how many are taken before it is refused
        self.now_ns, self.seq, self.epoch, self.kill_level = 0, 100, 1, 0
        self.alive, self.beats, self.own_level = True, True, "info"
        self.counters = {"orders": 0, "risk_rejects": 0, "rejects": 0, "stale_ns": 0, "session_ready": 1, "feed_state": 2, "trading_state": 1}
        self.on_tick: Any = None

    def send(self, request: Request) -> Reply:
        """As the control API answers."""
        self.seen.append(request)
        if self.refuse.get(request.cmd, 1) <= 0:
            return Reply(id=request.id, ok=False, error=Problem("refused", f"{request.cmd} on purpose"))
        if request.cmd in self.refuse:
            self.refuse[request.cmd] -= 1
        args = request.args
        if request.cmd == "limits.get":
            numbers = {n: v for n, v in self.risk.items() if isinstance(v, int)}
            return Reply(id=request.id, ok=True, data={"account": numbers, "symbols_default": {}, "symbols": self.risk["by_symbol"]})
        if request.cmd == "limits.set":
            scope = self.risk["by_symbol"].setdefault(args["symbol"], {}) if "symbol" in args else self.risk
            scope.update(args["limits"])
        elif request.cmd in ("pause", "resume"):
            (self.paused.add if request.cmd == "pause" else self.paused.discard)(args["symbol"])
        elif request.cmd == "weights":
            self.weights = args["weights"]
        elif request.cmd == "log_level":
            self.own_level = args["level"]
        self.seq += 1
        return Reply(id=request.id, ok=True, effects=[Effect(0, self.seq, self.now_ns)])

    def sleep(self, seconds: float) -> None:
        """A tick of its life."""
        self.now_ns += TICK_NS
        good = self.risk["max_order_lots"] >= 100 and self.risk["collar_ticks"] > 0
        self.counters["orders" if good else "risk_rejects"] += 2
        if self.on_tick is not None:
            self.on_tick(self)

    def look(self) -> Reading:
        """As its shared memory shows it."""
        return Reading(self.now_ns, self.alive, self.epoch, self.now_ns if self.beats else 0, self.kill_level, dict(self.counters))

    def commands(self) -> list[tuple[str, dict[str, Any]]]:
        """What was asked of it, but for notes and questions."""
        return [(r.cmd, r.args) for r in self.seen if r.cmd not in ("note", "limits.get", "deploy")]


def view(**changes: Any) -> dict[str, Any]:
    """The laptop's effective configuration with changes by dotted path."""
    return effective(load_profile("laptop", {"instruments": [{"symbol": "PRGN"}, {"symbol": "WIDE"}], **{k.replace("__", "."): v for k, v in changes.items()}}))


def rig(folder: Path, after: dict[str, Any], before: dict[str, Any] | None = None) -> tuple[FakeEngine, Job, Tools, list[str]]:
    """(engine, job, tools, lines said)."""
    before = before or view()
    engine, said = FakeEngine(before), []
    tools = Tools(engine, engine.look, History("fake", folder), said.append, engine.sleep)
    return engine, Job("fake", "/runs/1", before, after, "ada", "because", "conf#staging", window_s=4.0), tools, said
