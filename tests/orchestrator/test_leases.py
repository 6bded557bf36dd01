"""Leases over shards: whatever messages do, and whoever dies, the budget is never passed, and it goes where it is used."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath import _core
from orchestrator.control.leases import GRANT, RETURN, LeaseHost, LeaseManager, Message, Reading
from tests.risk.gate_setup import limits, market, order

BUDGET = 10_000
PRICE = 100


class Shard:
    """A shard as far as leases go: the engine's own gate and exposure, what it has working, and a network that misbehaves."""

    def __init__(self, level: int) -> None:
        self.gate = _core.Gate(max_instruments=1)
        self.exposure = _core.Exposure(1)
        assert self.gate.set_limits(limits(max_gross=BUDGET))
        self.gate.set_authorised(1, True)
        self.gate.set_session_ready(True)
        self.gate.set_journal_healthy(True)
        assert self.gate.grant(1, level, 10**9)
        self.orders: list[tuple[int, int]] = []  # lots, notional
        self.alive = True
        self.said: list[Reading] = []
        self.now = 10**12

    @property
    def level(self) -> int:
        return self.gate.lease()[1]

    @property
    def used(self) -> int:
        return self.exposure.account()["gross"]

    def buy(self, lots: int) -> None:
        """Sends an order if the gate lets it pass."""
        self.now += 10**10
        view = market(bid_ticks=PRICE - 1, ask_ticks=PRICE, reference_ticks=PRICE, quote_ts_ns=self.now)
        if self.gate.check(order(price_ticks=PRICE, qty_lots=lots), view, self.exposure, self.now)["reason"] == "pass":
            self.exposure.move_claim(0, 0, (0, 0, 0), (0, lots, lots * PRICE))
            self.orders.append((lots, lots * PRICE))

    def done(self) -> None:
        """The oldest order is over."""
        if self.orders:
            lots, notional = self.orders.pop(0)
            self.exposure.move_claim(0, 0, (0, lots, notional), (0, 0, 0))

    def take(self, m: Message) -> None:
        if m.kind == GRANT:
            self.gate.grant(m.epoch, m.units, m.qty_lots)
        else:
            self.gate.give_back(m.epoch, m.units, 0, self.exposure)

    def say(self) -> Reading:
        epoch, level, lots = self.gate.lease()
        self.said.append(Reading(epoch, level, self.used, lots))
        return self.said[-1]


class World:
    """Shards, the manager, and every message that was ever sent: each may arrive at any time, any number of times."""

    def __init__(self, n: int) -> None:
        self.shards = [Shard(BUDGET // n) for _ in range(n)]
        self.manager = LeaseManager(BUDGET, [BUDGET // n] * n, step_units=50)
        self.sent: list[list[Message]] = [[] for _ in range(n)]

    def check(self) -> None:
        held = [s.level for s in self.shards]
        bounds = [self.manager.bound_units(i) for i in range(len(self.shards))]
        assert sum(held) <= BUDGET and sum(bounds) <= BUDGET, (held, bounds)
        assert all(h <= b for h, b in zip(held, bounds, strict=True)), (held, bounds)
        assert sum(s.used for s in self.shards) <= BUDGET
        assert all(s.used <= s.level for s in self.shards)

    def do(self, what: str, shard: int, n: int) -> None:
        s = self.shards[shard]
        if what == "tick":
            for m in self.manager.tick():
                self.sent[m.shard].append(m)
        elif what == "say" and s.alive:
            self.manager.read(shard, s.say())
        elif what == "say again" and s.said:
            if s.alive:  # a reading that was on its way for long; of a dead one the supervisor knows better
                self.manager.read(shard, s.said[n % len(s.said)])
        elif what == "arrive" and s.alive and self.sent[shard]:
            s.take(self.sent[shard][n % len(self.sent[shard])])
        elif what == "arrive last" and s.alive and self.sent[shard]:
            s.take(self.sent[shard][-1])
        elif what == "buy" and s.alive:
            s.buy(1 + n % 30)
        elif what == "done" and s.alive:
            s.done()
        elif what == "die" and s.alive:
            s.alive = False
            self.sent[shard].clear()  # its ring is gone with it; what was not confirmed is sent again
            self.manager.died(shard)
        elif what == "recover":
            s.alive = True  # from its journal: the same lease, the same orders


STEPS = st.lists(
    st.tuples(st.sampled_from(["tick", "tick", "say", "say", "say again", "arrive", "arrive last", "arrive last", "buy", "buy", "done", "die", "recover"]),
              st.integers(0, 3), st.integers(0, 1000)),
    max_size=120,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(n=st.integers(2, 4), steps=STEPS)
def test_no_interleaving_of_messages_deaths_and_orders_passes_the_budget(n: int, steps: list[tuple[str, int, int]]) -> None:
    world = World(n)
    for what, shard, number in steps:
        world.do(what, shard % n, number)
        world.check()


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 4), hungry=st.integers(0, 3), steps=STEPS)
def test_after_any_trouble_a_shard_that_wants_more_gets_it(n: int, hungry: int, steps: list[tuple[str, int, int]]) -> None:
    world, hungry = World(n), hungry % n
    for what, shard, number in steps:
        world.do(what, shard % n, number)
    for _ in range(60):  # the network behaves again
        for i, s in enumerate(world.shards):
            world.do("recover", i, 0)
            if i != hungry:
                s.done()
            world.do("say", i, 0)
        world.do("tick", 0, 0)
        for i in range(n):
            world.do("arrive last", i, 0)
        world.shards[hungry].buy(3)
        world.check()
    assert world.shards[hungry].used > BUDGET // n * 1.2, [s.level for s in world.shards]


def manager(*levels: int, **options: Any) -> LeaseManager:
    return LeaseManager(1000, levels, **{"step_units": 1, **options})


def test_levels_above_the_budget_are_refused() -> None:
    with pytest.raises(ValueError, match="leases of 1001 units, the budget is 1000"):
        manager(500, 501)


def test_a_returned_part_is_free_only_when_the_shard_has_said_so() -> None:
    m = manager(500, 500)
    m.read(0, Reading(1, 500, 480))
    m.read(1, Reading(1, 500, 0))
    (back,) = m.tick()
    assert (back.kind, back.shard, back.epoch) == (RETURN, 1, 2) and m.free_units() == 0
    assert m.tick() == [back], "not confirmed: once more, under the same epoch"
    m.read(1, Reading(2, 500 - back.units, 0))
    assert m.free_units() == back.units
    (grant,) = m.tick()
    assert (grant.kind, grant.shard, grant.units) == (GRANT, 0, 500 + back.units)
    assert m.free_units() == 0, "booked before it is sent"


def test_a_grant_counts_until_it_is_known_and_then_as_given_whatever_was_read() -> None:
    m = manager(100, 100)
    m.read(0, Reading(1, 100, 90))
    grant = next(x for x in m.tick() if x.shard == 0)
    assert m.bound_units(0) == grant.units
    m.read(0, Reading(grant.epoch, 100, 90))  # the epoch of now with the level of a moment ago
    assert m.bound_units(0) == grant.units


def test_a_shard_gives_back_less_than_asked_when_it_came_to_use_it() -> None:
    m = manager(500, 500)
    m.read(0, Reading(1, 500, 500))
    back = next(x for x in m.tick() if x.kind == RETURN)
    m.read(1, Reading(2, 490, 490))
    assert back.units > 10 and m.free_units() == 10


def test_a_dead_shard_keeps_its_lease_and_a_retired_one_what_its_positions_are_worth() -> None:
    m = manager(500, 500)
    with pytest.raises(ValueError, match="shard 1 is not dead"):
        m.retired(1, 0)
    m.died(1)
    m.read(0, Reading(1, 500, 500))
    assert not m.tick() and m.bound_units(1) == 500
    m.retired(1, 120)
    assert m.bound_units(1) == 120 and m.free_units() == 380
    m.read(1, Reading(9, 500, 0))
    assert m.bound_units(1) == 120, "it is gone: what comes late says nothing"
    assert m.tick()[0].shard == 0


def test_from_the_soft_share_on_a_grant_takes_a_quarter_of_what_is_free() -> None:
    m = manager(440, 440)
    m.read(0, Reading(1, 440, 440))
    m.read(1, Reading(1, 440, 400))
    assert m.state().soft
    grants = [x for x in m.tick() if x.kind == GRANT]
    assert grants and grants[0].units - 440 == 30, "120 are free"


def test_a_shard_whose_orders_were_refused_for_its_lease_gets_more_though_it_uses_nothing() -> None:
    m = manager(960, 40)
    m.read(0, Reading(1, 960, 900))
    m.read(1, Reading(1, 40, 0))
    assert not [x for x in m.tick() if x.shard == 0 and x.units > 20]
    m = manager(960, 40)
    m.read(0, Reading(1, 960, 700))
    m.read(1, Reading(1, 40, 0, refused=3))
    (back,) = m.tick()
    assert back.kind == RETURN and back.shard == 0
    m.read(0, Reading(2, 960 - back.units, 700))
    m.read(1, Reading(1, 40, 0, refused=4))
    assert [(x.kind, x.shard) for x in m.tick()] == [(GRANT, 1)]


def test_a_lease_moved_by_another_hand_is_taken_as_the_higher_of_both() -> None:
    m = manager(400, 600)
    m.read(0, Reading(5, 700, 0))
    assert m.bound_units(0) == 700 and m.free_units() == -300
    assert not [x for x in m.tick() if x.kind == GRANT], "nothing is granted that is not there"


# ---- the host

class Link:
    """Takes commands as an engine's link does."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bytes, str]] = []

    def send(self, kind: str, *, shard: int, body: bytes, request: Any, timeout_s: float) -> None:
        self.sent.append((kind, shard, body, request.id))


class Snap(dict[str, int]):
    """A snapshot with shards."""

    extra: dict[str, Any]


def snapshot(*rows: tuple[int, int, int]) -> Snap:
    whole = Snap()
    whole.extra = {"shards": [{"lease_epoch": e, "lease_units": level, "gross_units": used, "lease_lots": 77, "limit_gross_units": 1000} for e, level, used in rows]}
    return whole


def test_the_host_adopts_what_the_shards_hold_and_moves_it_under_one_id() -> None:
    link = Link()
    host = LeaseHost(1000, lambda: link)
    assert host.tick(snapshot((0, 0, 0), (4, 500, 0))) == [], "a shard that has not shown itself"
    assert host.tick(snapshot((2, 500, 490), (4, 500, 0))) == host.tick(snapshot((3, 500, 490), (4, 500, 0))) == [], "no two agree"
    moved = host.tick(snapshot((3, 500, 490), (4, 500, 0)))
    assert [(m.kind, m.shard, m.epoch) for m in moved] == [(RETURN, 1, 5)]
    host.tick(snapshot((3, 500, 490), (4, 500, 0)))
    assert len(link.sent) == 2 and link.sent[0] == link.sent[1]
    host.tick(snapshot((3, 500, 490), (5, 225, 0)))
    assert link.sent[-1][0] == GRANT and link.sent[-1][2][8:] == (775).to_bytes(8, "little") + (77).to_bytes(8, "little")
    state = host.state()
    assert state is not None and state.bound_units == 1000 and state.used_units == 490 and not state.soft


def test_one_shard_has_nothing_to_share() -> None:
    assert LeaseHost(1000, lambda: Link()).tick(snapshot((1, 1000, 0))) == []
