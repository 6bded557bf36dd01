"""What does it cost to hand 64 bytes to another thread, and how long is the way there and back?"""

from __future__ import annotations


def test_ring_spsc(question):
    row = question("ring_spsc")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0


def test_ring_round_trip(question):
    row = question("ring_round_trip")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
