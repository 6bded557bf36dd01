"""How fast are ITCH messages read?"""

from __future__ import annotations


def test_itch_decode(question):
    row = question("itch_decode")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
