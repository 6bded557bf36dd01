"""Leases over shards: whatever messages do, the budget is never passed, it goes where it is used, and a lowered one holds at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.control.leases import GRANT, RETURN, LeaseManager, Message, Reading
from tests.orchestrator.lease_shard import BUDGET, Shard
from tests.risk.gate_setup import limits


class World:
    """Shards, the manager, and every message that was ever sent: each may arrive at any time, any number of times."""

    def __init__(self, n: int) -> None:
        self.shards = [Shard(BUDGET // n) for _ in range(n)]
        self.manager = LeaseManager(BUDGET, [BUDGET // n] * n, step_units=50)
        self.sent: list[list[Message]] = [[] for _ in range(n)]
        self.stood = BUDGET  # the most that shards could come to use, when last looked at

    @property
    def used(self) -> int:
        return sum(s.used for s in self.shards)

    @property
    def stands(self) -> int:
        return sum(max(s.level, s.used) for s in self.shards)

    def check(self) -> None:
        held = [s.level for s in self.shards]
        bounds = [self.manager.bound_units(i) for i in range(len(self.shards))]
        assert sum(held) <= BUDGET and sum(bounds) <= BUDGET, (held, bounds)
        assert all(h <= b for h, b in zip(held, bounds, strict=True)), (held, bounds)
        assert self.used <= BUDGET
        assert all(s.used <= s.level for s in self.shards)

    def check_lowered(self, what: str, used_before: int) -> None:
        """Of a world whose budget moves: what could stand never grows above the budget, and once the cuts are there no order
        that adds leaves the sum above it."""
        budget = self.manager.budget_units
        held = [s.level for s in self.shards]
        bounds = [self.manager.bound_units(i) for i in range(len(self.shards))]
        assert all(h <= b for h, b in zip(held, bounds, strict=True)), (held, bounds)
        assert self.stands <= max(budget, self.stood, sum(bounds)), (what, held, self.stood)
        if what == "buy" and self.used > used_before and self.manager.is_tight():
            assert self.used <= budget, (held, [s.used for s in self.shards], budget)
        if self.manager.free_units() >= 0:
            assert sum(held) <= budget
        self.stood = max(self.stands, sum(bounds))

    def do(self, what: str, shard: int, n: int) -> None:
        s = self.shards[shard]
        if what == "tick":
            for m in self.manager.tick():
                self.sent[m.shard].append(m)
        elif what == "say":
            self.manager.read(shard, s.say())
        elif what == "say torn":
            self.manager.read(shard, s.say(torn=True))
        elif what == "say again" and s.said:  # a reading that was on its way for long
            self.manager.read(shard, s.said[n % len(s.said)])
        elif what == "arrive" and self.sent[shard]:
            s.take(self.sent[shard][n % len(self.sent[shard])])
        elif what == "arrive last" and self.sent[shard]:
            s.take(self.sent[shard][-1])
        elif what == "buy":
            s.buy(1 + n % 30)
        elif what == "done":
            s.done()
        elif what == "budget":  # by a limits command to each shard, which the manager reads
            self.manager.budget_units = BUDGET // 10 * (1 + n % 10)
            for one in self.shards:
                assert one.gate.set_limits(limits(max_gross=self.manager.budget_units))


STEPS = st.lists(
    st.tuples(st.sampled_from(["tick", "tick", "say", "say", "say again", "arrive", "arrive last", "arrive last", "buy", "buy", "done"]),
              st.integers(0, 3), st.integers(0, 1000)),
    max_size=120,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(n=st.integers(2, 4), steps=STEPS)
def test_no_interleaving_of_messages_and_orders_passes_the_budget(n: int, steps: list[tuple[str, int, int]]) -> None:
    world = World(n)
    for what, shard, number in steps:
        world.do(what, shard % n, number)
        world.check()


LOWERED = st.lists(
    st.tuples(st.sampled_from(["tick", "tick", "say torn", "say torn", "arrive", "arrive last", "arrive last", "buy", "buy", "done", "budget"]),
              st.integers(0, 3), st.integers(0, 1000)),
    max_size=150,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(n=st.integers(2, 4), steps=LOWERED, tenths=st.integers(0, 9), again=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=40))
def test_a_budget_lowered_at_any_moment_holds_for_every_order_once_the_cuts_are_there(
    n: int, steps: list[tuple[str, int, int]], tenths: int, again: list[tuple[int, int]]) -> None:  # fmt: skip
    world = World(n)
    for what, shard, number in steps:
        before = world.used
        world.do(what, shard % n, number)
        world.check_lowered(what, before)
    for lots in (9, 9, 9, 9, 4, 1, 0):  # full, and then lowered to a part of what is used
        for shard in range(n):
            world.do("buy", shard, lots)
    world.do("budget", 0, tenths)
    budget = world.manager.budget_units
    for _ in range(4):  # the network behaves again, while shards go on as they can
        for shard in range(n):
            world.do("say torn", shard, 0)
            world.do("say torn", shard, 0)
        world.do("tick", 0, 0)
        for shard in range(n):
            world.do("buy", shard, 3)
            world.do("arrive last", shard, 0)
    assert sum(s.level for s in world.shards) <= budget, "whatever stands"
    for shard, lots in again:  # one goes down, and up again
        world.do("done", shard % n, 0)
        before = world.used
        world.do("buy", shard % n, lots)
        assert world.used == before or world.used <= budget, "nothing is added above it"
    for _ in range(40):
        for shard in range(n):
            world.do("say torn", shard, 0)
            world.do("say torn", shard, 0)
            world.do("done", shard, 0)
        world.do("tick", 0, 0)
        for shard in range(n):
            world.do("arrive last", shard, 0)
    state = world.manager.state()
    assert not state.above and world.stands <= budget and world.used == 0


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 4), hungry=st.integers(0, 3), steps=STEPS)
def test_after_any_trouble_a_shard_that_wants_more_gets_it(n: int, hungry: int, steps: list[tuple[str, int, int]]) -> None:
    world, hungry = World(n), hungry % n
    for what, shard, number in steps:
        world.do(what, shard % n, number)
    for _ in range(60):  # the network behaves again
        for i, s in enumerate(world.shards):
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
    assert [(x.kind, x.shard, x.units) for x in m.tick()] == [(GRANT, 0, 500), (GRANT, 1, 500)], "cut to what there is"
    assert m.state().above and m.state().cuts == 2 and m.bound_units(0) == 700


def test_a_budget_below_what_is_used_cuts_each_shard_to_its_use_less_the_whole_excess() -> None:
    m = manager(500, 500)
    m.read(0, Reading(1, 500, 450))
    m.read(1, Reading(1, 500, 150))
    m.budget_units = 500
    assert not m.is_tight()
    cuts = m.tick()
    assert [(x.kind, x.shard, x.units) for x in cuts] == [(GRANT, 0, 350), (GRANT, 1, 50)], "100 too much"
    assert m.tick() == cuts and m.free_units() == -500, "until they are taken the old leases count"
    for shard, cut in enumerate(cuts):
        m.read(shard, Reading(cut.epoch, cut.units, (450, 150)[shard]))
        m.read(shard, Reading(cut.epoch, cut.units, (450, 150)[shard]))
    assert m.tick() == [] and m.is_tight() and m.state().above and m.free_units() == 100 and m.room_units() == -100
    m.read(0, Reading(cuts[0].epoch, 350, 351))
    assert m.tick() == [] and m.state().above, "the first may add again below 350, and the sum is above by one"
    m.read(0, Reading(cuts[0].epoch, 350, 320))
    (back,) = m.tick()
    assert back.kind == RETURN and not m.state().above and m.room_units() == 0
    m.read(0, Reading(back.epoch, 350 - back.units, 320))
    assert [(x.kind, x.shard, x.units - 150) for x in m.tick()] == [(GRANT, 1, max(1, back.units // 4))], "counted from what it uses"


def test_a_budget_between_what_is_used_and_what_is_out_leaves_each_its_share_of_the_rest() -> None:
    m = manager(500, 500)
    m.read(0, Reading(1, 500, 300))
    m.read(1, Reading(1, 500, 100))
    m.budget_units = 600
    assert [(x.kind, x.shard, x.units) for x in m.tick()] == [(GRANT, 0, 400), (GRANT, 1, 200)]


def test_what_is_read_beside_an_epoch_for_the_first_time_may_be_older_and_ends_nothing() -> None:
    m = manager(500, 500)
    m.read(0, Reading(1, 500, 500))
    m.read(1, Reading(1, 500, 500))
    m.budget_units = 600
    for cut in m.tick():
        m.read(cut.shard, Reading(cut.epoch, cut.units, 0))  # of a moment ago
    assert m.tick() == [] and m.state().above
    for shard in (0, 1):
        m.read(shard, Reading(2, 300, 0))
    assert m.tick() != [] and not m.state().above


def test_position_limits_that_were_raised_raise_the_lots_of_the_lease_and_nothing_else_of_it() -> None:
    m = manager(500, 500)
    m.read(0, Reading(1, 500, 0, 100, limit_lots=100))
    m.read(1, Reading(1, 500, 0, 100, limit_lots=90))
    assert m.tick() == [], "lower ones bind by themselves"
    m.read(0, Reading(1, 500, 0, 100, limit_lots=250))
    (raised,) = m.tick()
    assert (raised.kind, raised.shard, raised.epoch, raised.units, raised.qty_lots) == (GRANT, 0, 2, 500, 250)
    m.read(0, Reading(2, 500, 0, 250, limit_lots=250))
    assert m.tick() == []
