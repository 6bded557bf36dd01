"""Orders and levels that share a cache line of the book's tables are found, taken and freed as if they did not.

Keys are chosen by the tables' own hash (`BookStore::hash_of`), so that far more of them meet than a stream would bring.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import pytest
from oracles.market_book import OracleMarket

from hotpath._core import market as mk

SPREAD = 0x9E3779B97F4A7C15
MOST_U32 = 0xFFFFFFFF


def line_of(key: int, lines: int) -> int:
    """The cache line a key is at home in, of a table of so many (a power of two)."""
    return (key * SPREAD % 2**64) * lines >> 64


def keys_at(line: int, lines: int) -> Iterator[int]:
    return (key for key in count(1) if line_of(key, lines) == line)


class Pair:
    """The book and its oracle, fed alike."""

    def __init__(self, **options: Any) -> None:
        self.fast, self.slow = mk.Market(**options), OracleMarket()
        self.send("R")

    def send(self, kind: str, **fields: Any) -> str:
        msg = mk.encode({"type": kind, "locate": 1, "stock": "AAA", **fields})
        outcome = self.fast.on_message(msg)
        assert outcome == self.slow.on_message(msg), fields
        return outcome

    def assert_equal(self) -> None:
        self.fast.check()
        for side in "BS":
            assert self.fast.levels(0, side, 1000) == self.slow.levels("AAA", side, 1000)


@pytest.mark.parametrize("line", [0, 62, 63])  # the last ones go on at the first
@pytest.mark.parametrize("seed", range(3))
def test_orders_at_home_in_one_line_do_not_hide_each_other(line: int, seed: int) -> None:
    rng = random.Random(seed)
    refs = [*islice(keys_at(line, 64), 40), *islice(keys_at((line + 1) % 64, 64), 20)]
    pair = Pair(max_orders=64)
    for n in range(600):
        ref, other = rng.sample(refs, 2)  # of those in the book, or not
        price = 100 * rng.randrange(1, 5)
        match rng.choice("AAADXU"):
            case "A":
                pair.send("A", ref=ref, side=rng.choice("BS"), shares=rng.randrange(1, 9), price_ticks=price)
            case "D":
                pair.send("D", ref=ref)
            case "X":
                pair.send("X", ref=ref, shares=1)
            case "U":
                pair.send("U", ref=ref, new_ref=other, shares=5, price_ticks=price)
        if n % 10 == 0:
            pair.assert_equal()
    for ref in refs:
        pair.send("D", ref=ref)
    pair.assert_equal()
    assert pair.fast.live_orders == 0


def test_a_full_book_still_finds_every_order_and_refuses_one_more() -> None:
    pair = Pair(max_orders=64)
    refs = list(islice(keys_at(5, 64), 65))
    for ref in refs[:64]:
        assert pair.send("A", ref=ref, side="B", shares=1, price_ticks=100) == "applied"
    last = mk.encode({"type": "A", "locate": 1, "stock": "AAA", "ref": refs[64], "side": "B", "shares": 1, "price_ticks": 1})
    assert pair.fast.on_message(last) == "full"
    for ref in refs[:64]:
        assert pair.send("D", ref=ref) == "applied"
    pair.fast.check()


@pytest.mark.parametrize("seed", range(2))
def test_more_levels_at_home_in_one_line_than_it_can_count_do_not_hide_each_other(seed: int) -> None:
    # The first instrument's bids: the key is the price alone. A line counts to 127 and then no more.
    prices = list(islice(keys_at(3, 512), 300))
    rng = random.Random(seed)
    rng.shuffle(prices)
    pair = Pair(max_orders=512, max_levels=512)
    for ref, price in enumerate(prices):
        assert pair.send("A", ref=ref, side="B", shares=1, price_ticks=price) == "applied"
    pair.assert_equal()
    gone = rng.sample(range(300), 200)
    for ref in gone:
        assert pair.send("D", ref=ref) == "applied"
    pair.assert_equal()
    for ref in gone:
        assert pair.send("A", ref=1000 + ref, side="B", shares=2, price_ticks=prices[ref]) == "applied"
    pair.assert_equal()


@pytest.mark.parametrize("side", "BS")
@pytest.mark.parametrize("levels", [1, 15, 16, 17, 40])
def test_the_lowest_and_the_highest_price_there_is_are_levels_like_others(side: str, levels: int) -> None:
    pair = Pair()
    prices = [0, MOST_U32, *(1000 + n for n in range(levels))]
    random.Random(levels).shuffle(prices)
    for ref, price in enumerate(prices):
        assert pair.send("A", ref=ref, side=side, shares=1 + ref, price_ticks=price) == "applied"
        pair.assert_equal()
    for ref in range(len(prices)):
        assert pair.send("D", ref=ref) == "applied"
        pair.assert_equal()
