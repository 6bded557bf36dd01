"""The reconciler's own decisions, with both sides, the engine and the clock played by the test."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("hotpath._core")
from hotpath.execution.wire import encode_ouch  # noqa: E402
from orchestrator.config.models_day import Reconcile  # noqa: E402
from orchestrator.day.agreement import Execution  # noqa: E402
from orchestrator.day.copy_line import LineStats  # noqa: E402
from orchestrator.day.our_side import Event  # noqa: E402
from orchestrator.day.reconciler import Counted, Reconciler, read_status  # noqa: E402

MS = 1_000_000
MIDNIGHT = 10**18
SESSION = "PRG1"


class Shard:
    """A journal."""

    def __init__(self) -> None:
        self.number, self.start_lots, self.midnight_ns, self.session = 0, {"A": 10}, MIDNIGHT, SESSION
        self.last_ts_ns = 0


class Ours:
    """All journals: one."""

    def __init__(self) -> None:
        self.shards, self.start_lots, self.ready, self.events, self.problem = [Shard()], {"A": 10}, True, [], ""

    def refresh(self):
        out, self.events = self.events, []
        return out, self.problem

    def shard_of(self, symbol: str):
        return self.shards[0] if symbol == "A" else None


class Line:
    """A drop copy's connection."""

    def __init__(self) -> None:
        self.events, self.session, self.next_seq, self.stats = [("A", b"")], SESSION, 1, LineStats(connections=1)
        self.up_since_ns, self.down_since_ns, self.heard_ns, self.idle_ns, self.ended = 1, 0, 1, 0, False

    def poll(self, now_ns: int, wait_s: float):
        out, self.events = self.events, []
        self.next_seq += sum(kind == "S" for kind, _ in out)
        return out

    def close(self) -> None:
        """Nothing to let go of."""


class Desk:
    """A reconciler in a world that the test moves."""

    def __init__(self, folder: Path, **settings) -> None:
        self.now, self.ours, self.line, self.acted, self.says = MS, Ours(), Line(), [], ""
        self.counted: Counted | None = Counted([True], {})
        self.folder, self.match = folder, 0
        self.made = Reconciler(Reconcile(grace_ms=100, lost_after_ms=300, **settings), "x", folder, self.ours, self.line, self,  # type: ignore[arg-type]
                               counted=lambda: self.counted, folder=folder, clock=lambda: self.now)  # fmt: skip
        self.let()

    def let(self, who: str = "supervisor") -> None:
        """Trading is let."""
        self.ours.events.append(Event("command", 0, 1, command="resume", who=who))

    def act(self, how: str, request_id: str, why: str, since_ns: int) -> str:
        """As Door."""
        self.acted.append((how, why))
        if not self.says:
            self.ours.events.append(Event("command", 0, 9, command="pause", who="reconciler", id=request_id))
        return self.says

    def run(self, ms: int, *, journal: bool = True, idle: bool = True) -> None:
        """So much time passes; the journal's timers go on, and the drop copy says that it has nothing."""
        for _ in range(0, ms, 10):
            self.now += 10 * MS
            if journal:
                self.ours.shards[0].last_ts_ns = MIDNIGHT + self.now
            if idle:
                self.line.idle_ns = self.now
            self.made.round(0)

    def fill(self, *sides: str, lots: int = 5, price: int = 50, match: int = 0, order: int = 7) -> None:
        """One execution, told by these sides."""
        self.match += 1
        match, ts_ns = match or self.match, self.now
        if "ours" in sides:
            self.ours.events.append(Event("fill", 0, 5, Execution(match, order, "A", lots, price, "A", ts_ns)))
        if "venue" in sides:
            for message in (
                {"type": "A", "ts_ns": ts_ns, "user_ref_num": 1, "side": "B", "quantity": 100, "symbol": "A", "price_ticks": 50,
                 "time_in_force": "0", "display": "Y", "order_ref": order, "capacity": "P", "iso": "N", "cross_type": "N", "state": "L", "cl_ord_id": ""},
                {"type": "E", "ts_ns": ts_ns, "user_ref_num": 1, "quantity": lots, "price_ticks": price, "liquidity": "A", "match": match,
                 "appendage": [{"tag": 1, "name": "secondary_order_ref", "value": order}]},
            ):  # fmt: skip
                self.line.events.append(("S", encode_ouch(message, from_host=True)))

    @property
    def state(self) -> str:
        """As told."""
        return self.made.status().state

    @property
    def standing(self) -> list[str]:
        """As told."""
        return self.made.status().standing


@pytest.fixture
def world(tmp_path):
    """Makes desks."""
    return lambda **settings: Desk(tmp_path, **settings)


def test_a_clean_stretch_agrees_and_its_status_says_how_far(world, tmp_path):
    d = world()
    for _ in range(5):
        d.fill("ours", "venue")
        d.run(70)
    assert d.state == "agreed" and d.acted == [] and d.made.ready
    d.made.tell()
    told = read_status(tmp_path)
    assert (told.agreed, told.waiting, told.last_seq, told.last_agreed_seq, told.positions) == (5, 0, 10, 10, {"A": (35, 35)})


@pytest.mark.parametrize("how", ["tell", "halt", "cancel", "kill"])
def test_a_difference_is_acted_on_as_configured_once_and_names_itself(world, how):
    d = world(on_break=how)
    d.run(20)
    d.fill("ours", price=50, match=3)
    d.fill("venue", price=51, match=3)
    d.run(1000)
    why = "A match 3: our price is 50, the venue's 51"
    assert d.acted == ([] if how == "tell" else [(how, why)]) and d.standing == [why] and d.state == "broken"


def test_a_fill_the_venue_alone_tells_is_waited_for_while_the_order_session_is_away(world):
    d = world()
    d.run(200)
    d.counted = Counted([False], {})
    d.run(200)
    d.fill("venue")
    d.run(2000)
    assert d.acted == [] and d.state == "waiting"  # no order leaves meanwhile, and the venue will tell it again
    d.counted = Counted([True], {})
    d.run(50)
    d.ours.events.append(Event("fill", 0, 6, Execution(1, 7, "A", 5, 50, "A", 0)))
    d.run(300)
    assert d.acted == [] and d.state == "agreed"
    d.fill("venue")
    d.run(300)
    assert len(d.acted) == 1 and "our journal has not" in d.acted[0][1]


def test_a_journal_that_stands_still_is_no_missing_fill_until_it_has_gone_past(world):
    d = world()
    d.run(300)
    d.fill("venue")
    d.run(900, journal=False)  # its writer waits for the disk
    assert d.acted == []
    d.run(200)
    assert len(d.acted) == 1


def test_a_fill_our_journal_alone_has_is_judged_by_what_the_drop_copy_told_later(world):
    d = world()
    d.run(300)
    d.fill("ours")
    d.run(500, idle=False)  # connected, and neither a message nor a heartbeat: it may be on its way
    assert d.acted == []
    d.run(20)
    assert len(d.acted) == 1 and "the venue's drop copy has not" in d.acted[0][1]


def test_a_lost_drop_copy_is_said_and_acted_on_once_each_time(world):
    d = world(on_lost="halt")
    d.run(50)
    for n in (1, 2):
        d.line.up_since_ns, d.line.down_since_ns, d.line.stats.problem = 0, d.now, "closed by the venue"
        d.run(290)
        assert len(d.acted) == n - 1 and d.state == "lost"
        d.run(500)
        assert len(d.acted) == n and d.acted[-1][0] == "halt" and "closed by the venue" in d.acted[-1][1]
        d.line.up_since_ns, d.line.stats.problem = d.now, ""
        d.line.events.append(("A", b""))
        d.run(50)
        assert d.state == "agreed"


def test_what_could_not_be_done_is_tried_until_it_is(world):
    d = world()
    d.says = "no supervisor"
    d.run(20)
    d.fill("ours", price=1, match=9)
    d.fill("venue", price=2, match=9)
    d.run(30)
    assert len(d.acted) == 3 and not d.made.acts[0].done and d.made.acts[0].problem == "no supervisor"
    d.says = ""
    d.run(100)
    assert len(d.acted) == 4 and d.made.acts[0].done


def test_one_that_was_started_again_does_not_do_it_twice_unless_only_the_supervisor_lifted_it(world):
    d = world()
    d.run(20)
    d.fill("ours", price=1, match=9)
    d.fill("venue", price=2, match=9)
    d.run(50)
    assert len(d.acted) == 1
    done = d.made._done_ids.copy()
    again = world()
    again.ours.events += [Event("command", 0, 8, command="pause", who="reconciler", id=i) for i in done]
    again.let("anna")
    again.fill("ours", price=1, match=9)
    again.fill("venue", price=2, match=9)
    again.run(200)
    assert again.acted == [] and again.state == "broken" and again.made.acts[0].done
    again.let()  # an engine that was started again
    again.run(20)
    assert len(again.acted) == 1


def test_before_anything_is_traded_a_difference_refuses_instead_of_acting(world, tmp_path):
    d = world()
    d.ours.events.clear()
    d.line.events.append(("S", b"p" + bytes(8) + b"FIRM" + b"A       " + (-3).to_bytes(8, "big", signed=True) + bytes(4)))
    d.run(500)
    assert d.acted == [] and not d.made.ready and d.made.refused == "A: the day began with +10 lots here, with -3 at the venue"
    d.let()  # somebody lets it trade all the same
    d.run(20)
    assert [how for how, _ in d.acted] == ["cancel"] and d.made.refused == ""
    tells = world(on_break="tell")
    tells.ours.events.clear()
    tells.line.events.append(("S", b"p" + bytes(8) + b"FIRM" + b"A       " + (-3).to_bytes(8, "big", signed=True) + bytes(4)))
    tells.run(500)
    assert tells.made.ready and tells.made.refused == "" and tells.standing
    required = world(start_positions="required")
    required.run(500)
    assert not required.made.ready


def test_an_engine_that_counts_otherwise_than_its_journal_is_found(world):
    d = world()
    d.counted = Counted([True], {"A": 10})
    d.run(300)
    assert d.acted == []
    d.fill("ours", "venue")
    d.run(60)  # telemetry is a moment behind
    d.counted = Counted([True], {"A": 15})
    d.run(300)
    assert d.acted == []
    d.counted = Counted([True], {"A": 14})
    d.run(300)
    assert [why for _, why in d.acted] == ["A: the engine counts +14 lots, its journal makes +15"]


def test_a_gap_and_another_session_are_differences(world):
    d = world()
    d.run(20)
    d.line.events.append(("gap", b"the drop copy goes on with 9 where 3 was to come"))
    d.run(20)
    assert d.standing == ["the drop copy goes on with 9 where 3 was to come"] and len(d.acted) == 1
    other = world()
    other.line.session = "PRG2"
    other.run(20)
    assert other.standing == ["the drop copy is of session PRG2, our orders of PRG1"]


def test_the_last_look_waits_for_nobody(world, tmp_path):
    d = world()
    d.run(100)
    d.fill("ours", "venue")
    d.fill("ours")
    status = finished(d)
    assert status.state == "broken" and status.agreed == 1 and len(status.standing) == 1 and d.acted == []
    assert read_status(tmp_path).standing == status.standing
    blind = world()
    blind.run(100)
    blind.line.up_since_ns = 0
    blind.fill("ours")
    assert finished(blind).state == "lost" and not blind.standing


def finished(d: Desk):
    """`finish`, with time going on by itself."""
    step = d.line.poll

    def poll(now_ns: int, wait_s: float):
        d.now += 20 * MS
        return step(now_ns, wait_s)

    d.line.poll = poll  # type: ignore[method-assign]
    return d.made.finish()
