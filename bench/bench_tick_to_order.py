"""How long from packet bytes to order bytes, and how many orders a second?"""

from __future__ import annotations


def test_tick_to_order(question):
    row = question("tick_to_order")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0


def test_orders_per_second(question):
    row = question("orders_per_second")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
