"""Crash and recovery: the same inputs again, then RECOVERED; and everything at random."""

from __future__ import annotations

import random

import pytest

from hotpath import _core
from tests.execution.line import ENTER, MASS_CANCEL, MS, REPLACE, Line


def record_inputs(line: Line, log: list) -> None:
    """Wraps the desk so that every input and request is logged for a replay."""
    desk = line.desk

    class Logged:
        def __getattr__(self, name):
            target = getattr(desk, name)
            if not callable(target):
                return target

            def call(*args, **kwargs):
                if name.startswith("on_") or name in ("enter", "replace", "cancel", "mass_cancel"):
                    log.append((name, args, kwargs))
                return target(*args, **kwargs)
            return call
    line.desk = Logged()


def replayed(log: list, **options):
    """A new desk that saw the same inputs."""
    d = _core.OrderDesk(["PRGN", "OTHR"], **options)
    for name, args, kwargs in log:
        getattr(d, name)(*args, **kwargs)
    return d


def test_a_crash_between_intent_and_send_leaves_an_unknown_that_the_fence_clears():
    log: list = []
    line = Line()
    record_inputs(line, log)
    line.up()
    n = line.enter()
    line.wire.clear()  # journaled, never sent
    twin = replayed(log)
    assert twin.state_hash() == line.desk.state_hash()
    twin.take_intents()
    twin.on_recovered(2, n, twin.next_sequence - 1, line.now)
    assert twin.find(n)["state"] == "Unknown"
    line.desk = twin
    line.up()
    assert line.desk.find(n)["state"] == "Dead"
    new = line.enter()
    assert new > n
    assert _core.ouch_decode_request(line.intents[-1]["message"])["cl_ord_id"].startswith("0002")


def test_orders_replay_made_beyond_the_last_intent_were_never_sent():
    log: list = []
    line = Line()
    record_inputs(line, log)
    line.up()
    first = line.enter()
    line.settle()
    line.desk.replace(first, 10_100, 200, line.now)
    beyond = line.enter()
    twin = replayed(log)
    twin.on_recovered(2, first, twin.next_sequence - 1, line.now)  # the journal ends with the first order's intent
    assert twin.find(beyond) is None
    assert twin.find(first)["state"] == "Live"
    assert twin.exposure.of(0)["worst_long_lots"] == 100
    assert twin.next_number() == first + 1


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_lost_and_wherever_it_crashes_the_desk_and_the_venue_agree_in_the_end(seed):
    rng = random.Random(seed)
    log: list = []
    options = {"capacity": 512, "max_open": 200, "max_messages": 100_000}
    line = Line(**options)
    record_inputs(line, log)
    line.up()
    late: list[bytes] = []
    journaled = 0
    for _ in range(250):
        what = rng.random()
        open_ = line.desk.open_numbers()
        if what < 0.25:
            line.desk.enter(0, rng.randrange(2), rng.randint(9_000, 11_000), rng.randint(1, 300), line.now)
        elif what < 0.35 and open_:
            o = line.desk.find(rng.choice(open_))
            line.desk.replace(o["user_ref_num"], rng.randint(9_000, 11_000), o["executed_lots"] + rng.randint(1, 300), line.now)
        elif what < 0.45 and open_:
            line.desk.cancel(rng.choice(open_), 0, line.now)
        elif what < 0.47:
            line.desk.mass_cancel(line.now)
        elif what < 0.60:
            alive = [o for o in line.venue.orders.values() if o.live]
            if alive:
                o = rng.choice(alive)
                line.venue.fill(o.number, rng.randint(1, o.leaves()), o.price)
        elif what < 0.72:
            line.to_venue(rng.randint(0, 3))
        elif what < 0.90:
            line.to_desk(rng.randint(0, 4))
        elif what < 0.94 and line.desk.phase != "down":
            late += [data for data in line.drop(lose_wire=False) if rng.random() < 0.7]
        elif what < 0.97 and line.desk.phase == "down":
            if rng.random() < 0.4:  # the process died too: the same journal, a new run
                twin = replayed(log, **options)
                last = max((i["user_ref_num"] for i in line.intents), default=0)
                line.desk = twin
                twin.take_intents()
                twin.take_alarms()
                record_inputs(line, log)
                line.desk.on_recovered(2, last, twin.next_sequence - 1, line.now)
            line.login()
        elif late:
            line.venue.on_request(late.pop(0))
        line.collect()
        line.now += MS
        e = line.desk.exposure.of(0)
        assert e["worst_long_lots"] >= line.venue.position + line.venue.live_lots("B"), seed
        assert e["worst_short_lots"] >= -line.venue.position + line.venue.live_lots("S"), seed
        journaled = max(journaled, len(line.intents))
    if line.desk.phase == "down":
        line.login()
    line.settle()
    for _ in range(30):
        line.tick(500 * MS)
        line.settle()
    if line.desk.phase == "halted":
        line.desk.retry(line.now)
        line.settle()
    assert line.desk.ready, (seed, line.desk.phase)
    for data in late:  # too late: the venue ignores them, below the mass cancel's number
        line.venue.on_request(data)
    line.settle()
    line.desk.mass_cancel(line.now)
    line.settle()
    assert line.desk.exposure.of(0)["position_lots"] == line.venue.position
    assert not any(o.live for o in line.venue.orders.values())
    assert line.desk.open_numbers() == []
    numbers = [i["user_ref_num"] for i in line.intents if i["kind"] in (ENTER, REPLACE, MASS_CANCEL)]
    assert numbers == sorted(set(numbers)), "order numbers rise strictly"
    counters = line.desk.counters()
    assert counters["resurrected"] == counters["overfills"] == counters["unknown_fills"] == 0


def test_numbers_the_venue_has_seen_stay_used_when_the_crash_came_before_our_own_higher_one():
    line = Line()
    line.venue.last = 41
    line.login()
    line.to_venue()
    line.to_desk()  # the answer to the query; the mass cancel it caused was never journaled
    line.desk.on_recovered(2, 0, line.desk.next_sequence - 1, line.now)
    assert line.desk.next_number() == 42


def test_after_a_recovery_the_login_asks_for_what_the_journal_does_not_have():
    desk = _core.OrderDesk(["PRGN"])
    desk.on_recovered(2, 0, 7, 1000 * MS)
    assert desk.login[1] == desk.next_sequence == 8
    desk.on_recovered(3, 0, 3, 1001 * MS)
    assert desk.next_sequence == 8, "what was consumed is never asked for again"


def test_a_login_one_past_the_stored_sequence_is_a_gap_and_at_it_is_none():
    for missing in (0, 1):
        desk = _core.OrderDesk(["PRGN"])
        desk.on_state(True, 1000 * MS)
        desk.on_packet(b"A" + _core.soup_login_accepted("PRG0000001", 1 + missing), 1000 * MS)
        assert desk.phase == ("halted" if missing else "querying")
