"""What do the bytes of an order cost?"""

from __future__ import annotations


def test_order_encode(question):
    row = question("order_encode")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
