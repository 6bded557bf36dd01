"""From a request to what it does: commands of the engine through its ring, the tree's own through its supervisor.

A command that concerns several shards is sent to each, in order of their numbers; the reply's effects say where it stands in
each one's journal. Where one shard did not take it the reply says so and still carries the effects of those that did: asked
again with the same id, only the missing ones do it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from orchestrator.config.models import Config
from orchestrator.control import bodies, breakers, limit_rules
from orchestrator.control.engine_link import EngineLinkError
from orchestrator.control.errors import ControlError, problem_of
from orchestrator.control.limit_use import LimitUse
from orchestrator.control.limits import Limits
from orchestrator.control.messages import Caller, Effect, Reply, Request
from orchestrator.control.policies import Policies
from orchestrator.control.revival import Revival, killed_again
from orchestrator.control.status import Status
from orchestrator.control.told import Told
from orchestrator.observe import traces
from orchestrator.observe.segment import SegmentError
from orchestrator.observe.telemetry import TelemetryError
from orchestrator.supervise.state_file import TreeState


class Link(Protocol):
    """What is asked of an EngineLink here."""

    name: str
    shards: int
    epoch: int
    instruments: dict[str, tuple[int, int]]

    def send(self, kind: str, *, shard: int, body: bytes = b"", request: Request, timeout_s: float = 2.0, part: int = 0) -> Effect:
        """Have a shard consume one command."""
        ...

    def expect(self, kind: str, *, shard: int, request: Request, post: Callable[[int], None], timeout_s: float = 2.0) -> Effect:
        """The same for a command that `post(key)` hands over by another way."""
        ...

    def kill(self, level: int) -> None:
        """Set the kill word."""
        ...

    def lift_kill(self, seen: int) -> bool:
        """Lift the kill that `seen` is the word of; False where another came since."""
        ...

    def alive(self) -> bool:
        """Is that engine still there?"""
        ...


class TreeControl(Protocol):
    """What commands need of the supervisor. What it raises with `code`, `message` and `hint` becomes the reply's problem;
    what `enable_trading` and the others return becomes the reply's data, when it is a dict."""

    def state(self) -> TreeState:
        """The tree as it is."""
        ...

    def config(self) -> Config:
        """The configuration in force."""
        ...

    def link(self) -> Link | None:
        """The way into the engine; None while none runs."""
        ...

    def enable_trading(self, request: Request) -> Any:
        """Let the engine trade once it is ready."""
        ...

    def stop_tree(self, request: Request) -> Any:
        """Begin to end the tree: no new orders, cancel, flush, stop. Returns before it is over."""
        ...

    def restart_engine(self, request: Request) -> Any:
        """Start the engine process again."""
        ...

    def keep(self, request: Request) -> Any:
        """No engine runs: keep this stop for the one that comes next."""
        ...

    def take_back(self, request: Request) -> Any:
        """No engine runs: what this resume, or `reduce_only` off, means is not given to the next one; None where there is nothing
        of the sort."""
        ...

    def set_log_level(self, level: str) -> Any:
        """Of every process of the tree that the supervisor reaches."""
        ...

    def deploy(self, request: Request) -> Any:
        """Begin to take a changed configuration; does not wait for it."""
        ...

    def deployed(self, request_id: str, after: int) -> Any:
        """How far that deploy is."""
        ...


class Dispatcher:
    """The handler of a ControlServer. `engine_link()` gives the way into the engine, None while none runs.

    `agent()` reaches the engine process itself (engine_agent.py); without it policies and snapshots are not to be had.
    """

    def __init__(self, engine_link: Callable[[], Link | None], tree: TreeControl, *, agent: Callable[[], Any] | None = None,
                 server_stats: Callable[[], dict[str, Any]] | None = None, limits_changed: Callable[[], None] | None = None) -> None:
        self._limits_changed = limits_changed
        self._engine_link = engine_link
        self._tree = tree
        self._agent = agent
        self.told = Told(lambda: tree.state().run)
        self.limits = Limits(self.told)
        self._limit_use = LimitUse()
        self._policies = Policies()
        self._revival = Revival(lambda: tree.config().control.revive_token_s)
        self.status = Status(tree, self.limits, server_stats)
        self._commands: dict[str, Callable[[Request, Caller], Reply]] = {
            "status": lambda r, _: _good(r, self.status.reading()),
            "limits.get": self._limits_get,
            "commands": lambda r, _: _good(r, self.told.listed(r.args.get("since_ns", 0), r.args.get("limit", 1000))),
            "start": self._start,
            "stop": lambda r, _: _good(r, _dict(tree.stop_tree(r))),
            "pause": lambda r, _: self._or_kept(r, lambda: self._to_target(
                r, "pause", bodies.number(0 if r.args.get("keep") else bodies.PAUSE_CANCELS), "pause_symbol")),
            "resume": self._resume,
            "drain": lambda r, _: self._or_kept(r, lambda: self._to_shards(r, "drain")),
            "limits.set": self._limits_set,
            "active_symbols": lambda r, _: self._to_shards(r, "active_symbols", bodies.number(r.args["count"])),
            "policy.load": lambda r, caller: _good(r, self._policies.load(r.args, caller)),
            "policy.swap": self._policy_swap,
            "weights": self._weights,
            "move": lambda r, _: self._to_shards(r, "move", bodies.number(r.args["thread"])),
            "kill": self._kill,
            "flatten": lambda r, _: self._or_kept(r, lambda: self._flatten(r)),
            "reduce_only": self._reduce_only,
            "revive": self._revive,
            "rearm": self._rearm,
            "snapshot": self._snapshot,
            "log_level": self._log_level,
            "deploy": lambda r, _: _good(r, _dict(tree.deploy(r))),
            "deploy.status": lambda r, _: _good(r, tree.deployed(r.args.get("id", ""), r.args.get("after", 0))),
            "note": lambda r, _: self._to_shards(r, "note", bodies.note(r.args["text"])),
        }

    def handle(self, request: Request, caller: Caller) -> Reply:
        """Do it. Raises ControlError, EngineLinkError and what the tree raises."""
        with traces.span(f"control.{request.cmd}", id=request.id, who=caller.name, why=request.why or None) as span:
            span.event("asked", request.when_ns)
            reply = self._commands[request.cmd](request, caller)
            for e in reply.effects:
                span.event("journaled", e.ts_ns, shard=e.shard, seq=e.seq)
            span.set(ok=reply.ok, seq=" ".join(f"{e.shard}:{e.seq}" for e in reply.effects) or None)
            return reply

    # ---- the engine

    def link(self) -> Link:
        """The way into the running engine. Raises ControlError."""
        link = self._engine_link()
        if link is None:
            raise ControlError("unavailable", "no engine runs just now", "peregrine status says what became of it")
        return link

    def _to_target(self, request: Request, kind: str, body: bytes, symbol_kind: str) -> Reply:
        if (symbol := request.args.get("symbol")) is None:
            reply = self._to_shards(request, kind, body)
            if kind == "resume" and (still := self._still_paused(reply)):
                reply.data = {"still_paused": still, "hint": "paused by themselves: resume them by name"}
            return reply
        link = self.link()
        shard, ix = _place(link, symbol)
        return _good(request, None, [link.send(symbol_kind, shard=shard, body=bodies.number(ix), request=request)])

    def _or_kept(self, request: Request, do: Callable[[], Reply]) -> Reply:
        """`do`; where no engine is there to take it, or it dies over it, its supervisor keeps it for the next one."""
        effects: list[Effect] = []
        if (link := self._engine_link()) is not None:
            try:
                return do()
            except (ControlError, EngineLinkError) as err:
                if err.code != "unavailable" or link.alive():
                    raise
                effects = getattr(err, "effects", [])
        kept = self._tree.keep(request)
        if (link := self._engine_link()) is not None and link.alive():  # it came back while that was noted
            return do()
        return _good(request, _dict(kept), effects)

    def _or_taken_back(self, request: Request, do: Callable[[], Reply]) -> Reply:
        """`do`; where no engine is there, what was kept for the next one is not given."""
        if self._engine_link() is None and (back := self._tree.take_back(request)) is not None:
            return _good(request, _dict(back))
        return do()

    def _resume(self, request: Request, _: Caller) -> Reply:
        body = bodies.number(bodies.RESUME_DRAINED)
        return self._or_taken_back(request, lambda: self._to_target(request, "resume", body, "resume_symbol"))

    def _flatten(self, request: Request) -> Reply:
        reply = self._to_shards(request, "flatten")
        there = {e.shard for e in reply.effects}
        stopped = sorted({h.shard for h in self._tree.state().holds if h.kind in ("pause", "drain") and h.shard in there})
        if stopped:
            reply.data = {"warning": f"shard {', '.join(map(str, stopped))}: paused or drained, so no order leaves there, and none that closes a position either",
                          "hint": "resume it, then flatten again"}  # fmt: skip
        return reply

    def _reduce_only(self, request: Request, _: Caller) -> Reply:
        on = bool(request.args["on"])
        otherwise = self._or_kept if on else self._or_taken_back
        return otherwise(request, lambda: self._to_shards(request, "reduce_only", bodies.number(int(on))))

    def _still_paused(self, reply: Reply) -> list[str]:
        """Symbols of the shards just resumed that a person paused by name."""
        names = {place: symbol for symbol, place in self.link().instruments.items()}
        seqs = {e.shard: e.seq for e in reply.effects}
        try:
            shards = self.told.shards(seqs)
        except ControlError:  # the resume is done, whatever can be read of it
            return []
        found = [(s.number, ix) for s in shards if s.number in seqs for ix in sorted(s.paused)]
        return [names.get(place, f"instrument {place[1]} of shard {place[0]}") for place in found]

    def _to_shards(self, request: Request, kind: str, body: bytes = b"") -> Reply:
        link = self.link()
        return _good(request, None, each_shard(shards_of(link, request.args), lambda shard: link.send(kind, shard=shard, body=body, request=request)))

    def _kill(self, request: Request, caller: Caller) -> Reply:
        """The word is set already, by whoever received this; here is journaled who asked for it."""
        self._revival.forget()
        kind = "flatten" if request.args.get("level") == "flatten" else "kill"
        return self._to_shards(request, kind)

    def _revive(self, request: Request, caller: Caller) -> Reply:
        link = self.link()
        token = request.args.get("token")
        if token is None:
            return _good(request, self._revival.ask(link.name, caller, request))
        self._revival.take(link.name, caller, token)
        self._rearm_account(request)  # before the word: an account at its limit is not let trade for a moment either
        seen = self._revival.still_good(link.name)  # that may have taken its time
        if not link.lift_kill(seen):
            raise killed_again()
        try:
            effects = each_shard(range(link.shards), lambda shard: self._once_the_word_is_seen(link, shard, request))
        finally:
            if again := self._revival.killed_since():  # what came meanwhile may have been lifted with the one before it
                link.kill(1)
        if again:
            raise ControlError("refused", "killed again meanwhile: the kill stands", "ask for a token first: revive without one", effects)
        return _good(request, {"kill_word": False}, effects)

    def _once_the_word_is_seen(self, link: Link, shard: int, request: Request) -> Effect:
        """A shard refuses to be revived as long as it has not seen that the word is lifted; it looks before each command."""
        return link.send("revive", shard=shard, request=request)

    # ---- limits and policies

    def _limits_get(self, request: Request, _: Caller) -> Reply:
        """Of the account or one symbol, with what is used of each while an engine can be read."""
        found = self.limits.in_force(request.args.get("symbol"))
        try:
            found["use"] = self._limit_use.of(self._tree.state().name, found)
        except (SegmentError, TelemetryError, LookupError) as err:
            found["use"], found["problem"] = None, f"what is used cannot be read: {err}"
        return _good(request, found)

    def _limits_set(self, request: Request, _: Caller) -> Reply:
        link = self.link()
        symbol = request.args.get("symbol")
        where = None if symbol is None else _place(link, symbol)
        wanted = self.limits.bodies_for(link.shards, where, request.args["limits"])
        limit_rules.judge(self._tree.config(), self.limits.in_force(), request.args["limits"], symbol)
        try:
            effects = each_shard(wanted, lambda shard: link.send("limits", shard=shard, body=wanted[shard], request=request))
        finally:
            if self._limits_changed is not None:
                self._limits_changed()
        self.limits.expect(effects)
        return _good(request, {"limits": request.args["limits"], "symbol": symbol}, effects)

    def _rearm(self, request: Request, _: Caller) -> Reply:
        """Of shards, and of the account where all are meant: that one first, it refuses more often."""
        named = request.args.get("breaker")
        account = None
        if "shard" not in request.args and named in (None, "loss", "drawdown"):
            account = self._rearm_account(request)
        reply = self._to_shards(request, "rearm", bodies.number(breakers.bits([named] if named else [])))
        reply.data = {"account": account} if account else None
        return reply

    def _rearm_account(self, request: Request) -> str | None:
        """What became of the breaker over all shards, which watches beside the engine; None where it cannot be asked. Raises
        ControlError while the account's loss is at its limit."""
        if self._agent is None:
            return None
        try:
            return str(self._agent().call("rearm_account", who=request.who, why=request.why))
        except ControlError as err:
            if err.code == "refused":
                raise
            return None  # it kills again by itself if it must

    def _weights(self, request: Request, _: Caller) -> Reply:
        """With a word where all the weight is on slots that hold no policy as far as can be told here."""
        weights = request.args["weights"]
        reply = self._to_shards(request, "weights", bodies.weights(_eight(weights)))
        held = {m.slot for m in self._tree.config().policies.members} | self._policies.slots()
        if not any(weight for slot, weight in enumerate(weights) if slot in held):
            reply.data = {"warning": "all the weight is on slots without a policy: nobody decides, and nothing is traded",
                          "slots with a policy": sorted(held)}  # fmt: skip
        return reply

    def _policy_swap(self, request: Request, _: Caller) -> Reply:
        link, slot = self.link(), request.args["slot"]
        shards = shards_of(link, request.args)
        if request.args.get("back"):
            return _good(request, None, each_shard(
                shards, lambda shard: link.send("bank_swap", shard=shard, body=bodies.number(slot), request=request)))  # fmt: skip
        loaded = self._policies.loaded(slot)
        agent = self._reach_agent()

        def swap(shard: int) -> Effect:
            def post(key: int) -> None:
                agent.call("bank_swap", slot=slot, data=loaded.data, key=key, shard=shard, origin=bodies.origin(request))

            return link.expect("bank_swap", shard=shard, request=request, post=post)

        return _good(request, {"slot": slot, "name": loaded.name, "sha256": loaded.sha256}, each_shard(shards, swap))

    def _snapshot(self, request: Request, _: Caller) -> Reply:
        link, agent = self.link(), self._reach_agent()
        return _good(request, {"shards": [agent.call("snapshot", shard=s) for s in shards_of(link, request.args)]})

    def _reach_agent(self) -> Any:
        if self._agent is None:
            raise ControlError("unavailable", "this engine takes no policies and makes no snapshots on request",
                               "start it with peregrine up")  # fmt: skip
        return self._agent()

    # ---- the tree

    def _start(self, request: Request, _: Caller) -> Reply:
        engines = [p for p in self._tree.state().processes if p.role == "engine"]
        dead = not engines or engines[0].state in ("stopped", "failed")
        act = self._tree.restart_engine if dead or request.args.get("restart") else self._tree.enable_trading
        return _good(request, _dict(act(request)))

    def _log_level(self, request: Request, _: Caller) -> Reply:
        level = request.args["level"]
        data = _dict(self._tree.set_log_level(level)) or {}
        if self._agent is not None and self._engine_link() is not None:
            try:
                self._agent().call("log_level", level=level)
            except ControlError as err:
                data["engine"] = f"not reached: {err.message}"
        return _good(request, {"level": level, **data})


def shards_of(link: Link, args: dict[str, Any]) -> list[int]:
    """The shards that a command's arguments mean. Raises ControlError for one that does not exist."""
    if (shard := args.get("shard")) is None:
        return list(range(link.shards))
    if shard >= link.shards:
        raise ControlError("usage", f"no shard {shard}: {link.name} has {link.shards}", f"0 to {link.shards - 1}")
    return [shard]


def each_shard(shards: Any, do: Callable[[int], Effect]) -> list[Effect]:
    """Do it in each of them, all of them even where one fails. Raises ControlError with the effects of those that did."""
    effects: list[Effect] = []
    failed: list[tuple[int, BaseException]] = []
    for shard in shards:
        try:
            effects.append(do(shard))
        except Exception as err:
            failed.append((shard, err))
    if not failed:
        return effects
    first = problem_of(failed[0][1])
    message = first.message
    if len(failed) > 1:
        message += f"; and {len(failed) - 1} more shards: {', '.join(str(s) for s, _ in failed[1:])}"
    raise ControlError(first.code, message, first.hint, effects)


def _place(link: Link, symbol: str) -> tuple[int, int]:
    found = link.instruments.get(symbol)
    if found is None:
        few = ", ".join(sorted(link.instruments)[:8])
        raise ControlError("usage", f"no symbol {symbol}", f"{link.name} trades {few}{' …' if len(link.instruments) > 8 else ''}")
    return found


def _good(request: Request, data: Any = None, effects: list[Effect] | None = None) -> Reply:
    return Reply(id=request.id, ok=True, data=data, effects=effects or [])


def _dict(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _eight(weights: list[int]) -> list[int]:
    return [*weights, *[0] * (8 - len(weights))]
