"""How fast does virtual time go?"""

from __future__ import annotations


def test_virtual_time_throughput(question):
    row = question("virtual_time_throughput")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0


def test_virtual_time_recorded(question):
    row = question("virtual_time_recorded")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
