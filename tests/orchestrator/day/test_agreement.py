"""Two records held against each other as they grow, beside an oracle that waits until all is told and compares two dicts."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.day.agreement import Agreement, Execution, first_line

GRACE = 10


def execution(match: int, lots: int = 100, price: int = 50, symbol: str = "A", ref: int | None = None, liquidity: str = "A") -> Execution:
    """One of ours."""
    return Execution(match, 10 * match if ref is None else ref, symbol, lots, price, liquidity, ts_ns=match)


def always(waiting) -> bool:
    """The other side has gone past everything."""
    return True


def settled(agreement: Agreement, now: int = 1_000_000) -> list[str]:
    """Everything that is found once nothing can come any more."""
    return [d.text for d in agreement.look(now, always)]


def two(*pairs: tuple[Execution | None, Execution | None], **settings_: object) -> Agreement:
    """Both sides have told these."""
    made = Agreement({"A": 0}, GRACE, **settings_)
    for ours, venue in pairs:
        if ours is not None:
            made.fill("ours", ours, 0)
        if venue is not None:
            made.fill("venue", venue, 0)
    return made


def test_what_both_sides_tell_the_same_agrees_whoever_is_first():
    a = Agreement({"A": 300, "B": 0}, GRACE)
    a.fill("ours", execution(1), 0)
    assert a.look(GRACE - 1, always) == [] and a.waiting == 1 and a.oldest_ns(7) == 7
    a.fill("venue", execution(1), 9)
    a.fill("venue", execution(2, -40), 9)
    a.fill("ours", execution(2, -40), 9 + GRACE - 1)
    assert settled(a) == [] and a.agreed == 2 and a.waiting == 0
    assert a.lots["ours"] == a.lots["venue"] == {"A": 360, "B": 0}


def test_each_way_to_disagree_is_named():
    cases = [
        (None, execution(7), "A match 7: the venue's drop copy has +100 at 50 on order 70, our journal has not"),
        (execution(7), None, "A match 7: our journal has +100 at 50 on order 70, the venue's drop copy has not"),
        (execution(7), execution(7, price=51), "A match 7: our price is 50, the venue's 51"),
        (execution(7), execution(7, lots=101), "A match 7: our quantity is 100, the venue's 101"),
        (execution(7), execution(7, lots=-100), "A match 7: we bought, the venue says we sold"),
        (execution(7), execution(7, symbol="B"), "A match 7: our symbol is A, the venue's B"),
        (execution(7), execution(7, liquidity="R"), "A match 7: our liquidity flag is A, the venue's R"),
    ]
    for ours, venue, text in cases:
        found = settled(two((ours, venue), (execution(1), execution(1))))
        assert found == [text], (found, text)
    twice = two((execution(7), execution(7)), (None, execution(7)))
    assert settled(twice) == ["A match 7: the venue's drop copy has it twice"] and twice.agreed == 1


def test_one_of_two_orders_that_meet_in_a_match_is_not_the_other():
    a = two((execution(7, ref=1), execution(7, ref=1)), (execution(7, lots=-100, ref=2), execution(7, lots=-100, ref=2)))
    assert settled(a) == [] and a.lots["ours"]["A"] == 0


def test_nothing_is_overdue_before_the_other_side_has_gone_past_it():
    a = two((execution(7), None))
    assert a.look(1000 * GRACE, lambda waiting: False) == [] and a.waiting == 1
    assert len(a.look(1000 * GRACE, lambda waiting: waiting.side == "ours")) == 1
    assert a.look(2000 * GRACE, always) == [] and a.waiting == 0  # said once
    a.fill("venue", execution(7), 5000 * GRACE)
    assert a.standing == {} and a.agreed == 1  # late, and all the same


def test_a_broken_trade_counts_on_neither_side_and_must_be_broken_on_both():
    a = two((execution(7), execution(7)))
    a.broken("venue", 7, 0)
    assert a.lots["venue"]["A"] == 0 and a.lots["ours"]["A"] == 100
    a.broken("venue", 7, 0)  # told for the other order in it as well
    assert settled(a) == ["match 7: broken in the venue's drop copy, not in our journal"]
    a.broken("ours", 7, 0)
    assert a.standing == {} and a.lots["ours"]["A"] == a.lots["venue"]["A"] == 0


def test_a_day_that_began_with_another_position_at_the_venue_is_told():
    a = Agreement({"A": 300, "B": 0}, GRACE)
    a.start({"A": 300, "B": 0, "C": 0})
    assert settled(a) == [] and a.start_told
    b = Agreement({"A": 300}, GRACE)
    b.start({"A": -56, "Z": 10})
    assert settled(b) == ["A: the day began with +300 lots here, with -56 at the venue",
                          "Z: the day began with +0 lots here, with +10 at the venue, and nobody here trades it"]  # fmt: skip
    assert first_line(b.standing.values()).endswith("(and 1 more)")


def test_another_ports_fills_are_left_out_where_the_firm_has_other_ports():
    a = two((None, execution(7)), (execution(8), execution(8)), (None, execution(9)), whole_firm=False)
    a.order(90)
    assert settled(a) == ["A match 9: the venue's drop copy has +100 at 50 on order 90, our journal has not"]
    assert a.of_other_ports == 1 and a.lots["venue"]["A"] == 200


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 12))
def test_any_interleaving_of_two_records_comes_to_what_the_oracle_finds(seed, n):
    rng = random.Random(seed)
    whole = [execution(m, rng.choice((100, -100)), rng.randrange(50, 60), rng.choice("AB")) for m in range(1, n + 1)]
    sides: dict[str, list] = {"ours": [], "venue": []}
    for told in whole:
        for queue in sides.values():
            one = told
            if rng.random() < 0.1:
                one = Execution(told.match, told.order_ref, told.symbol, told.signed_lots + rng.choice((0, 1)), told.price_ticks + rng.choice((0, 1)), "A")
            if rng.random() < 0.85:
                queue.append(one)
                if rng.random() < 0.15:
                    queue.append(told.match)
    # the oracle: everything is there, two dicts are compared
    fills = {side: {o.key: o for o in queue if not isinstance(o, int)} for side, queue in sides.items()}
    breaks = {side: {o for o in queue if isinstance(o, int)} for side, queue in sides.items()}
    expected = {f"missing:{m}:{r}" for m, r in fills["ours"].keys() - fills["venue"].keys()}
    expected |= {f"unknown:{m}:{r}" for m, r in fills["venue"].keys() - fills["ours"].keys()}
    expected |= {f"unequal:{k[0]}:{k[1]}" for k in fills["ours"].keys() & fills["venue"].keys()
                 if (fills["ours"][k].signed_lots, fills["ours"][k].price_ticks) != (fills["venue"][k].signed_lots, fills["venue"][k].price_ticks)}  # fmt: skip
    expected |= {f"broken:{m}" for m in breaks["ours"] ^ breaks["venue"]}
    a, now = Agreement({"A": 5, "B": -5}, GRACE), 0
    left = {side: list(queue) for side, queue in sides.items()}
    while any(left.values()):
        side = rng.choice([s for s in ("ours", "venue") if left[s]])
        one = left[side].pop(0)
        now += rng.randrange(0, 3)
        if isinstance(one, int):
            a.broken(side, one, now)
        else:
            a.fill(side, one, now)
        if rng.random() < 0.3:
            a.look(now, lambda waiting: not left["venue" if waiting.side == "ours" else "ours"])
    a.look(now + GRACE, always)
    assert set(a.standing) == expected
    agreed = {k for k in fills["ours"].keys() & fills["venue"].keys() if f"unequal:{k[0]}:{k[1]}" not in expected}
    assert a.agreed == len(agreed)
    if not expected:
        for side in ("ours", "venue"):
            lots = {"A": 5, "B": -5}
            for key, o in fills[side].items():
                if key[0] not in breaks[side]:
                    lots[o.symbol] += o.signed_lots
            assert a.lots[side] == lots
