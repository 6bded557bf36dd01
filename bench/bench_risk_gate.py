"""What does passing the gate cost?"""

from __future__ import annotations


def test_risk_gate(question):
    row = question("risk_gate")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
