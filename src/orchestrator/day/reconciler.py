"""The reconciler: beside a live engine, the venue's drop copy held against the engine's journals, and trading halted where
they disagree.

One loop: read what the venue told, read what was journaled, compare (agreement.py), act (door.py), tell (status). It is a
process of its own that the engine does not know of; killed and started again it reads both from their beginnings.

    RUN-TIME-FOLDER/reconcile.json    how it stands, replaced every `status_ms`
    RUN/reconcile.json                the same when it ended
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from orchestrator.config.models_day import Reconcile
from orchestrator.day.agreement import Agreement, Difference, Waiting, first_line
from orchestrator.day.copy_line import CopyLine
from orchestrator.day.door import WHO, Door, request_id
from orchestrator.day.drop_copy import DropCopy
from orchestrator.day.our_side import Event, OurSide
from orchestrator.observe import log

STATUS = "reconcile.json"
SETTLED_NS = 300_000_000  # logged in for so long, and nothing waits: it may be said that they agree
CLOCKS_APART = 10  # times grace_ms: after so long the journal's clock is not waited for any more
MAX_ACTS = 8  # commands for what one look finds
QUIET_NS = 250_000_000  # at the end: the venue has nothing more to tell
SUPERVISOR = "supervisor"
State = Literal["starting", "agreed", "waiting", "broken", "lost", "ended"]
_log = log.logger()


class Counted(msgspec.Struct, frozen=True):
    """What the engine shows of itself in shared memory: sessions in order, and the positions it counts."""

    ready: list[bool]  # by shard
    lots: dict[str, int]


class Act(msgspec.Struct):
    """What is done about a difference."""

    how: str
    key: str
    why: str
    asked_ns: int  # wall clock
    done: bool = False
    problem: str = ""


class Status(msgspec.Struct, kw_only=True):
    """How the comparison stands."""

    name: str
    run: str
    state: State
    pid: int = 0
    written_ns: int = 0
    session: str = ""
    agreed: int = 0  # executions that both sides have, the same
    waiting: int = 0  # that one side alone has so far
    lag_ns: int = 0  # age of the oldest of them
    last_seq: int = 0  # of the drop copy, received
    last_agreed_seq: int = 0  # up to there nothing waited and nothing differed
    gaps: int = 0
    lost: int = 0  # connections
    problem: str = ""  # of the connection or the journal, now
    start_told: bool = False
    of_other_ports: int = 0
    breaks: int = 0  # differences ever found
    standing: list[str] = []  # those that stand now
    positions: dict[str, tuple[int, int]] = {}  # ours, the venue's; symbols that are flat on both sides are left out
    acts: list[Act] = []


class Reconciler:
    """`round()` again and again, `finish()` once. `counted()` reads shared memory; None while no engine is there."""

    def __init__(self, settings: Reconcile, name: str, run: Path, our: OurSide, line: CopyLine, door: Door, *,
                 counted: Callable[[], Counted | None] = lambda: None, folder: Path | None = None,
                 clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.settings, self.name, self.run = settings, name, run
        self.our, self.line, self._door, self._counted, self._clock = our, line, door, counted, clock
        self.copy = DropCopy()
        self.agreement: Agreement | None = None  # once the journals' headers are read
        self.grace_ns = settings.grace_ms * 1_000_000
        self.let_trade = False  # the supervisor has, once
        self.acts: list[Act] = []
        self._folder = folder
        self._done_ids: set[str] = set()
        self._tries: dict[str, int] = {}  # act → monotonic time of its first try
        self._ready_since: dict[int, int] = {}
        self._counted_apart: dict[str, tuple[int, int, int]] = {}  # symbol → counted, journaled, since
        self._early: list[tuple[str, bytes]] = []  # of the venue, and of the journals, before there is an agreement
        self._early_ours: list[Event] = []
        self._unanswered: list[Difference] = []  # found before trading was let: reacted to as soon as it is
        self._breaks = self._last_agreed = 0
        self._lost_told = self._final = False
        self._lifted = ""  # of the supervisor's last resume after an act of ours
        self._problem = ""
        self._counted_due_ns = self._status_due_ns = 0

    # ---- one round

    def round(self, wait_s: float = 0.05) -> None:
        """Read both sides, compare, act, tell."""
        events = self.line.poll(self._clock(), wait_s)
        journaled, problem = self.our.refresh()
        now = self._clock()
        self._say_problem(problem)
        if self.agreement is None and self.our.ready:
            self.agreement = Agreement(self.our.start_lots, self.grace_ns, self.settings.whole_firm)
        self._early_ours += journaled
        self._early += events
        if self.agreement is not None:
            for event in self._early_ours:
                self._ours(event, now)
            for kind, payload in self._early:
                self._venue(kind, payload, now)
            self._early_ours.clear()
            self._early.clear()
            self._look(now)
        self._watch_line(now)
        self._pursue()
        if now >= self._status_due_ns:
            self._status_due_ns = now + self.settings.status_ms * 1_000_000
            self.tell()

    def _ours(self, event: Event, now: int) -> None:
        agreement = self.agreement
        assert agreement is not None
        if event.kind == "order":
            agreement.order(event.number)
        elif event.kind == "fill" and event.execution is not None:
            agreement.fill("ours", event.execution, now)
        elif event.kind == "broken":
            agreement.broken("ours", event.number, now)
        elif event.kind == "unknown" and event.execution is not None:
            agreement.say(f"journal:{event.shard}:{event.seq}", f"match {event.execution.match}: the journal has an execution on order "
                          f"{event.number}, which it does not know")  # fmt: skip
        elif event.kind == "command":
            self._commanded(event)

    def _commanded(self, event: Event) -> None:
        if event.who == WHO:
            self._done_ids.add(event.id)
        if event.command == "resume" and event.who == SUPERVISOR:
            self.let_trade = True
            if self._done_ids:  # lifted with the hold of a start, by nobody who had looked at the difference: done anew
                self._done_ids.clear()
                self._lifted = f"#{event.shard}:{event.seq}"
                last = self.acts[-1] if self.acts else None
                if last is not None and self.agreement is not None and self.agreement.standing:
                    self._act(last.how, last.key, last.why)

    def _venue(self, kind: str, payload: bytes, now: int) -> None:
        agreement = self.agreement
        assert agreement is not None
        if kind == "gap":
            agreement.say(f"gap:{self.line.session}:{self.line.next_seq}", payload.decode())
        elif kind == "A":
            self._lost_told = False
            _log.info("drop copy up", session=self.line.session, next_seq=self.line.next_seq)
            here = {s.session for s in self.our.shards if s.session}
            if here and self.line.session not in here:
                agreement.say(f"session:{self.line.session}", f"the drop copy is of session {self.line.session}, our orders of {', '.join(sorted(here))}")
        elif kind == "Z":
            _log.info("the venue ended its session", session=self.line.session)
        elif kind == "S" and (told := self.copy.take(payload)) is not None:
            what, value = told
            if what == "start":
                if self.settings.start_positions != "ignored" and self.settings.whole_firm:
                    agreement.start(self.copy.start_lots or {})
            elif what == "broken" and isinstance(value, int):
                agreement.broken("venue", value, now, self._journal_now(""))
            elif not isinstance(value, int):
                agreement.fill("venue", value, now, self._journal_now(value.symbol))

    def _journal_now(self, symbol: str) -> int:
        shard = self.our.shard_of(symbol)
        return shard.last_ts_ns if shard else min(s.last_ts_ns for s in self.our.shards)

    # ---- what differs

    def _look(self, now: int) -> None:
        agreement = self.agreement
        assert agreement is not None
        if now >= self._counted_due_ns:
            self._counted_due_ns = now + min(200_000_000, self.grace_ns // 4)
            self._look_at_engine(now)
        found = agreement.look(now, lambda waiting: self._passed(waiting, now))
        if not agreement.waiting and not agreement.standing and self.line.up_since_ns:
            self._last_agreed = self.line.next_seq - 1
        self._breaks += len(found)
        for difference in found:
            _log.error("the venue disagrees", difference=difference.text, key=difference.key)
        self._unanswered += found
        if self.let_trade and self._unanswered:
            answered, self._unanswered = self._unanswered, []
            self._react(answered)

    def _react(self, found: list[Difference]) -> None:
        """A command for each, so that each stands in the journal; of very many the last one says how many more there are."""
        if self._final:
            return
        for i, difference in enumerate(found[:MAX_ACTS], 1):
            why = first_line(found[i - 1 :]) if i == MAX_ACTS else difference.text
            self._act(self.settings.on_break, difference.key, why)

    def _passed(self, waiting: Waiting, now: int) -> bool:
        """Has the other side gone past it? Of the venue's record: something later was told, or a heartbeat with nothing to
        tell. Of our journal: its own time went on by the grace, with the order session in order."""
        told, line = waiting.what, self.line
        if self._final:
            return True
        if waiting.side == "ours":
            if not line.up_since_ns or now - line.up_since_ns < self.grace_ns:
                return False
            return self.copy.last_ts_ns > told.ts_ns or line.idle_ns > waiting.since_ns
        shard = self.our.shard_of(told.symbol)
        for one in [shard] if shard else self.our.shards:
            since = self._ready_since.get(one.number, 0)
            if not since or now - since < self.grace_ns or one.last_ts_ns - waiting.mark < self.grace_ns:
                return False
            caught_up = one.last_ts_ns >= one.midnight_ns + told.ts_ns + self.grace_ns
            if not caught_up and now - waiting.since_ns < CLOCKS_APART * self.grace_ns:
                return False
        return True

    def _look_at_engine(self, now: int) -> None:
        found = self._counted()
        if found is None:
            self._ready_since.clear()
            return
        for shard, ready in enumerate(found.ready):
            if not ready:
                self._ready_since.pop(shard, None)
            else:
                self._ready_since.setdefault(shard, now)
        assert self.agreement is not None
        for symbol, counted in found.lots.items():
            journaled = self.agreement.lots["ours"].get(symbol, 0)
            apart = self._counted_apart.get(symbol)
            if counted == journaled or not all(found.ready):
                self._counted_apart.pop(symbol, None)
            elif apart is None or apart[:2] != (counted, journaled):
                self._counted_apart[symbol] = (counted, journaled, now)
            elif now - apart[2] >= self.grace_ns:
                self.agreement.say(f"counted:{symbol}:{counted}:{journaled}",
                                   f"{symbol}: the engine counts {counted:+} lots, its journal makes {journaled:+}")  # fmt: skip

    def _watch_line(self, now: int) -> None:
        if self.line.up_since_ns or self.line.ended or self._lost_told or not self.let_trade:
            return
        down_ns = now - self.line.down_since_ns
        if down_ns >= self.settings.lost_after_ms * 1_000_000:
            self._lost_told = True
            why = f"the drop copy is lost for {down_ns // 1_000_000} ms: {self.line.stats.problem}"
            _log.error("the drop copy is lost", problem=self.line.stats.problem, for_ms=down_ns // 1_000_000)
            self._act(self.settings.on_lost, f"lost:{time.time_ns()}", why)

    def _say_problem(self, problem: str) -> None:
        if problem != self._problem:
            (_log.warning if problem else _log.info)("journal", problem=problem or "can be read again")
        self._problem = problem

    # ---- what is done

    def _act(self, how: str, key: str, why: str) -> None:
        act = Act(how, key.partition("#")[0] + self._lifted, why, time.time_ns())
        self.acts.append(act)
        if how == "tell" or request_id(str(self.run), how, act.key) in self._done_ids:
            act.done = True  # in this run it was done before; what came after it was somebody's decision
        else:
            self._tries[act.key] = self._clock()
        self._status_due_ns = 0

    def _pursue(self) -> None:
        """Do what is not done yet; asked again at each round."""
        for act in self.acts:
            if act.done:
                continue
            said = self._door.act(act.how, request_id(str(self.run), act.how, act.key), act.why, self._tries[act.key])
            act.done = not said
            if said and said != act.problem:
                _log.error("trading is not halted yet", why=act.why, problem=said)
            act.problem = said
            self._status_due_ns = 0

    # ---- at the beginning and at the end

    @property
    def ready(self) -> bool:
        """May it be said that both sides agree as far as they go?"""
        a, now = self.agreement, self._clock()
        if a is None or not self.line.up_since_ns or now - self.line.up_since_ns < SETTLED_NS:
            return False
        told = a.start_told or self.settings.start_positions != "required"
        return told and (self.settings.on_break == "tell" or self.let_trade or not (a.waiting or a.standing))

    @property
    def refused(self) -> str:
        """Why nothing may be traded at all, before anything has been; "" while nothing speaks against it."""
        if self.let_trade or self.settings.on_break == "tell" or self.agreement is None:
            return ""
        return first_line(self.agreement.standing.values())

    def finish(self) -> Status:
        """The engine has ended: compare to the last record, and say what it came to."""
        until = self._clock() + min(self.grace_ns, 2_000_000_000)
        quiet_at = self._clock() + QUIET_NS
        while (now := self._clock()) < until:
            before = self.line.next_seq
            self.round(0.02)
            quiet_at = now + QUIET_NS if self.line.next_seq != before else quiet_at
            if now >= quiet_at and (self.agreement is None or not self.agreement.waiting):
                break
        knows = bool(self.line.up_since_ns or self.line.ended)
        if self.agreement is not None and knows:
            self._final, self.agreement.grace_ns = True, 0
            self._look(self._clock())
        status = self.status()
        status.state = "broken" if status.standing else "ended" if knows and self.agreement is not None else "lost"
        self._write(status, [self._folder, self.run])
        self.line.close()
        return status

    # ---- what is told

    def status(self) -> Status:
        """As it stands."""
        a, line, now = self.agreement, self.line, self._clock()
        state: State = "starting"
        if a is not None and a.standing:
            state = "broken"
        elif a is not None and line.up_since_ns:
            state = "waiting" if a.waiting else "agreed"
        elif line.ended:
            state = "ended"
        elif line.stats.connections:
            state = "lost"
        lots = {} if a is None else {s: (a.lots["ours"].get(s, 0), a.lots["venue"].get(s, 0)) for s in sorted(a.lots["ours"].keys() | a.lots["venue"].keys())}
        return Status(
            name=self.name, run=str(self.run), state=state, pid=os.getpid(), written_ns=time.time_ns(), session=line.session,
            agreed=a.agreed if a else 0, waiting=a.waiting if a else 0, lag_ns=a.oldest_ns(now) if a else 0, last_seq=line.next_seq - 1,
            last_agreed_seq=self._last_agreed, gaps=line.stats.gaps, lost=line.stats.lost,
            problem="; ".join(p for p in (line.stats.problem, self._problem) if p), start_told=a.start_told if a else False,
            of_other_ports=a.of_other_ports if a else 0, breaks=self._breaks, standing=[d.text for d in a.standing.values()][:50] if a else [],
            positions={s: pair for s, pair in lots.items() if any(pair)}, acts=self.acts[-20:],
        )  # fmt: skip

    def tell(self) -> None:
        """Write the status for whoever looks."""
        self._write(self.status(), [self._folder])

    def _write(self, status: Status, folders: list[Path | None]) -> None:
        from orchestrator.supervise.files import replace_whole

        data = msgspec.json.format(msgspec.json.encode(status), indent=1)
        for folder in folders:
            if folder is not None:
                try:
                    replace_whole(folder / STATUS, data)
                except OSError as err:
                    _log.error("the status could not be written", folder=str(folder), error=str(err))


def read_status(folder: Path) -> Status | None:
    """The status in a runtime folder or in a run; None where there is none."""
    try:
        return msgspec.json.decode((folder / STATUS).read_bytes(), type=Status)
    except (OSError, msgspec.MsgspecError):
        return None
