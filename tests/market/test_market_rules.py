"""The rules of a day, one by one: queues, prints, breaks, halts, full pools, snapshots."""

from __future__ import annotations

from typing import Any

import pytest

from hotpath._core import market as mk


def market(**options: Any) -> mk.Market:
    m = mk.Market(**options)
    m.on_message(mk.encode({"type": "R", "locate": 1, "stock": "AAA", "round_lot_size": 100}))
    return m


def send(m: mk.Market, kind: str, **fields: Any) -> str:
    return m.on_message(mk.encode({"type": kind, "locate": 1, "stock": "AAA", **fields}))


def add(m: mk.Market, ref: int, shares: int = 100, price: int = 1000, side: str = "B") -> str:
    return send(m, "A", ref=ref, side=side, shares=shares, price_ticks=price)


def test_a_replaced_order_goes_to_the_back_of_the_queue_even_at_the_same_price() -> None:
    m = market()
    add(m, 1), add(m, 2)
    assert send(m, "U", ref=1, new_ref=3, shares=100, price_ticks=1000) == "applied"
    assert m.queue(0, "B", 1000) == [(2, 100), (3, 100)]


def test_a_partial_cancel_and_an_execution_keep_the_place_in_the_queue() -> None:
    m = market()
    add(m, 1), add(m, 2)
    send(m, "X", ref=1, shares=40)
    send(m, "E", ref=1, shares=10, match=1)
    assert m.queue(0, "B", 1000) == [(1, 50), (2, 100)]


def test_our_place_in_the_queue_moves_only_when_something_ahead_goes() -> None:
    m = market()
    add(m, 1, 100), add(m, 2, 70)
    m.track_own(2)  # already in the book
    m.track_own(3)  # not there yet
    assert (m.queue_ahead_lots(2), m.queue_ahead_lots(3)) == (100, -1)
    add(m, 3, 10), add(m, 4, 500)
    assert m.queue_ahead_lots(3) == 170
    send(m, "D", ref=4)
    assert (m.queue_ahead_lots(2), m.queue_ahead_lots(3)) == (100, 170)
    send(m, "X", ref=1, shares=60)
    assert (m.queue_ahead_lots(2), m.queue_ahead_lots(3)) == (40, 110)
    send(m, "D", ref=1)
    assert (m.queue_ahead_lots(2), m.queue_ahead_lots(3)) == (0, 70)
    send(m, "E", ref=2, shares=70, match=1)
    assert (m.queue_ahead_lots(2), m.queue_ahead_lots(3)) == (-1, 0)
    m.untrack_own(3)
    assert m.queue_ahead_lots(3) == -1
    m.check()


def test_the_table_of_own_orders_is_bounded_and_says_so() -> None:
    m = market(max_own_orders=2)
    assert m.track_own(1) and m.track_own(2) and m.track_own(2) and not m.track_own(3)
    assert m.stats()["own_full"] == 1
    m.untrack_own(1)
    assert m.track_own(3)


def test_prints_are_counted_once_and_non_printable_ones_not_at_all() -> None:
    m = market()
    add(m, 1, 1000)
    send(m, "E", ref=1, shares=100, match=1)
    assert (m.volume(0), m.last_trade_ticks(0)) == (100, 1000)
    send(m, "C", ref=1, shares=200, match=2, printable="N", price_ticks=990)
    assert (m.volume(0), m.last_trade_ticks(0), m.levels(0, "B")) == (100, 1000, [(1000, 700, 1)])
    send(m, "C", ref=1, shares=50, match=3, printable="Y", price_ticks=995)
    assert (m.volume(0), m.last_trade_ticks(0)) == (150, 995)
    send(m, "Q", shares=5000, price_ticks=990, match=4)
    send(m, "P", ref=0, side="B", shares=7, price_ticks=997, match=5)
    assert (m.volume(0), m.last_trade_ticks(0)) == (5157, 997)
    assert m.live_orders == 1


def test_a_broken_trade_takes_its_volume_back_and_leaves_the_book_alone() -> None:
    m = market()
    add(m, 1, 1000)
    send(m, "E", ref=1, shares=100, match=1)
    send(m, "P", side="B", shares=7, price_ticks=997, match=2)
    assert send(m, "B", match=2) == "applied"
    assert (m.volume(0), m.last_trade_ticks(0)) == (100, 1000)
    assert send(m, "B", match=2) == "ignored"  # once is enough
    assert send(m, "B", match=1) == "applied"
    assert (m.volume(0), m.last_trade_ticks(0), m.levels(0, "B")) == (0, 0, [(1000, 900, 1)])
    assert m.stats()["broken_unknown"] == 1


def test_a_break_is_found_only_as_far_back_as_the_ring_of_prints_reaches() -> None:
    m = market(max_prints=4)
    for match in range(1, 6):
        send(m, "P", side="B", shares=10, price_ticks=match, match=match)
    assert send(m, "B", match=1) == "ignored" and m.volume(0) == 50
    assert send(m, "B", match=2) == "applied" and m.volume(0) == 40


def test_a_symbol_is_halted_until_the_feed_says_it_trades() -> None:
    m = market()
    assert m.trading_state(0) == "H"
    for state in "TPQHT":
        send(m, "H", state=state)
        assert m.trading_state(0) == state
    send(m, "h", market="Q", action="H")
    assert m.trading_state(0) == "H"
    send(m, "h", market="B", action="T")  # another venue's
    assert m.trading_state(0) == "H"
    send(m, "h", market="Q", action="T")
    assert m.trading_state(0) == "T"


def test_the_market_is_open_between_q_and_m() -> None:
    m = market()
    seen = []
    for code in "OSQMEC":
        m.on_message(mk.encode({"type": "S", "code": code}))
        seen.append(m.market_open)
    assert seen == [False, False, True, False, False, False]


@pytest.mark.parametrize(("kind", "fields", "outcome"), [
    ("E", {"ref": 9, "shares": 1, "match": 1}, "unknown_ref"), ("D", {"ref": 9}, "unknown_ref"),
    ("X", {"ref": 1, "shares": 101}, "over_executed"), ("E", {"ref": 1, "shares": 101, "match": 1}, "over_executed"),
    ("A", {"ref": 1, "side": "S", "shares": 5, "price_ticks": 7}, "duplicate_ref"),
    ("U", {"ref": 1, "new_ref": 1, "shares": 5, "price_ticks": 7}, "duplicate_ref"),
    ("U", {"ref": 9, "new_ref": 10, "shares": 5, "price_ticks": 7}, "unknown_ref"),
    ("A", {"ref": 2, "side": "B", "shares": 0, "price_ticks": 7}, "malformed"),
])
def test_what_a_clean_feed_never_sends_is_dropped_and_makes_only_that_book_unsound(
        kind: str, fields: dict[str, Any], outcome: str) -> None:
    m = market()
    m.on_message(mk.encode({"type": "R", "locate": 2, "stock": "BBB"}))
    add(m, 1, 100)
    assert send(m, kind, **fields) == outcome
    assert m.levels(0, "B") == [(1000, 100, 1)] and m.live_orders == 1
    assert not m.sound(0) and m.sound(1)
    assert m.stats()["outcomes"][outcome] == 1
    m.set_all_sound(True)
    assert m.sound(0)


def test_full_pools_are_an_outcome_and_leave_the_book_as_it_was() -> None:
    m = market(max_orders=3, max_levels=2)
    assert [add(m, 1, price=10), add(m, 2, price=20), add(m, 3, price=30)] == ["applied", "applied", "full"]
    assert send(m, "U", ref=1, new_ref=5, shares=1, price_ticks=40) == "full"
    assert m.levels(0, "B") == [(20, 100, 1), (10, 100, 1)] and not m.sound(0)
    assert [add(m, 6, price=20), add(m, 7, price=20)] == ["applied", "full"]
    assert send(m, "D", ref=1) == "applied" and add(m, 8, price=99) == "applied"
    m.check()


def test_a_full_instrument_table_ignores_what_it_cannot_hold() -> None:
    m = market(max_instruments=1)
    assert m.on_message(mk.encode({"type": "R", "locate": 2, "stock": "BBB"})) == "full"
    assert m.on_message(mk.encode({"type": "A", "locate": 2, "stock": "BBB", "ref": 1, "shares": 1})) == "unknown_instrument"
    assert m.instruments == 1


def test_without_auto_instruments_only_the_chosen_ones_have_books() -> None:
    m = mk.Market(auto_instruments=False)
    ix = m.add_instrument("BBB")
    m.on_message(mk.encode({"type": "R", "locate": 1, "stock": "AAA"}))
    assert add(m, 1) == "unknown_instrument" and send(m, "D", ref=1) == "unknown_instrument"
    assert m.on_message(mk.encode({"type": "A", "locate": 2, "stock": "BBB", "ref": 1, "shares": 9})) == "applied"
    assert m.instruments == 1 and m.levels(ix, "B") == [(0, 9, 1)] and m.stats()["unsound_marks"] == 0


def test_a_snapshot_replaces_every_book_and_ends_sound() -> None:
    m = market()
    add(m, 1), add(m, 2)
    m.track_own(2)
    send(m, "D", ref=99)
    assert not m.sound(0)
    n = 0
    for d in ({"type": "R"}, {"type": "H", "state": "T"}, {"type": "A", "ref": 7, "side": "B", "shares": 30, "price_ticks": 50},
              {"type": "A", "ref": 2, "side": "B", "shares": 60, "price_ticks": 50}):
        n += 1
        assert m.on_snapshot_message(mk.encode({"locate": 1, "stock": "AAA"} | d), n) == "applied"
        assert m.event.flags & 2 and not m.sound(0)
    assert m.on_snapshot_message(b"G" + b"%20d" % 12, n + 1) == "applied"
    assert m.sound(0) and m.levels(0, "B") == [(50, 90, 2)] and m.queue_ahead_lots(2) == 30
    assert add(m, 1, 5, 51) == "applied" and not m.event.flags & 2
    m.check()


def test_a_locate_may_be_given_to_another_symbol_by_the_directory() -> None:
    m = market()
    m.on_message(mk.encode({"type": "R", "locate": 1, "stock": "BBB"}))
    m.on_message(mk.encode({"type": "R", "locate": 4, "stock": "AAA"}))
    add(m, 1)
    assert m.levels(m.find("BBB"), "B") == [(1000, 100, 1)] and m.levels(m.find("AAA"), "B") == []


def test_deep_books_and_long_queues_stay_whole() -> None:
    m = market(max_orders=6000, max_levels=6000)
    prices = [(i * 7919) % 5003 for i in range(5000)]
    for i, p in enumerate(prices):
        assert add(m, i + 1, 1 + i, p, "BS"[i % 2]) == "applied"
    m.check()
    bids = m.levels(0, "B", 5000)
    asks = m.levels(0, "S", 5000)
    assert [b[0] for b in bids] == sorted(set(prices[::2]), reverse=True)
    assert [a[0] for a in asks] == sorted(set(prices[1::2]))
    for i in range(0, 5000, 3):
        assert send(m, "D", ref=i + 1) == "applied"
    m.check()
    for i in range(5000):
        send(m, "D", ref=i + 1)
    assert m.live_orders == m.live_levels == 0
    m.check()
