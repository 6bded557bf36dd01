"""What does a policy's decision cost?"""

from __future__ import annotations


def test_policy_inference(question):
    row = question("policy_inference")
    assert row["p50"] > 0 and row["baseline"]["p50"] > 0
