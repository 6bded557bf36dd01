"""The order in which a tree becomes ready: each stage is begun, waited for, and only then the next one begins.

    venue ▶ engine ▶ books ▶ session ▶ reconciler ▶ telemetry ▶ trading
"""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.cli._errors import EXIT_UNAVAILABLE
from orchestrator.control import bodies
from orchestrator.control.engine_link import EngineLinkError
from orchestrator.control.messages import Effect, Request
from orchestrator.observe import log, traces
from orchestrator.supervise.engine_keeper import EngineKeeper
from orchestrator.supervise.engine_main import MADE, Made, read
from orchestrator.supervise.holds import TreeLink, words
from orchestrator.supervise.link import LIFT_HOLD, own_request
from orchestrator.supervise.members import Failure, Keeper, TelemetryKeeper, VenueKeeper
from orchestrator.supervise.tree import Tree

STAGES = ("venue", "engine", "books", "session", "reconciler", "telemetry", "trading")
LIFT_WAIT_S = 0.5  # the rest of the tree waits meanwhile
_log = log.logger()


class Startup:
    """Where a tree is on its way to trading. `done` once it has traded; a restarted engine goes only through the last."""

    def __init__(self, tree: Tree, engine: EngineKeeper, venue: VenueKeeper | None, telemetry: TelemetryKeeper | None,
                 reconciler: Keeper | None = None) -> None:
        self.tree, self.engine, self.venue, self.telemetry, self.reconciler = tree, engine, venue, telemetry, reconciler
        self.done = False
        self._stage = 0
        self._asked: tuple[int, Request] | None = None  # the resume of this engine (pid)
        self._begun_ns = 0  # of the stage under way; 0 = not begun
        self._timeout_ns = tree.cfg.supervise.ready_timeout_s * 1_000_000_000
        self._begin: dict[str, Callable[[int], None]] = {
            "venue": self._venue_and_beside_it,
            "engine": engine.start,
            "reconciler": reconciler.start if reconciler else _nothing,
            "telemetry": telemetry.start if telemetry else _nothing,
        }

    def _venue_and_beside_it(self, now_ns: int) -> None:
        """The exchange; and the engine's process, which loads itself meanwhile and waits for where the exchange is."""
        if self.venue is not None:
            self.venue.start(now_ns)
            self.engine.start(now_ns)

    @property
    def stage(self) -> str:
        """The stage under way; the last one once all are over."""
        return STAGES[min(self._stage, len(STAGES) - 1)]

    def advance(self, now_ns: int) -> None:
        """One round. Raises Failure when a stage takes longer than it may."""
        if self.done:
            if not self.engine.lifted and self.engine.member.life.state == "ready":
                self._lift_by_itself("recovered: books in step, session reconciled")
            return
        while not self.done:
            if not self._begun_ns:
                self._begun_ns = now_ns
                self._begin.get(self.stage, _nothing)(now_ns)
            missing = self._missing(now_ns)
            if missing:
                if now_ns - self._begun_ns > self._timeout_ns:
                    seconds = self._timeout_ns // 1_000_000_000
                    raise Failure(f"not ready: {missing}, {seconds} s after this was waited for", EXIT_UNAVAILABLE,
                                  f"logs: {self.tree.run / 'logs'}; supervise.ready_timeout_s is the wait")  # fmt: skip
                return
            _log.info("stage done", stage=self.stage, ms=(now_ns - self._begun_ns) // 1_000_000)
            traces.record("supervise.stage", now_ns - self._begun_ns, stage=self.stage)
            self._stage, self._begun_ns = self._stage + 1, 0
            self.done = self._stage == len(STAGES)

    def _missing(self, now_ns: int) -> str:
        """What the stage under way waits for; empty when it is over."""
        engine, view = self.engine, self.engine.view
        match self.stage:
            case "venue":
                return "" if self.venue is None or self.venue.member.life.state == "ready" else "the exchange has not opened its sockets"
            case "engine":
                return "" if engine.member.life.state != "starting" and engine.link is not None else "the engine is not up"
            case "books":
                return "" if view and view.books_live() else view.missing() if view else "the engine is not up"
            case "session":
                return "" if view and view.synced() else view.missing() if view else "the engine is not up"
            case "reconciler":
                agrees = self.reconciler is None or self.reconciler.member.life.state == "ready"
                return "" if agrees else "the reconciler has not said that the venue agrees"
            case "telemetry":
                over = self.telemetry is None or self.telemetry.member.life.state == "ready"
                return "" if over else "telemetry does not answer"
            case _:
                return self._trading(now_ns)

    def _trading(self, now_ns: int) -> str:
        engine = self.engine
        if engine.settled(now_ns):
            return ""
        if not engine.lifted and engine.member.life.state == "ready":
            self._lift_by_itself("all is ready: venue, books, session, telemetry")
        return f"the engine is {engine.member.life.state}: {engine.member.life.reason}"

    def enable(self, request: Request) -> list[Effect]:
        """Trading enabled by a person. Raises Failure when the engine is not ready for it."""
        life = self.engine.member.life
        if self.engine.lifted:
            return []
        if life.state != "ready":
            raise Failure(f"the engine is {life.state}: {life.reason}", EXIT_UNAVAILABLE, "it trades by itself once it is ready")
        return self._lift(request)

    def _lift_by_itself(self, why: str) -> None:
        """Asked again with the same id until it is answered: no shard does it twice."""
        pid = self.engine.member.last[0]
        if self._asked is None or self._asked[0] != pid:
            self._asked = (pid, own_request("start", why))
        try:
            self._lift(self._asked[1])
        except EngineLinkError as err:
            _log.warning("the engine has not taken the resume", error=str(err))

    def _lift(self, request: Request) -> list[Effect]:
        """Resume every shard that was held for the start; those a person had paused stay paused."""
        engine = self.engine
        process = engine.member.process
        made: Made | None = read(self.tree.run / MADE, Made)
        if process is None or engine.link is None or made is None or made.pid != process.pid or not engine.hand_on_kill():
            return []
        effects: list[Effect] = []
        if not self.tree.trading_enabled:
            if not self.tree.has_traded:
                self.tree.has_traded = True  # one that is not answered may have been taken
                self.tree.save()  # so who reads that nothing has traded can rely on it
            stopped = self._stop_what_it_does_not_know(made, engine.link)
            for shard in (s for s in made.held if s not in stopped):
                effects.append(engine.link.own("resume", shard=shard, body=LIFT_HOLD, request=request, timeout_s=LIFT_WAIT_S))
        engine.lifted_pid, engine.lifted_ns = process.pid, time.monotonic_ns()
        self.tree.trading_enabled = True
        engine.write_lifted(made)
        _log.info("trading enabled", id=request.id, held=made.held, paused_by_a_person=made.paused_before)
        self.tree.save()
        return effects

    def _stop_what_it_does_not_know(self, made: Made, link: TreeLink) -> set[int]:
        """Before anything is lifted: what came while no engine ran, or was not answered, and what an earlier one's plan (a full
        disk) does not tell. Returns the shards that a person's pause keeps paused."""
        for hold in self.tree.holds.listed():
            shard, body = hold.shard, b""
            match hold.kind:
                case "drain":
                    known = shard in made.drained
                case "pause":
                    known, body = shard not in made.held, bodies.number(0 if hold.keep else bodies.PAUSE_CANCELS)
                case "reduce_only" | "flatten":
                    if self.engine.killed() and not hold.after_kill:
                        _log.warning("not given: there was a kill since it was asked for", what=words(hold), shard=shard)
                        self.tree.holds.told(hold.kind, shard)
                        continue
                    known, body = False, bodies.number(1) if hold.kind == "reduce_only" else b""
                case _:
                    if (place := link.instruments.get(hold.symbol)) is None:
                        _log.error("a symbol that was paused while no engine ran is not traded", symbol=hold.symbol)
                        self.tree.holds.told("pause_symbol", shard, hold.symbol)
                        continue
                    known, shard, body = False, place[0], bodies.number(place[1])
            if known and not hold.owed:
                continue
            request = Request(cmd="pause" if hold.symbol else hold.kind, who=hold.who, why=hold.why, when_ns=hold.when_ns) if hold.owed else (
                own_request(hold.kind, f"still {words(hold)}"))  # fmt: skip
            effect = link.own(hold.kind, shard=shard, body=body, request=request, timeout_s=LIFT_WAIT_S)
            self.tree.holds.given_again(hold, effect.seq)
        return {hold.shard for hold in self.tree.holds.listed() if hold.kind == "pause"}


def _nothing(now_ns: int) -> None:
    """A stage that only waits."""
