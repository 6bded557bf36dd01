"""Leases of one budget over shards: nobody waits for anybody, and what is granted never comes to more than the budget.

Each shard holds a level: how much gross exposure its own gate lets pass. The manager moves levels from where they are not
used to where they are wanted, by two journaled commands that carry an epoch: `lease_grant` sets a level, `lease_return`
gives back what is free, up to what is asked for. A shard takes an epoch only if it is higher than the one it has, so what
comes late, twice or out of turn changes nothing.

What the manager holds of a shard is a bound: the highest level it can have, whatever became of the messages under way.

    bound(shard) = max(level it was last known to have, level of the grant that has not been confirmed)
    sum of all bounds <= budget, before and after every message        (checked by an assertion)

A level counts as known when the shard's own telemetry shows the message's epoch; a returned part is free from then on and
not before. Shards live and die together, as one process: after a recovery each holds what its journal says it held, orders of
unknown fate counted as used, and a new manager begins with that.

A new manager, of the next supervisor or for the next life of the engine, does not know what the one before it had on its way.
So it first sends each shard a fence: a return of nothing, with an epoch above any that can be on its way. What a shard holds
once it shows that epoch no older message can change any more, and so nothing is granted twice.

A budget that is lowered below what is out on lease is made good at once. With `excess` = what all shards use - budget:

    excess > 0    each shard's lease is cut to what it uses, less the whole excess: it may add again only after it has itself
                  come down by as much, and then all of them together are within the budget
    excess <= 0   each shard's lease is cut to what it uses and its share of what is left

A cut is a grant of a lower level, so it says what the shard has whatever it uses by then. Until what the shards hold or use,
whichever is more, is within the budget, nothing is granted; and later no grant brings that sum above it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.control import bodies
from orchestrator.control.engine_link import EngineLinkError
from orchestrator.control.messages import Request
from orchestrator.observe.log import logger
from orchestrator.observe.shards import shards_of

GRANT, RETURN = "lease_grant", "lease_return"
FENCE_ABOVE = 2  # a message on its way has an epoch one above what its shard shows: a fence stands above that


@dataclass(frozen=True)
class Reading:
    """What a shard's telemetry says: its lease, and how much of it is used (positions at the mark and working orders)."""

    epoch: int
    level_units: int
    used_units: int
    qty_lots: int = 0  # the lease's other half, which is passed on as it is
    refused: int = 0  # orders its gate refused for the lease, so far: it wants more than it has


@dataclass(frozen=True)
class Message:
    """One command to one shard. A grant's `units` is the level to have, a return's how much to give back."""

    kind: str
    shard: int
    epoch: int
    units: int
    qty_lots: int = 0


@dataclass
class _Shard:
    epoch: int
    level_units: int
    used_units: int = 0
    qty_lots: int = 0
    refused: int = 0
    hungry: bool = False  # more were refused since the reading before
    settled: bool = False  # what is used was read beside an epoch seen before: it is not older than the level
    waiting: Message | None = None

    @property
    def bound_units(self) -> int:
        if self.waiting is not None and self.waiting.kind == GRANT:
            return max(self.level_units, self.waiting.units)
        return self.level_units

    @property
    def stands_units(self) -> int:
        """The most it can come to use: its lease, or what it uses above it."""
        return max(self.bound_units, self.used_units)


@dataclass(frozen=True)
class LeaseState:
    """For status and metrics. `soft`: use of the budget has reached the soft share. `above`: the budget was lowered below what
    was out, and what stands has not come down to it yet."""

    budget_units: int
    bound_units: int
    used_units: int
    soft: bool
    levels_units: list[int] = field(default_factory=list)
    grants: int = 0
    returns: int = 0
    above: bool = False
    cuts: int = 0


class LeaseManager:
    """The pure part: readings in, messages out; no clock, no input or output. One message a shard is under way at most.

    `levels` are what the shards hold at the start, with `epochs` (1 without them). A shard wants what it uses and as much again as keeps
    it below the soft share, and more than it has when its gate refused orders for it; what nobody wants is spread evenly. Below `step_units` nothing is moved. From the soft share
    of the budget on, a grant takes at most a quarter of what is free: whoever comes next finds something. `budget_units` and
    `soft_permille` may be changed while it works; leases that come to more than a lowered budget are cut at the next tick.

    Raises ValueError when the levels come to more than the budget.
    """

    def __init__(self, budget_units: int, levels: Sequence[int], *, epochs: Sequence[int] = (), soft_permille: int = 800,
                 step_units: int | None = None) -> None:
        if min(levels) < 0 or sum(levels) > budget_units:
            raise ValueError(f"leases of {sum(levels)} units, the budget is {budget_units}")
        self.budget_units = budget_units
        self.soft_permille = soft_permille
        self._step_units = max(1, budget_units // 64 if step_units is None else step_units)
        self._shards = [_Shard(epoch, level) for epoch, level in zip(epochs or [1] * len(levels), levels, strict=True)]
        self._grants = self._returns = self._cuts = 0
        self._above = False

    def bound_units(self, shard: int) -> int:
        """The highest level the shard can have now."""
        return self._shards[shard].bound_units

    def free_units(self) -> int:
        """What no shard can have."""
        return self.budget_units - sum(s.bound_units for s in self._shards)

    def room_units(self) -> int:
        """What may be granted: what is free, less what is used above leases."""
        return self.budget_units - sum(s.stands_units for s in self._shards)

    def is_tight(self) -> bool:
        """The leases are such that no order which adds can leave the shards together above the budget."""
        calm = all(s.settled and s.waiting is None for s in self._shards)
        return self.free_units() >= 0 and (not self._above or (calm and not self._cutting()))

    def state(self) -> LeaseState:
        """As it stands."""
        used = sum(s.used_units for s in self._shards)
        return LeaseState(self.budget_units, sum(s.bound_units for s in self._shards), used,
                          used * 1000 >= self.budget_units * self.soft_permille,
                          [s.level_units for s in self._shards], self._grants, self._returns, self._above, self._cuts)  # fmt: skip

    # ---- what shards say

    def read(self, shard: int, reading: Reading) -> None:
        """Take one reading; one older than what is known is passed over."""
        s = self._shards[shard]
        if reading.epoch < s.epoch:
            return
        s.used_units, s.qty_lots = reading.used_units, reading.qty_lots
        s.settled = reading.epoch == s.epoch and s.waiting is None
        s.hungry, s.refused = reading.refused > s.refused, reading.refused
        if reading.epoch == s.epoch:
            return
        waiting, s.waiting, s.epoch = s.waiting, None, reading.epoch
        if waiting is None or reading.epoch != waiting.epoch:  # another's hand
            s.level_units = max(s.bound_units, reading.level_units, waiting.units if waiting and waiting.kind == GRANT else 0)
        elif waiting.kind == GRANT:
            s.level_units = waiting.units  # not what was read: epoch and level are two words, read one after the other
        elif s.level_units - waiting.units <= reading.level_units <= s.level_units:
            s.level_units = reading.level_units

    # ---- what they are told

    def tick(self) -> list[Message]:
        """The messages to send now: those not confirmed yet once more, then cuts; or else returns, then grants."""
        again = [s.waiting for s in self._shards if s.waiting is not None]
        if self._is_above():
            cuts = self._cutting()
            for m in cuts:
                self._shards[m.shard].waiting = m
            self._cuts += len(cuts)
            return again + cuts
        targets = self._targets()
        returns, grants = [], []
        for i, (s, target) in enumerate(zip(self._shards, targets, strict=True)):
            if s.waiting is not None:
                continue
            if s.level_units - target >= self._step_units:
                s.waiting = Message(RETURN, i, s.epoch + 1, s.level_units - target)
                returns.append(s.waiting)
        soft, before_units = self.state().soft, self.room_units()
        neediest = sorted(range(len(self._shards)), key=lambda i: (self._shards[i].level_units - targets[i], i))
        for i in neediest:
            s, free = self._shards[i], self.room_units()
            room = free // 4 if soft else free
            more = min(targets[i] - s.stands_units, room)
            if s.waiting is not None or more < min(self._step_units, max(1, room)):
                continue
            s.waiting = Message(GRANT, i, s.epoch + 1, s.stands_units + more, s.qty_lots)
            grants.append(s.waiting)
        assert self.room_units() >= min(0, before_units), "more is granted than there is"
        self._returns += len(returns)
        self._grants += len(grants)
        return again + returns + grants

    def _is_above(self) -> bool:
        if self.free_units() < 0:
            self._above = True
        elif self._above and self.room_units() >= 0 and all(s.settled for s in self._shards):
            self._above = False
        return self._above

    def _cutting(self) -> list[Message]:
        """The cuts that are missing, of shards that no message is under way to."""
        used = sum(s.used_units for s in self._shards)
        excess, share = used - self.budget_units, max(0, self.budget_units - used) // len(self._shards)
        out = []
        for i, s in enumerate(self._shards):
            target = max(0, s.used_units - excess) if excess > 0 else s.used_units + share
            if s.waiting is None and s.level_units > target:
                out.append(Message(GRANT, i, s.epoch + 1, target, s.qty_lots))
        return out

    def _targets(self) -> list[int]:
        pool, n = self.budget_units, len(self._shards)
        least = pool // (8 * n)  # of a shard that uses nothing: it could not begin to
        wants = [max(s.used_units * 1000 // self.soft_permille, least, s.level_units + 2 * least if s.hungry else 0) for s in self._shards]
        wanted = sum(wants)
        if wanted <= pool:
            return [want + (pool - wanted) // n for want in wants]
        return [max(s.used_units, want * pool // wanted) for s, want in zip(self._shards, wants, strict=True)]  # what is used stays


# ---- the part that talks to an engine

class Sender(Protocol):
    """What of EngineLink is used here."""

    def send(self, kind: str, *, shard: int, body: bytes, request: Request, timeout_s: float) -> Any:
        """One command; raises EngineLinkError."""
        ...


class LeaseHost:
    """Keeps the leases of one life of an engine: `tick(snapshot)` with each reading of its telemetry, from one thread.

    `link` gives the link to the engine, or None while there is none. The budget is `risk.max_gross_units` as the shards have
    it now, the lowest of them while it is being changed; a limit lowered below what is granted takes effect in each shard's
    own gate at once, and in the leases by the cuts of the next round. One shard alone has all of it, and is granted more when the limit is raised.
    """

    SEND_TIMEOUT_S = 0.05

    def __init__(self, link: Callable[[], Sender | None]) -> None:
        self._link = link
        self._manager: LeaseManager | None = None
        self._fences: list[int] = []  # epochs, until there is a manager; of one that has been seen twice the level is known
        self._seen: list[bool] = []
        self._fenced: list[bool] = []
        self._whole = False
        self._life = uuid.uuid4().hex[:12]
        self._log = logger(part="leases")

    def is_whole(self) -> bool:
        """One shard alone has all there is: nothing is to be done before the limit changes."""
        return self._whole

    def state(self) -> LeaseState | None:
        """As it stands; None before the shards have shown the fence."""
        return self._manager.state() if self._manager is not None else None

    def tick(self, snapshot: Any) -> list[Message]:
        """One round with a reading of the whole engine (observe.shards.read_engine); the messages that were taken."""
        shards = shards_of(snapshot)
        self._whole = len(shards) < 2 and shards[0]["lease_epoch"] > 0 and shards[0]["lease_units"] >= shards[0]["limit_gross_units"]
        if self._whole:
            return []
        readings = [Reading(s["lease_epoch"], s["lease_units"], s["gross_units"], s["lease_lots"], _refused(s)) for s in shards]
        budget_units = min(s["limit_gross_units"] for s in shards)
        if self._manager is None and not self._adopt(readings, budget_units):
            return []
        manager = self._manager
        assert manager is not None
        for shard, reading in enumerate(readings):
            manager.read(shard, reading)
        manager.budget_units = budget_units
        manager.soft_permille = min(s["soft_permille"] for s in shards)
        taken = []
        for m in manager.tick():
            if not self._send(m, f"{m.kind}-{m.shard}-{m.epoch}"):  # the same id when it is sent again: done once
                break  # it does not answer: whoever calls has other things to do
            taken.append(m)
        return taken

    def _adopt(self, readings: list[Reading], budget_units: int) -> bool:
        """Fence every shard, and go on with what they hold behind it. True once there is a manager."""
        n = len(readings)
        if not self._fences:
            if any(r.epoch == 0 for r in readings):  # a shard that has not shown itself yet
                return False
            self._fences, self._seen, self._fenced = [r.epoch + FENCE_ABOVE for r in readings], [False] * n, [False] * n
        for shard, epoch in enumerate(self._fences):
            if not self._fenced[shard] and not self._send(Message(RETURN, shard, epoch, 0), f"lease_fence-{shard}-{epoch}-{self._life}"):
                return False
            self._fenced[shard] = True
        shown = [r.epoch == epoch for r, epoch in zip(readings, self._fences, strict=True)]
        if not all(shown) or not all(self._seen):
            if any(r.epoch > epoch for r, epoch in zip(readings, self._fences, strict=True)):
                self._fences = []  # another hand was there meanwhile
            else:  # level and epoch are two words: what is read beside an epoch seen before is not older than it
                self._seen = shown
            return False
        levels = [r.level_units for r in readings]
        self._manager = LeaseManager(max(budget_units, sum(levels)), levels, epochs=self._fences, step_units=max(1, budget_units // 64))
        self._log.info("leases taken over", levels_units=levels, budget_units=budget_units)
        return True

    def _send(self, m: Message, request_id: str) -> bool:
        link = self._link()
        if link is None:
            return False
        request = Request(cmd=m.kind, who="leases", why="budget moves to where it is used", id=request_id)
        try:
            link.send(m.kind, shard=m.shard, body=bodies.lease(m.epoch, m.units, m.qty_lots), request=request, timeout_s=self.SEND_TIMEOUT_S)
        except EngineLinkError as err:
            self._log.warning("lease not moved", shard=m.shard, kind=m.kind, units=m.units, why=err.message)
            return False
        return True


def _refused(shard: Any) -> int:
    """Orders the shard's gate refused for its lease."""
    by_reason = getattr(shard, "rejects", {})
    return int(by_reason.get("lease_notional", 0)) + int(by_reason.get("lease_quantity", 0))
