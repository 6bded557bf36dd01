"""Leases over shards: whatever messages do, and whoever dies or takes over, the budget is never passed, and it goes where it is used."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath import _core
from orchestrator.control.engine_link import EngineLinkError
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

    def say(self, *, torn: bool = False) -> Reading:
        """A reading; a torn one has what is used from the reading before where the epoch is a new one."""
        epoch, level, lots = self.gate.lease()
        older = torn and self.said and self.said[-1].epoch != epoch
        self.said.append(Reading(epoch, level, self.said[-1].used_units if older else self.used, lots))
        return self.said[-1]


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


def snapshot(*rows: tuple[int, int, int], limit: int = 1000) -> Snap:
    whole = Snap()
    whole.extra = {"shards": [{"lease_epoch": e, "lease_units": level, "gross_units": used, "lease_lots": 77, "limit_gross_units": limit,
                               "soft_permille": 800} for e, level, used in rows]}  # fmt: skip
    return whole


def epochs_of(link: Link) -> list[tuple[str, int, int]]:
    """(kind, shard, epoch) of what was sent."""
    return [(kind, shard, int.from_bytes(body[:8], "little")) for kind, shard, body, _ in link.sent]


def test_the_host_fences_every_shard_adopts_what_they_hold_and_moves_it_under_one_id() -> None:
    link = Link()
    host = LeaseHost(lambda: link)
    assert host.tick(snapshot((0, 0, 0), (4, 500, 0))) == [] and not link.sent, "a shard that has not shown itself"
    assert host.tick(snapshot((3, 500, 490), (4, 500, 0))) == [] and epochs_of(link) == [(RETURN, 0, 5), (RETURN, 1, 6)]
    assert all(body[8:24] == bytes(16) for _, _, body, _ in link.sent), "a fence takes nothing back"
    assert host.tick(snapshot((5, 500, 490), (5, 400, 0))) == [], "what was on its way came first"
    assert host.tick(snapshot((5, 500, 490), (6, 500, 0))) == [], "the level may be a moment older than the epoch beside it"
    moved = host.tick(snapshot((5, 500, 490), (6, 500, 0)))
    assert [(m.kind, m.shard, m.epoch) for m in moved] == [(RETURN, 1, 7)]
    host.tick(snapshot((5, 500, 490), (6, 500, 0)))
    assert len(link.sent) == 4 and link.sent[2] == link.sent[3]
    host.tick(snapshot((5, 500, 490), (7, 225, 0)))
    assert link.sent[-1][0] == GRANT and link.sent[-1][2][8:] == (775).to_bytes(8, "little") + (77).to_bytes(8, "little")
    state = host.state()
    assert state is not None and state.bound_units == 1000 and state.used_units == 490 and not state.soft


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


def test_a_limit_that_was_changed_since_the_start_is_the_budget_and_one_below_what_is_held_cuts_the_leases() -> None:
    for limit, levels in ((2000, {1125, 875}), (600, {450, 150})):
        link = Link()
        host = LeaseHost(lambda link=link: link)
        for epochs in ((1, 1), (3, 3), (3, 3)):
            host.tick(snapshot((epochs[0], 500, 300), (epochs[1], 500, 0), limit=limit))
        state = host.state()
        assert state is not None and state.budget_units == limit
        assert {int.from_bytes(body[8:16], "little") for kind, _, body, _ in link.sent if kind == GRANT} == levels


def test_a_shard_that_another_hand_moves_meanwhile_is_fenced_again() -> None:
    link = Link()
    host = LeaseHost(lambda: link)
    for rows in (((1, 500, 0), (1, 500, 0)), ((3, 500, 0), (9, 500, 0)), ((3, 500, 0), (9, 500, 0)), ((5, 500, 0), (11, 500, 0))):
        assert host.tick(snapshot(*rows)) == [] and host.state() is None
    host.tick(snapshot((5, 500, 0), (11, 500, 0)))
    assert host.state() is not None and epochs_of(link)[:4] == [(RETURN, 0, 3), (RETURN, 1, 3), (RETURN, 0, 5), (RETURN, 1, 11)]


def test_one_shard_has_nothing_to_share_but_is_granted_a_limit_that_was_raised() -> None:
    link = Link()
    host = LeaseHost(lambda: link)
    assert host.tick(snapshot((0, 0, 0))) == [] and not host.is_whole(), "it has not shown itself"
    assert host.tick(snapshot((1, 1000, 0))) == [] and host.is_whole()
    assert host.tick(snapshot((1, 1000, 900), limit=500)) == [] and host.is_whole() and not link.sent, "its own gate has the lower one"
    for epoch in (1, 3, 3):
        host.tick(snapshot((epoch, 1000, 900), limit=3000))
    assert epochs_of(link) == [(RETURN, 0, 3), (GRANT, 0, 4)] and link.sent[-1][2][8:16] == (3000).to_bytes(8, "little")
    host.tick(snapshot((4, 3000, 900), limit=3000))
    assert host.is_whole()


class Engine:
    """Shards behind command rings that are consumed in order, and telemetry that lags behind; a link of it."""

    def __init__(self, n: int) -> None:
        self.shards = [Shard(BUDGET // n) for _ in range(n)]
        self.rings: list[list[Message]] = [[] for _ in range(n)]
        self.stopped = [False] * n
        self.host = LeaseHost(lambda: self)
        self.shown: list[Reading] = [s.say() for s in self.shards]

    def send(self, kind: str, *, shard: int, body: bytes, request: Any, timeout_s: float) -> None:
        self.rings[shard].append(Message(kind, shard, *struct.unpack("<Qqq", body)))
        if self.stopped[shard]:
            raise EngineLinkError("timeout", "no answer")  # and the command stays where it is
        self.drain(shard)

    def drain(self, shard: int) -> None:
        while self.rings[shard]:
            self.shards[shard].take(self.rings[shard].pop(0))

    def do(self, what: str, shard: int, n: int) -> None:
        s = self.shards[shard]
        if what == "tick":
            self.host.tick(self.snapshot())
        elif what == "show":
            self.shown[shard] = s.say()
        elif what == "stop":
            self.stopped[shard] = True
        elif what == "go on":
            self.stopped[shard] = False
            self.drain(shard)
        elif what == "take over":  # what the supervisor before has put into the rings stays there
            self.host = LeaseHost(lambda: self)
        elif what == "die":  # and recover from the journals: what was in the rings is gone
            self.rings = [[] for _ in self.shards]
            self.stopped = [False] * len(self.shards)
            self.shown = [each.say() for each in self.shards]
            self.host = LeaseHost(lambda: self)
        elif what == "buy":
            s.buy(1 + n % 30)
        elif what == "done":
            s.done()

    def snapshot(self) -> Snap:
        whole = Snap()
        whole.extra = {"shards": [{"lease_epoch": r.epoch, "lease_units": r.level_units, "gross_units": r.used_units, "lease_lots": r.qty_lots,
                                   "limit_gross_units": BUDGET, "soft_permille": 800} for r in self.shown]}  # fmt: skip
        return whole


LIVES = st.lists(
    st.tuples(st.sampled_from(["tick", "tick", "tick", "show", "show", "show", "stop", "go on", "take over", "die", "buy", "buy", "done"]),
              st.integers(0, 3), st.integers(0, 1000)),
    max_size=150,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(n=st.integers(2, 4), steps=LIVES)
def test_no_takeover_recovery_or_standstill_grants_anything_twice(n: int, steps: list[tuple[str, int, int]]) -> None:
    engine = Engine(n)
    for what, shard, number in steps:
        engine.do(what, shard % n, number)
        held = [s.level for s in engine.shards]
        assert sum(held) <= BUDGET and all(s.used <= s.level for s in engine.shards), (what, shard % n, held)
    for _ in range(25):  # nothing is stuck afterwards: the one that wants more gets it
        for i in range(n):
            engine.do("go on", i, 0)
            engine.do("buy" if i == 0 else "done", i, 3)
            engine.do("show", i, 0)
        engine.do("tick", 0, 0)
    assert engine.host.state() is not None and engine.shards[0].level > BUDGET // n, [s.level for s in engine.shards]


def test_a_grant_left_in_the_ring_of_a_shard_that_stands_still_is_not_given_to_another_too() -> None:
    """What a supervisor gave out and did not live to see taken."""
    engine = Engine(2)
    still, other = engine.shards
    other.gate.give_back(2, 2000, 0, other.exposure)
    engine.stopped[0] = True
    engine.rings[0].append(Message(GRANT, 0, 2, still.level + 2000, 10**9))
    engine.do("take over", 0, 0)
    for _ in range(8):  # the next one sees 2,000 that nobody holds, and one shard that wants them
        engine.do("buy", 1, 29)
        engine.do("show", 1, 0)
        engine.do("tick", 0, 0)
    engine.do("go on", 0, 0)
    assert (still.level, other.level) == (7000, 3000) and engine.host.state() is None
    for _ in range(8):
        for i in range(2):
            engine.do("show", i, 0)
        engine.do("tick", 0, 0)
        assert still.level + other.level <= BUDGET
    assert engine.host.state() is not None and other.level > 3000, "and then it goes where it is used"
