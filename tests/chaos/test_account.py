"""The judge of an account over several shards can find things, and follows the venue's record as a plain sum does."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(Path(__file__).parent)]

from chaos_account import AccountLimits, judge_account, lowest_bids  # noqa: E402

WIDE = AccountLimits(1000, 10**12, 10**12)


class Record:
    """A venue's record as it is written."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def add(self, kind: str, port: int, number: int, side: str = "B", *, symbol: int = 0, qty: int = 0, left: int = 0, price: int = 0, old: int = 0) -> None:
        self.entries.append({"ts_ns": len(self.entries) + 1, "port": port, "kind": kind, "user_ref_num": number, "orig_ref_num": old, "side": side,
                             "symbol": symbol, "qty": qty, "open": left, "price_ticks": price})  # fmt: skip

    def order(self, port: int, number: int, side: str, lots: int, price: int, symbol: int = 0) -> None:
        self.add("accepted", port, number, side, symbol=symbol, left=lots, price=price)

    def judged(self, **limits: int) -> Any:
        return judge_account(self.entries, (0, 1), AccountLimits(**limits))


def test_the_ports_of_an_account_are_taken_together_and_nobody_elses() -> None:
    r = Record()
    r.order(0, 1, "B", 10, 100)
    r.order(1, 1, "B", 10, 100, symbol=1)
    r.order(2, 1, "B", 1000, 100)
    day = r.judged(orders=2, working_units=2000, gross_units=2000)
    assert day.passed == [] and (day.orders, day.working_units, day.worst_units) == (2, 2000, 2000)
    assert [what in "".join(r.judged(**{name: 1 if name == "orders" else 1999}).passed) for name, what in (
        ("orders", "2 orders of the account"), ("working_units", "2000 units in orders"), ("gross_units", "could come to hold"))] == [True] * 3  # fmt: skip


def test_what_reduces_counts_in_gross_and_not_in_what_could_be_held() -> None:
    r = Record()
    r.order(0, 1, "B", 10, 100)
    r.add("executed", 0, 1, qty=10, left=0, price=100)
    r.order(0, 2, "S", 10, 100)
    day = r.judged(gross_units=1000)
    assert day.passed == [] and (day.worst_units, day.gross_units, day.reducing_units) == (1000, 2000, 1000)
    r.order(0, 3, "S", 11, 100)
    assert r.judged(gross_units=1000).worst_units == 1100 and r.judged(gross_units=1000).passed, "short by eleven, if all are done"


def test_a_replaced_order_counts_once_and_a_cancelled_one_no_more() -> None:
    r = Record()
    r.order(0, 1, "B", 10, 100)
    r.add("replaced", 0, 2, "B", old=1, left=20, price=101)
    r.add("canceled", 0, 2, "B", qty=20, left=0)
    r.order(0, 3, "B", 5, 100)
    day = r.judged()
    assert (day.orders, day.working_units) == (1, 2020)


def test_limits_that_were_lowered_are_judged_from_then_on() -> None:
    r = Record()
    r.order(0, 1, "B", 10, 100)
    r.add("canceled", 0, 1, "B", qty=10, left=0)
    assert judge_account(r.entries, (0,), AccountLimits(gross_units=500)).passed
    assert judge_account(r.entries, (0,), AccountLimits(gross_units=500), since_ns=2).passed == []


def test_it_comes_to_the_same_as_adding_everything_up_after_each_entry() -> None:
    rng = random.Random(3)
    r, opened, held, most = Record(), {}, [0, 0, 0], {"orders": 0, "working_units": 0, "worst_units": 0, "gross_units": 0}
    for number in range(1, 400):
        if opened and rng.random() < 0.6:
            at = rng.choice(list(opened))
            symbol, side, lots, price = opened.pop(at)
            part = rng.randint(1, lots)
            if part < lots:
                opened[at] = (symbol, side, lots - part, price)
            if filled := rng.random() < 0.6:
                held[symbol] += part if side == "B" else -part
            r.add("executed" if filled else "canceled", *at, side, symbol=symbol, qty=part, left=lots - part, price=100 if filled else 0)
        else:
            port, symbol, side = rng.randrange(2), rng.randrange(3), rng.choice("BS")
            opened[port, number] = (symbol, side, rng.randint(1, 50), rng.randint(100, 120))
            r.order(port, number, side, opened[port, number][2], opened[port, number][3], symbol)
        sums = dict.fromkeys(most, 0)
        for symbol in range(3):
            buys, sells = (sum(o[2] for o in opened.values() if o[:2] == (symbol, side)) for side in "BS")
            sums["worst_units"] += 100 * max(held[symbol] + buys, sells - held[symbol], 0)
            sums["gross_units"] += 100 * (abs(held[symbol]) + buys + sells)
        sums["orders"], sums["working_units"] = len(opened), sum(o[2] * o[3] for o in opened.values())
        most = {name: max(most[name], sums[name]) for name in most}
    day = judge_account(r.entries, (0, 1), WIDE, {0: 100, 1: 100, 2: 100})
    assert {name: getattr(day, name) for name in most} == most and day.passed == []


def test_the_lowest_bid_is_that_of_the_venues_own_feed_from_a_moment_on() -> None:
    def message(kind: bytes, at_ns: int, rest: bytes) -> bytes:
        return kind + (1).to_bytes(2, "big") + bytes(2) + at_ns.to_bytes(6, "big") + rest

    def bid(at_ns: int, ref: int, price: int) -> bytes:
        return message(b"A", at_ns, ref.to_bytes(8, "big") + b"B" + (100).to_bytes(4, "big") + b"PRGN    " + price.to_bytes(4, "big"))

    feed = [message(b"R", 1, b"PRGN    " + bytes(20)), bid(10, 1, 900_000), bid(20, 2, 1_000_000), bid(30, 3, 990_000),
            message(b"D", 40, (2).to_bytes(8, "big")), message(b"D", 50, (3).to_bytes(8, "big"))]  # fmt: skip
    assert lowest_bids(feed, ["FLCN", "PRGN"], 0, 0) == {1: 900_000}
    assert lowest_bids(feed[:5], ["FLCN", "PRGN"], 0, 25) == {1: 990_000}
    assert lowest_bids(feed[:4], ["FLCN", "PRGN"], 5, 26) == {1: 1_000_000}
