"""How long from a packet meant to be sent to its order arriving, over sockets?"""

from __future__ import annotations


def test_wire_to_wire_inline(question):
    row = question("wire_to_wire_inline")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
