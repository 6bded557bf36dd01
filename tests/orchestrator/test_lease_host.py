"""The host of leases: takeovers, recoveries and standstills grant nothing twice, and one shard has what its limits say."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.control.engine_link import EngineLinkError
from orchestrator.control.leases import GRANT, RETURN, LeaseHost, Message, Reading
from orchestrator.observe.telemetry import LIMIT_DTYPE
from tests.orchestrator.lease_shard import BUDGET, Shard


class Link:
    """Takes commands as an engine's link does."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bytes, str]] = []

    def send(self, kind: str, *, shard: int, body: bytes, request: Any, timeout_s: float) -> None:
        self.sent.append((kind, shard, body, request.id))


class Snap(dict[str, int]):
    """A snapshot with shards."""

    extra: dict[str, Any]
    limits: Any


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


def test_a_limit_that_was_changed_since_the_start_is_the_budget_and_one_below_what_is_held_cuts_the_leases() -> None:
    for limit, levels in ((2000, {1125, 875}), (600, {450, 150})):
        link = Link()
        host = LeaseHost(lambda link=link: link)
        for epochs in ((1, 1), (3, 3), (3, 3)):
            host.tick(snapshot((epochs[0], 500, 300), (epochs[1], 500, 0), limit=limit))
        state = host.state()
        assert state is not None and state.budget_units == limit
        assert {int.from_bytes(body[8:16], "little") for kind, _, body, _ in link.sent if kind == GRANT} == levels


def test_the_lots_of_one_shard_alone_follow_its_symbols_limits() -> None:
    link, whole = Link(), snapshot((1, 1000, 0))
    host = LeaseHost(lambda: link)
    one = whole.extra["shards"][0] = Snap(whole.extra["shards"][0])
    one.limits = np.zeros(2, LIMIT_DTYPE)
    one.limits["limit_long_lots"], one.limits["limit_short_lots"] = [50, 10], [27, 27]
    assert host.tick(whole) == [] and host.is_whole(), "77 lots, as it has"
    one.limits["limit_long_lots"][0] = 60
    for epoch in (1, 3, 3):
        one["lease_epoch"] = epoch
        host.tick(whole)
    assert link.sent[-1][0] == GRANT and link.sent[-1][2][8:24] == (1000).to_bytes(8, "little") + (87).to_bytes(8, "little")


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
