"""Our orders against the venue's messages: each race by name, then at random against two models."""

from __future__ import annotations

import random

import pytest

from hotpath import _core
from tests.execution.test_order_states import documented
from tests.oracles.execution_venue import TinyVenue

SYMBOLS = ["PRGN", "OTHR"]


def desk(**options):
    """A desk with one live-trading symbol."""
    return _core.OrderDesk(SYMBOLS, **options)


def msg(kind: str, **fields) -> bytes:
    """An encoded message."""
    return _core.ouch_encode({"type": kind, **fields})


def accepted(n: int, qty: int = 100, side: str = "B", price: int = 10_000, state: str = "L", symbol: str = "PRGN") -> bytes:
    """A for order n."""
    return msg("Accepted", user_ref_num=n, side=side, quantity=qty, symbol=symbol, price=price, order_ref=70 + n, state=state)


def executed(n: int, qty: int, price: int = 10_000, match: int = 1) -> bytes:
    """E for order n."""
    return msg("Executed", user_ref_num=n, quantity=qty, price=price, match_number=match)


def canceled(n: int, qty: int, reason: str = "U") -> bytes:
    """C for order n."""
    return msg("Canceled", user_ref_num=n, quantity=qty, reason=reason)


def live(d, n: int = 1, qty: int = 100, side: int = 0, price: int = 10_000) -> None:
    """An acknowledged order."""
    d.order_enter(n, 0, side, price, qty, 0)
    d.order_message(accepted(n, qty, "BS"[side], price), 0)


def state(d, n: int = 1) -> str:
    """The order's state."""
    return d.find(n)["state"]


def test_an_unanswered_order_counts_as_unknown_and_an_acknowledged_one_as_open():
    d = desk()
    d.order_enter(1, 0, 0, 10_000, 100, 0)
    assert d.exposure.of(0)["unknown_lots"] == (100, 0)
    d.order_message(accepted(1), 0)
    assert d.exposure.of(0)["unknown_lots"] == (0, 0)
    assert d.exposure.of(0)["open_lots"] == (100, 0)
    assert d.exposure.of(0)["own_best_ticks"] == (10_000, 0)


def test_a_fill_before_the_acknowledgement_makes_the_order_live():
    d = desk()
    d.order_enter(1, 0, 0, 10_000, 100, 0)
    d.order_message(executed(1, 40), 0)
    assert state(d) == "Live"
    assert not d.order_message(accepted(1), 0)["anomaly"]
    assert d.find(1)["leaves_lots"] == 60
    assert d.exposure.of(0)["position_lots"] == 40


def test_a_fill_of_everything_crosses_the_cancel():
    d = desk()
    live(d)
    d.order_cancel(1, True, 0)
    assert state(d) == "PendingCancel"
    d.order_message(executed(1, 100), 0)
    assert state(d) == "Filled"
    assert d.exposure.account()["working_orders"] == 0


def test_a_part_fill_crosses_the_cancel_and_the_rest_is_removed():
    d = desk()
    live(d)
    d.order_cancel(1, True, 0)
    d.order_message(executed(1, 30), 0)
    assert state(d) == "PendingCancel"
    d.order_message(canceled(1, 70), 0)
    assert state(d) == "Canceled"
    assert d.exposure.of(0)["position_lots"] == 30


def test_a_late_fill_after_the_cancel_is_booked_and_counted():
    d = desk()
    live(d)
    d.order_message(canceled(1, 100), 0)
    d.order_message(executed(1, 20), 0)
    assert state(d) == "Canceled"
    assert d.exposure.of(0)["position_lots"] == 20
    assert d.counters()["late_fills"] == 1
    assert d.counters()["overfills"] == 0


def test_more_executed_than_ordered_is_an_alarm_and_still_booked():
    d = desk()
    live(d)
    d.order_message(executed(1, 80), 0)
    assert d.order_message(executed(1, 50, match=2), 0)["anomaly"]
    assert d.counters()["overfills"] == 1
    assert d.exposure.of(0)["position_lots"] == 130
    assert d.exposure.of(0)["open_lots"] == (0, 0)


def test_a_partial_cancel_leaves_the_order_live_with_less():
    d = desk()
    live(d)
    d.order_cancel(1, False, 0)
    d.order_message(canceled(1, 60), 0)
    assert state(d) == "Live"
    assert d.exposure.of(0)["open_lots"] == (40, 0)


def test_a_self_match_decrement_counts_like_a_cancel():
    d = desk()
    live(d)
    d.order_message(msg("AiqCanceled", user_ref_num=1, quantity=100, quantity_prevented=100), 0)
    assert state(d) == "Canceled"


def replacing(total: int, price: int = 10_500, executed_first: int = 0):
    """Order 1 of 500 being replaced by order 2."""
    d = desk()
    live(d, qty=500)
    if executed_first:
        d.order_message(executed(1, executed_first), 0)
    d.order_replace(1, 2, price, total, 0)
    return d


def replaced(qty: int, state_: str = "L", price: int = 10_500) -> bytes:
    """U from 1 to 2."""
    return msg("Replaced", orig_ref_num=1, user_ref_num=2, side="B", quantity=qty, symbol="PRGN", price=price, order_ref=99, state=state_)


@pytest.mark.parametrize("total,open_,unknown,notional", [(700, 500, 200, 700 * 10_500), (300, 500, 0, 500 * 10_000)])
def test_during_a_replace_the_larger_of_both_counts(total, open_, unknown, notional):
    d = replacing(total)
    e = d.exposure.of(0)
    assert (e["open_lots"][0], e["unknown_lots"][0], e["working_notional"]) == (open_, unknown, notional)
    assert e["working_orders"] == (1, 0)
    assert e["own_best_ticks"][0] == 10_500


def test_replace_outcome_one_the_original_died_first_and_the_replacement_never_was():
    d = replacing(500)
    e = d.order_message(executed(1, 500), 0)
    assert (state(d, 1), state(d, 2), e["other_ref_num"]) == ("Filled", "Dead", 2)
    assert d.exposure.account()["working_orders"] == 0


def test_replace_outcome_two_the_venue_cancels_the_original():
    d = replacing(500)
    d.order_message(canceled(1, 500), 0)
    assert (state(d, 1), state(d, 2)) == ("Canceled", "Dead")
    assert d.exposure.of(0)["working_notional"] == 0


def test_replace_outcome_three_a_refusal_leaves_the_original_live():
    d = replacing(700)
    e = d.order_message(msg("Rejected", user_ref_num=2, reason=16), 0)
    assert (state(d, 1), state(d, 2), e["other_ref_num"]) == ("Live", "Rejected", 1)
    assert d.exposure.of(0)["open_lots"] == (500, 0)
    assert d.exposure.of(0)["unknown_lots"] == (0, 0)


@pytest.mark.parametrize("reported", [400, 500], ids=["what is open", "the total"])
def test_replace_outcome_four_the_chain_goes_on_with_its_executions(reported):
    d = replacing(500, executed_first=100)
    d.order_message(replaced(reported), 0)
    assert (state(d, 1), state(d, 2)) == ("Replaced", "Live")
    assert d.find(2)["leaves_lots"] == 400
    assert d.exposure.of(0)["open_lots"] == (400, 0)
    assert d.exposure.of(0)["own_best_ticks"][0] == 10_500


def test_a_replacement_that_arrives_dead_leaves_nothing_open():
    d = replacing(500, executed_first=100)
    d.order_message(replaced(400, "D"), 0)
    assert (state(d, 1), state(d, 2)) == ("Replaced", "Canceled")
    assert d.open_numbers() == []


def test_a_fill_for_the_old_number_after_the_replace_eats_from_the_chain():
    d = replacing(500)
    d.order_message(replaced(500), 0)
    d.order_message(executed(1, 30), 0)
    assert d.find(2)["leaves_lots"] == 470
    assert d.exposure.of(0)["position_lots"] == 30


def test_a_cancel_during_a_replace_holds_whatever_the_outcome():
    refused, taken = replacing(700), replacing(700)
    for d in (refused, taken):
        d.order_cancel(1, True, 0)
        d.order_cancel(2, True, 0)
    refused.order_message(msg("Rejected", user_ref_num=2, reason=16), 0)
    assert state(refused, 1) == "PendingCancel"
    taken.order_message(replaced(700), 0)
    assert (state(taken, 1), state(taken, 2)) == ("Replaced", "PendingCancel")
    taken.order_message(canceled(2, 700), 0)
    assert taken.open_numbers() == []


def test_a_broken_trade_moves_the_position_and_not_the_order():
    d = desk(fees=(-20, 30, 0))
    live(d)
    d.order_message(executed(1, 100, match=7), 0)
    assert d.exposure.of(0)["fees"] == -2000
    d.order_message(msg("BrokenTrade", user_ref_num=1, match_number=7), 0)
    assert state(d) == "Filled"
    assert (d.exposure.of(0)["position_lots"], d.exposure.of(0)["fees"]) == (0, 0)
    assert d.order_message(msg("BrokenTrade", user_ref_num=1, match_number=7), 0)["anomaly"]  # once only
    assert d.counters()["unknown_matches"] == 1
    assert d.exposure.of(0)["position_lots"] == 0


def test_a_trade_correction_books_the_new_price_and_quantity():
    d = desk()
    live(d)
    d.order_message(executed(1, 100, 10_000, match=7), 0)
    d.order_message(msg("TradeCorrection", user_ref_num=1, quantity=90, price=9_000, match_number=7), 0)
    e = d.exposure.of(0)
    assert (e["position_lots"], e["cost_basis"] - e["realized"]) == (90, 810_000)


def test_unknown_numbers_are_counted_and_never_booked():
    d = desk()
    for m in (executed(9, 10), canceled(9, 10), msg("Rejected", user_ref_num=9), msg("CancelReject", user_ref_num=9),
              msg("Modified", user_ref_num=9), msg("Restated", user_ref_num=9), msg("PriorityUpdate", user_ref_num=9)):
        assert d.order_message(m, 0)["anomaly"]
    assert d.counters()["unknown_numbers"] == 7
    assert d.counters()["unknown_fills"] == 1
    assert d.exposure.of(0)["position_lots"] == 0


def test_an_order_of_an_older_run_is_taken_in_and_counts():
    d = desk()
    d.order_message(accepted(40, 300), 0)
    assert d.find(40)["adopted"]
    assert d.exposure.of(0)["open_lots"] == (300, 0)
    assert d.next_number() == 41
    d.order_message(executed(40, 300), 0)
    assert d.exposure.of(0)["position_lots"] == 300
    assert d.order_message(accepted(41, symbol="NONE"), 0)["anomaly"]
    assert d.find(41) is None


def test_restated_and_priority_messages_move_the_reference_and_the_price():
    d = desk()
    live(d)
    d.order_message(msg("Restated", user_ref_num=1, appendage=b"\x09\x01" + (555).to_bytes(8, "big")), 0)
    assert d.find(1)["order_ref"] == 555
    d.order_message(msg("PriorityUpdate", user_ref_num=1, price=10_100, order_ref=556), 0)
    assert (d.find(1)["order_ref"], d.find(1)["price_ticks"]) == (556, 10_100)
    assert d.exposure.of(0)["working_notional"] == 100 * 10_100
    assert d.exposure.of(0)["own_best_ticks"][0] == 10_100


def test_modified_cuts_the_quantity_and_changes_the_mark():
    d = desk()
    live(d, side=1)
    d.order_message(msg("Modified", user_ref_num=1, side="T", quantity=60), 0)
    assert (d.find(1)["mark"], d.find(1)["leaves_lots"]) == (2, 60)
    assert d.exposure.of(0)["open_lots"] == (0, 60)


def test_a_number_whose_slot_is_still_open_is_skipped():
    d = desk(capacity=8, max_open=4)
    live(d, 1)
    for n in range(2, 9):
        d.order_enter(n, 0, 0, 10_000, 10, 0)
        d.order_message(msg("Rejected", user_ref_num=n), 0)
    assert d.next_number() == 10  # 9 would fall on order 1's slot


def test_the_pool_says_when_it_is_full():
    d = desk(capacity=8, max_open=4)
    for n in range(1, 5):
        d.order_enter(n, 0, 0, 10_000, 10, 0)
    assert d.next_number() == 0
    d.order_message(msg("Rejected", user_ref_num=2), 0)
    assert d.next_number() == 5


def test_an_answer_for_a_reconciled_order_brings_it_back_with_an_alarm():
    d = desk()
    d.order_enter(1, 0, 0, 10_000, 100, 0)
    d.order_connection_lost()
    assert state(d) == "Unknown"
    assert d.exposure.of(0)["unknown_lots"] == (100, 0)
    d.order_reconcile()
    assert state(d) == "Dead"
    assert d.order_message(accepted(1), 0)["anomaly"]
    assert state(d) == "Live"
    assert d.exposure.of(0)["open_lots"] == (100, 0)
    assert d.counters()["resurrected"] == 1


def test_reconciling_a_replacement_gives_the_original_back():
    d = replacing(700)
    d.order_connection_lost()
    d.order_reconcile()
    assert (state(d, 1), state(d, 2)) == ("Live", "Dead")
    assert d.exposure.of(0)["unknown_lots"] == (0, 0)


@pytest.mark.parametrize("seed", range(60))
def test_any_order_of_messages_follows_the_documented_table(seed):
    """A slow model: the guide's table for states, plain sums for amounts. Messages come in any order, for any number."""
    rng = random.Random(seed)
    d = desk()
    table = documented()
    orders: dict[int, dict] = {}
    position, match = 0, 0
    for _ in range(300):
        n = rng.randint(1, max(orders, default=0) + 1)
        o = orders.get(n)
        what = rng.choice("NNAAEEECCJPIXLR")
        qty = rng.choice([1, 30, 50, 100])
        event = None
        if what == "N":
            number = d.next_number()
            if number == 0:
                continue
            side = rng.randrange(2)
            d.order_enter(number, 0, side, 10_000, 100, 0)
            orders[number] = {"state": "PendingNew", "side": side, "x": 0, "c": 0, "acked": False}
            continue
        if what == "L":
            if rng.random() < 0.3:
                d.order_connection_lost()
                for p in orders.values():
                    p["state"] = table[p["state"], "LostAnswered" if p["acked"] else "LostUnanswered"][0]
            continue
        if what == "R":
            if rng.random() < 0.3:
                d.order_reconcile()
                for p in orders.values():
                    if not p["acked"]:
                        p["state"] = table[p["state"], "Reconciled"][0]
            continue
        if o is None:
            continue
        if what == "X":
            if o["state"] in ("PendingNew", "Live", "PendingCancel", "Unknown"):
                d.order_cancel(n, True, 0)
                event = "AskCancel"
        elif what == "A":
            d.order_message(accepted(n, 100, "BS"[o["side"]]), 0)
            event = "AcceptedLive" if 100 - o["x"] - o["c"] > 0 else "AcceptedDead"
            o["acked"] = True
        elif what == "E":
            match += 1
            d.order_message(executed(n, qty, match=match), 0)
            position += qty if o["side"] == 0 else -qty
            o["x"] += qty
            o["acked"] = True
        elif what == "C":
            d.order_message(canceled(n, qty), 0)
            o["c"] += min(qty, max(0, 100 - o["x"] - o["c"]))
            o["acked"] = True
        elif what == "J":
            d.order_message(msg("Rejected", user_ref_num=n), 0)
            if not (o["acked"] and o["state"] in ("PendingNew", "Live", "PendingCancel", "Unknown")):
                event = "Rejected"
        else:
            d.order_message(msg("CancelPending" if what == "P" else "CancelReject", user_ref_num=n), 0)
            event = "CancelPending" if what == "P" else "CancelRejected"
        if what in "EC":
            part = 100 - o["x"] - o["c"] > 0
            event = {"E": "Executed", "C": "Canceled"}[what] + ("Part" if part else "All")
        if event:
            o["state"] = table[o["state"], event][0]
        got = d.find(n)
        assert got["state"] == o["state"], (seed, n, what)
        assert got["leaves_lots"] == max(0, 100 - o["x"] - o["c"])
        assert d.exposure.of(0)["position_lots"] == position
        for side in (0, 1):
            open_ = [p for p in orders.values() if p["side"] == side and p["state"] in ("PendingNew", "Live", "PendingCancel", "Unknown")]
            claim = sum(max(0, 100 - p["x"] - p["c"]) for p in open_)
            e = d.exposure.of(0)
            assert e["open_lots"][side] + e["unknown_lots"][side] == claim
            assert e["unknown_lots"][side] == sum(max(0, 100 - p["x"] - p["c"]) for p in open_ if not p["acked"])


@pytest.mark.parametrize("seed", range(80))
def test_with_messages_crossing_at_random_the_desk_agrees_with_the_venue(seed):
    """Requests and answers wait in two pipes of random length; the worst case never undercounts what the venue could do."""
    rng = random.Random(1000 + seed)
    d, v = desk(capacity=512, max_open=200), TinyVenue()
    to_venue: list[bytes] = []
    heard = 0

    def request(kind: str, **fields) -> None:
        to_venue.append(_core.ouch_encode({"type": kind, **fields}))

    def deliver() -> None:
        nonlocal heard
        if heard < len(v.out):
            e = d.order_message(v.out[heard], 0)
            assert not e["anomaly"], (seed, e)
            heard += 1

    for _ in range(500):
        what = rng.random()
        open_ = [n for n in d.open_numbers() if d.find(n)["state"] == "Live"]
        if what < 0.15 and d.next_number():
            n, side, qty = d.next_number(), rng.randrange(2), rng.randint(1, 300)
            price, tif = rng.randint(9_000, 11_000), "3" if rng.random() < 0.1 else "0"
            d.order_enter(n, 0, side, price, qty, 0)
            request("EnterOrder", user_ref_num=n, side="BS"[side], quantity=qty, symbol="PRGN", price=price, tif=tif)
        elif what < 0.27 and open_ and d.next_number():
            n, o = d.next_number(), d.find(rng.choice(open_))
            total, price = o["executed_lots"] + rng.randint(1, 400), rng.randint(9_000, 11_000)
            d.order_replace(o["user_ref_num"], n, price, total, 0)
            request("ReplaceOrder", orig_ref_num=o["user_ref_num"], user_ref_num=n, quantity=total, price=price)
        elif what < 0.37 and open_:
            o = d.find(rng.choice(open_))
            intended = 0 if rng.random() < 0.6 else max(1, o["total_lots"] - rng.randint(1, 100))
            d.order_cancel(o["user_ref_num"], intended == 0, 0)
            request("CancelOrder", user_ref_num=o["user_ref_num"], quantity=intended)
        elif what < 0.55:
            alive = [o for o in v.orders.values() if o.live]
            if alive:
                o = rng.choice(alive)
                v.fill(o.number, rng.randint(1, o.leaves()) if rng.random() < 0.6 else o.leaves(), o.price)
        elif what < 0.57 and v.executions:
            v.bust(rng.choice(list(v.executions)))
        elif what < 0.59:
            v.refuse_next = True
        elif what < 0.61:
            v.frozen = {o.number for o in v.orders.values() if o.live and rng.random() < 0.3}
        elif what < 0.80 and to_venue:
            v.on_request(to_venue.pop(0))
        else:
            deliver()
        e = d.exposure.of(0)
        busts = sum(1 for m in v.out[heard:] if m[:1] == b"B")
        if busts == 0:
            assert e["worst_long_lots"] >= v.position + v.live_lots("B"), seed
            assert e["worst_short_lots"] >= -v.position + v.live_lots("S"), seed
    v.frozen = set()
    while to_venue:
        v.on_request(to_venue.pop(0))
    while heard < len(v.out):
        deliver()
    assert d.exposure.of(0)["position_lots"] == v.position
    truth = {o.number: o.leaves() for o in v.orders.values() if o.live}
    ours = {n: d.find(n)["leaves_lots"] for n in d.open_numbers() if d.find(n)["acked"]}
    assert ours == truth
    for n in d.open_numbers():  # every request was answered, or its original's death answered it
        assert d.find(n)["acked"], (seed, d.find(n))
        assert d.find(n)["state"] != "PendingReplace", (seed, d.find(n))
    assert d.counters()["anomalies"] == 0
