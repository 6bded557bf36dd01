"""From action to orders: the tactic against a slow statement of its rules, and the rules one by one."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hotpath import _core

CONFIG = {"order_qty_lots": 100, "max_inventory_lots": 300, "increment_ticks": 100, "max_away_ticks": 500,
          "min_resting_ns": 20, "max_resting_ns": 5_000, "take_interval_ns": 50}  # fmt: skip
HOLD, JOIN_BID, JOIN_ASK, TAKE_ASK, TAKE_BID = range(5)
TOP = (10_000, 700, 10_100, 60)


def quote(number: int, price: int, *, lots: int = 100, since: int = 1_000, pending: bool = False) -> dict[str, Any]:
    return {"user_ref_num": number, "pending": pending, "price_ticks": price, "open_lots": lots, "since_ns": since}


def plan(action: int, top=TOP, **more: Any) -> list[tuple]:
    return [tuple(op) for op in _core.plan_orders(CONFIG, action, top, **{"now_ns": 1_050, **more})]


def oracle(action: int, top, bid, ask, position_lots: int, last_take_ns: int, now_ns: int) -> list[tuple]:
    """The rules as the header of tactic.h states them."""
    c, quotes, price, lots = CONFIG, (bid, ask), (top[0], top[2]), (top[1], top[3])
    ops, cancelled = [], set()
    for side in (0, 1):
        q = quotes[side]
        if q is None or q["pending"]:
            continue
        old = now_ns - q["since_ns"] >= c["max_resting_ns"]
        away = lots[side] > 0 and abs(q["price_ticks"] - price[side]) > c["max_away_ticks"]
        if old or away:
            ops.append(("cancel", side, False, q["user_ref_num"], 0, 0))
            cancelled.add(side)
    if action == HOLD or min(lots) == 0 or price[0] >= price[1]:
        return ops
    side = 0 if action in (JOIN_BID, TAKE_ASK) else 1
    if (position_lots if side == 0 else -position_lots) + c["order_qty_lots"] > c["max_inventory_lots"]:
        return ops
    q, other = quotes[side], quotes[1 - side]
    if action in (TAKE_ASK, TAKE_BID):
        soon = last_take_ns != 0 and now_ns - last_take_ns < c["take_interval_ns"]
        own = other is not None and other["price_ticks"] == price[1 - side]
        if not soon and not own:
            ops.append(("enter", side, True, 0, price[1 - side], min(c["order_qty_lots"], lots[1 - side])))
    elif q is None:
        ops.append(("enter", side, False, 0, price[side], c["order_qty_lots"]))
    elif not q["pending"] and side not in cancelled and q["price_ticks"] != price[side] and now_ns - q["since_ns"] >= c["min_resting_ns"]:
        ops.append(("replace", side, False, q["user_ref_num"], price[side], q["open_lots"]))
    return ops


prices = st.integers(99, 104).map(lambda n: n * 100)
sizes = st.sampled_from([0, 1, 60, 100, 101, 5_000])
quotes = st.none() | st.builds(
    quote, st.integers(1, 9), st.integers(90, 112).map(lambda n: n * 100), lots=st.integers(1, 100),
    since=st.integers(0, 20_000), pending=st.booleans(),
)  # fmt: skip


@settings(max_examples=1_500, deadline=None)
@given(st.integers(0, 4), st.tuples(prices, sizes, prices, sizes), quotes, quotes, st.integers(-400, 400), st.integers(0, 20_000),
       st.integers(20_000, 20_100))  # fmt: skip
def test_the_tactic_does_what_its_rules_say(action, top, bid, ask, position, last_take, now) -> None:
    found = plan(action, top, bid=bid, ask=ask, position_lots=position, last_take_ns=last_take, now_ns=now)
    assert found == oracle(action, top, bid, ask, position, last_take, now)
    assert len(found) <= 4
    kinds = [op[0] for op in found]
    assert kinds == sorted(kinds, key=lambda k: k != "cancel"), "cancels go first"


def test_a_join_rests_at_the_touch_and_a_take_goes_through_it() -> None:
    assert plan(JOIN_BID) == [("enter", 0, False, 0, 10_000, 100)]
    assert plan(JOIN_ASK) == [("enter", 1, False, 0, 10_100, 100)]
    assert plan(TAKE_ASK) == [("enter", 0, True, 0, 10_100, 60)]
    assert plan(TAKE_BID) == [("enter", 1, True, 0, 10_000, 100)]
    assert plan(HOLD) == []


def test_a_quote_elsewhere_is_moved_once_it_has_rested() -> None:
    assert plan(JOIN_BID, bid=quote(4, 9_900, since=1_031)) == []
    assert plan(JOIN_BID, bid=quote(4, 9_900, since=1_030, lots=40)) == [("replace", 0, False, 4, 10_000, 40)]
    assert plan(JOIN_BID, bid=quote(4, 10_000)) == []
    assert plan(JOIN_BID, bid=quote(4, 9_900, pending=True)) == []


def test_a_quote_too_old_or_too_far_is_cancelled_even_on_hold() -> None:
    assert plan(HOLD, bid=quote(4, 10_000), now_ns=6_000) == [("cancel", 0, False, 4, 0, 0)]
    assert plan(HOLD, ask=quote(5, 10_600)) == []
    assert plan(HOLD, ask=quote(5, 10_700)) == [("cancel", 1, False, 5, 0, 0)]
    assert plan(HOLD, ask=quote(5, 10_700, pending=True)) == []
    assert plan(JOIN_ASK, ask=quote(5, 10_700)) == [("cancel", 1, False, 5, 0, 0)]


def test_nothing_is_asked_for_beyond_the_inventory() -> None:
    assert plan(JOIN_BID, position_lots=200)
    assert plan(JOIN_BID, position_lots=201) == []
    assert plan(TAKE_ASK, position_lots=300) == []
    assert plan(TAKE_BID, position_lots=-201) == []
    assert plan(JOIN_ASK, position_lots=300)


def test_one_sided_and_crossed_books_get_no_order() -> None:
    for top in ((10_000, 0, 10_100, 50), (10_000, 50, 10_100, 0), (10_100, 50, 10_100, 50), (10_200, 50, 10_100, 50)):
        for action in (JOIN_BID, JOIN_ASK, TAKE_ASK, TAKE_BID):
            assert plan(action, top) == []


def test_a_take_waits_its_interval_and_never_meets_our_own_quote() -> None:
    assert plan(TAKE_ASK, last_take_ns=1_001) == []
    assert plan(TAKE_ASK, last_take_ns=1_000)
    assert plan(TAKE_ASK, ask=quote(5, 10_100)) == []
    assert plan(TAKE_ASK, ask=quote(5, 10_200))
