"""What does it cost to hand 64 bytes to another thread?"""

from __future__ import annotations


def test_ring_spsc(question):
    row = question("ring_spsc")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
