"""How fast does the simulated exchange match?"""

from __future__ import annotations


def test_matching(question):
    row = question("matching")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
